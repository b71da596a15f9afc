//! `portcullis sign`: signs a request and shows every step of it, or says why a signature is another one.

mod diagnose;
mod request;
mod explain;

use std::{
    fs,
    io::{BufRead, IsTerminal, Write},
    path::PathBuf,
};

use anyhow::{Context, bail};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::{
    model::Secret,
    signature::{Signer, parse_date},
};
use request::Request;
use explain::SigningSteps;

/// The environment variable that may hold the secret.
const VARIABLE: &str = "PORTCULLIS_SECRET";

/// What is signed, and how it is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The secret is read from --secret-file, or else from the environment variable PORTCULLIS_SECRET, or else it is the
first line of standard input. It is never an argument: those stand in the list of processes.

  portcullis sign --key AK --secret-file secret GET https://gw.example.com/orders?limit=2
  portcullis sign --key AK --secret-file secret -H 'Content-Type: application/json' --data '{}' \\
    POST https://gw.example.com/orders
  portcullis sign --key AK --secret-file secret --date 20260102T030405Z \\
    --verify 'SDK-HMAC-SHA256 Access=AK, SignedHeaders=host;x-sdk-date, Signature=…' GET https://gw.example.com/")]
pub struct Arguments {
    /// The access key: an app's AppKey, or that of a signing credential.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// A file that holds the secret; a line end behind it is not part of it.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// When it is signed; now, unless it is said.
    #[arg(long, value_name = "YYYYMMDDTHHMMSSZ", value_parser = date)]
    date: Option<Timestamp>,
    /// A header of the request; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The headers to sign, as in host;x-sdk-date. Unless it is said: all that are given, Host and X-Sdk-Date.
    #[arg(long, value_name = "NAMES", conflicts_with = "verify")]
    signed_headers: Option<String>,
    /// A file with the request's content.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    body_file: Option<PathBuf>,
    /// The request's content.
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
    /// Leave the content out of what is signed.
    #[arg(long)]
    unsigned_payload: bool,
    /// Tell it as JSON.
    #[arg(long)]
    json: bool,
    /// The Authorization of the same request that somebody else signed: say whether it holds, and if not, why.
    #[arg(long, value_name = "AUTHORIZATION")]
    verify: Option<String>,
    /// The method.
    method: String,
    /// The URL, with scheme and host.
    url: String,
}

fn date(text: &str) -> Result<Timestamp, &'static str> {
    parse_date(text).ok_or("a date has the form YYYYMMDDTHHMMSSZ")
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = text.split_once(':').ok_or("a header has the form NAME: VALUE")?;
    let name = name.trim().parse().map_err(|_| "this is no header's name")?;
    let value = value.trim().parse().map_err(|_| "this is no header's value")?;
    Ok((name, value))
}

/// Signs, and tells how. `now` is when, unless the arguments say it.
///
/// # Errors
/// When the request is none, its content or the secret cannot be read, or the signature that was to be checked
/// does not hold.
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
    if holds { Ok(()) } else { bail!("the signature does not hold") }
}

fn secret(arguments: &Arguments, mut input: impl BufRead) -> anyhow::Result<Secret> {
    let text = if let Some(file) = &arguments.secret_file {
        fs::read_to_string(file).with_context(|| format!("secret file {}", file.display()))?
    } else if let Ok(text) = std::env::var(VARIABLE) {
        text
    } else {
        if std::io::stdin().is_terminal() {
            eprint!("secret (it will be seen here): ");
        }
        let mut line = String::new();
        input.read_line(&mut line).context("reading the secret from standard input")?;
        line
    };
    let text = Secret::from(text);
    let shorn = text.expose().strip_suffix('\n').unwrap_or(text.expose());
    let shorn = shorn.strip_suffix('\r').unwrap_or(shorn);
    if shorn.is_empty() {
        bail!("there is no secret: give --secret-file, {VARIABLE} or a line of standard input");
    }
    Ok(Secret::from(shorn.to_owned()))
}
