//! `portcullis sign`: signs a request and shows every step, or explains why a signature is invalid.

mod diagnose;
mod explain;
mod request;

use std::{
    fs,
    io::{BufRead, IsTerminal, Write},
    path::PathBuf,
};

use anyhow::{Context, bail};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use explain::SigningSteps;
use portcullis::{
    model::Secret,
    signature::{Signer, parse_date},
};
use request::Request;

/// The environment variable that may hold the secret.
const VARIABLE: &str = "PORTCULLIS_SECRET";

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
    key: String,
    /// A file with the secret; a line break at the end is ignored.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The date of the signature. Default: now.
    #[arg(long, value_name = "YYYYMMDDTHHMMSSZ", value_parser = date)]
    date: Option<Timestamp>,
    /// A header of the request; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The headers to sign, such as host;x-sdk-date. Default: all headers of the request, including Host and
    /// X-Sdk-Date.
    #[arg(long, value_name = "NAMES", conflicts_with = "verify")]
    signed_headers: Option<String>,
    /// A file with the body of the request.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    body_file: Option<PathBuf>,
    /// The body of the request.
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
    /// Do not sign the body.
    #[arg(long)]
    unsigned_payload: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Check this Authorization header of the request, and explain why it is invalid if so.
    #[arg(long, value_name = "AUTHORIZATION")]
    verify: Option<String>,
    /// The method of the request.
    method: String,
    /// The URL, with scheme and host.
    url: String,
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

/// Signs or checks a request and writes every step to `out`. `now` is the default date.
///
/// # Errors
/// If the request is malformed, its body or the secret cannot be read, or the signature to check is invalid.
pub fn run(
    arguments: &Arguments,
    now: Timestamp,
    input: impl BufRead,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let secret = secret(arguments, input)?;
    let request = Request::new(arguments, now)?;
    let Some(authorization) = &arguments.verify else {
        let signer = Signer::new(&arguments.key, secret.expose().as_bytes());
        let signed = signer.sign(request.parts(), request.names(), request.payload())?;
        SigningSteps::signed(&signed, &request).write(out, arguments.json)?;
        return Ok(());
    };
    let theirs = authorization.trim().strip_prefix("Authorization:").unwrap_or(authorization).trim();
    let found = diagnose::check(&request, theirs, &arguments.key, &secret, now);
    let holds = found.holds();
    found.write(out, arguments.json)?;
    if holds { Ok(()) } else { bail!("the signature is invalid") }
}

fn secret(arguments: &Arguments, mut input: impl BufRead) -> anyhow::Result<Secret> {
    let text = if let Some(file) = &arguments.secret_file {
        fs::read_to_string(file).with_context(|| format!("cannot read the secret file {}", file.display()))?
    } else if let Ok(text) = std::env::var(VARIABLE) {
        text
    } else {
        if std::io::stdin().is_terminal() {
            eprint!("secret (the terminal shows it as you type): ");
        }
        let mut line = String::new();
        input.read_line(&mut line).context("cannot read the secret from standard input")?;
        line
    };
    let text = Secret::from(text);
    let shorn = text.expose().strip_suffix('\n').unwrap_or(text.expose());
    let shorn = shorn.strip_suffix('\r').unwrap_or(shorn);
    if shorn.is_empty() {
        bail!("the secret is missing: pass --secret-file, set {VARIABLE} or write it to standard input");
    }
    Ok(Secret::from(shorn.to_owned()))
}
