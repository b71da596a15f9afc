//! The arguments of `portcullis sign`.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use portcullis::signature::parse_date;

/// The request to sign and the output format.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The secret is read from --secret-file, or else from the environment variable PORTCULLIS_SECRET, or else from the
first line of standard input. It cannot be an argument because arguments are visible in the process list.

  portcullis sign --key AK --secret-file secret GET https://gw.example.com/orders?limit=2
  portcullis sign --key AK --secret-file secret -H 'Content-Type: application/json' --data '{}' \\
    POST https://gw.example.com/orders
  portcullis sign --key AK --secret-file secret --date 20260102T030405Z \\
    --verify 'SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature=…' GET https://gw.example.com/")]
pub struct Arguments {
    /// The access key: the AppKey of an app, or the id of a signing key.
    #[arg(long, value_name = "KEY")]
    pub(super) key: String,
    /// A file with the secret; a line break at the end is ignored.
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
    /// The date of the signature. Default: now.
    #[arg(long, value_name = "YYYYMMDDTHHMMSSZ", value_parser = date)]
    pub(super) date: Option<Timestamp>,
    /// A header of the request; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The headers to sign, such as host;x-sdk-date. Default: all headers of the request, including Host and
    /// X-Sdk-Date.
    #[arg(long, value_name = "NAMES", conflicts_with = "verify")]
    pub(super) signed_headers: Option<String>,
    /// A file with the body of the request.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(super) body_file: Option<PathBuf>,
    /// The body of the request.
    #[arg(long, value_name = "TEXT")]
    pub(super) data: Option<String>,
    /// Do not sign the body.
    #[arg(long)]
    pub(super) unsigned_payload: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Check this Authorization header of the request, and explain why it is invalid if so.
    #[arg(long, value_name = "AUTHORIZATION")]
    pub(super) verify: Option<String>,
    /// The method of the request.
    pub(super) method: String,
    /// The URL, with scheme and host.
    pub(super) url: String,
}

fn date(text: &str) -> Result<Timestamp, &'static str> {
    parse_date(text).ok_or("a date must have the form YYYYMMDDTHHMMSSZ")
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = text.split_once(':').ok_or("a header must have the form NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| "invalid header name")?;
    let value = value.trim().parse().map_err(|_| "invalid header value")?;
    Ok((name, value))
}
