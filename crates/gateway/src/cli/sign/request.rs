//! The request to sign, as described by the arguments.

use std::fs;

use anyhow::{Context, bail};
use http::{HeaderMap, HeaderValue, Uri, header, uri::Scheme};
use jiff::Timestamp;

use super::arguments::Arguments;
use portcullis::signature::{Parts, UNSIGNED_PAYLOAD, X_SDK_CONTENT_SHA256, X_SDK_DATE, format_date, hash};

pub(super) struct Request {
    method: String,
    pub(super) url: Uri,
    headers: HeaderMap,
    pub(super) content: Vec<u8>,
    /// The `curl` option and argument for the body.
    pub(super) data: Option<[String; 2]>,
    names: String,
    payload: String,
    /// Whether the arguments contain the date; otherwise it is the current time.
    pub(super) dated: bool,
}

impl Request {
    pub(super) fn new(arguments: &Arguments, now: Timestamp) -> anyhow::Result<Self> {
        let url: Uri = arguments.url.parse().with_context(|| format!("{} is not a URL", arguments.url))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &arguments.headers {
            headers.append(name, value.clone());
        }
        if !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, host(&url)?);
        }
        let dated = arguments.date.is_some() || headers.contains_key(&X_SDK_DATE);
        if arguments.date.is_some() && headers.contains_key(&X_SDK_DATE) {
            bail!("the date is given twice: with --date and with the header X-Sdk-Date");
        }
        if !headers.contains_key(&X_SDK_DATE) {
            headers.insert(&X_SDK_DATE, format_date(arguments.date.unwrap_or(now)).parse()?);
        }
        if arguments.unsigned_payload {
            headers.insert(&X_SDK_CONTENT_SHA256, HeaderValue::from_static(UNSIGNED_PAYLOAD));
        }
        let (content, data) = match (&arguments.body_file, &arguments.data) {
            (Some(file), _) => {
                let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                (content, Some(["--data-binary".into(), format!("@{}", file.display())]))
            }
            (None, Some(text)) => (text.clone().into_bytes(), Some(["--data-raw".into(), text.clone()])),
            (None, None) => (Vec::new(), None),
        };
        let payload = match headers.get(&X_SDK_CONTENT_SHA256) {
            Some(stated) => stated.to_str().context("X-Sdk-Content-Sha256 is not ASCII text")?.to_owned(),
            None => hash(&content).as_str().to_owned(),
        };
        let names = match &arguments.signed_headers {
            Some(names) => names.clone(),
            None => all(&headers),
        };
        let method = arguments.method.to_ascii_uppercase();
        Ok(Self { method, url, headers, content, data, names, payload, dated })
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        let (path, query) = (self.url.path(), self.url.query().unwrap_or_default());
        Parts { method: &self.method, path, query, authority: None, headers: &self.headers }
    }

    /// The headers to sign.
    pub(super) fn names(&self) -> &str {
        &self.names
    }

    /// The last line of the canonical request.
    pub(super) fn payload(&self) -> &str {
        &self.payload
    }

    /// A header of the request that is text.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Returns the `Host` header of a URL, without the default port of its scheme.
fn host(url: &Uri) -> anyhow::Result<HeaderValue> {
    let (Some(scheme), Some(authority)) = (url.scheme(), url.authority()) else {
        bail!("{url} needs a scheme and a host, as in https://host/path");
    };
    if authority.as_str().contains('@') {
        bail!("the URL must not contain a user name");
    }
    let usual = *scheme == Scheme::HTTPS && authority.port_u16() == Some(443)
        || *scheme == Scheme::HTTP && authority.port_u16() == Some(80);
    let host = if usual { authority.host() } else { authority.as_str() };
    Ok(host.parse()?)
}

/// Returns the names of all headers, sorted. Names with an underscore are left out, as newer signers do, because not
/// every proxy forwards them.
fn all(headers: &HeaderMap) -> String {
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| *name != header::AUTHORIZATION.as_str() && !name.contains('_'));
    names.sort_unstable();
    names.join(";")
}
