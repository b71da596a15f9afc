//! `portcullis sign`: signs a request and shows every step, or explains why a signature is invalid.

mod arguments;
mod diagnose;
mod explain;
mod request;

pub use arguments::Arguments;

use std::{
    fs,
    io::{BufRead, IsTerminal, Write},
};

use anyhow::{Context, bail};
use jiff::Timestamp;

use explain::SigningSteps;
use portcullis::{model::Secret, signature::Signer};
use request::Request;

/// The environment variable that may hold the secret.
const VARIABLE: &str = "PORTCULLIS_SECRET";

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
