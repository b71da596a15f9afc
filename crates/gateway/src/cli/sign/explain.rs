//! The steps of a signature, as text and as JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::request::Request;
use portcullis::signature::{Signed, X_SDK_CONTENT_SHA256, string_to_sign};

/// The steps of a signature.
#[derive(Serialize)]
pub(super) struct SigningSteps {
    canonical_request: String,
    hashed_canonical_request: String,
    string_to_sign: String,
    signature: String,
    /// The headers to add to the request.
    headers: Vec<(&'static str, String)>,
    curl: String,
}

impl SigningSteps {
    pub(super) fn signed(signed: &Signed<'_>, request: &Request) -> Self {
        let mut headers = vec![("X-Sdk-Date", signed.date().to_owned())];
        if request.parts().headers.contains_key(&X_SDK_CONTENT_SHA256) {
            headers.push(("X-Sdk-Content-Sha256", request.payload().to_owned()));
        }
        headers.push(("Authorization", signed.authorization()));
        let hash = signed.canonical().hash();
        Self {
            canonical_request: signed.canonical().text(),
            hashed_canonical_request: hash.as_str().to_owned(),
            string_to_sign: string_to_sign(signed.date(), &hash),
            signature: signed.signature().to_owned(),
            curl: curl(request, &headers),
            headers,
        }
    }

    pub(super) fn write(&self, out: &mut impl Write, json: bool) -> io::Result<()> {
        if json {
            serde_json::to_writer_pretty(&mut *out, self)?;
            return writeln!(out);
        }
        self.write_steps(out)?;
        writeln!(out, "--- headers")?;
        for (name, value) in &self.headers {
            writeln!(out, "{name}: {value}")?;
        }
        writeln!(out, "--- curl\n{}", self.curl)
    }

    pub(super) fn write_steps(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "--- canonical request\n{}", self.canonical_request)?;
        writeln!(out, "--- string to sign\n{}", self.string_to_sign)
    }
}

/// Returns a `curl` command that sends the signed request.
fn curl(request: &Request, headers: &[(&'static str, String)]) -> String {
    let parts = request.parts();
    let url = request.url.to_string();
    let mut words = vec!["curl".to_owned(), "-i".into()];
    if parts.method == "HEAD" {
        words.push("--head".into());
    } else {
        words.extend(["-X".into(), quoted(parts.method)]);
    }
    // These options stop curl from changing the target.
    if parts.path.contains("/.") {
        words.push("--path-as-is".into());
    }
    if url.contains(['[', ']', '{', '}']) {
        words.push("--globoff".into());
    }
    words.push(quoted(&url));
    let is_added = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    for (name, value) in parts.headers {
        let implied = name == "host" && request.url.authority().is_some_and(|it| it.as_str() == value);
        if !implied && !is_added(name.as_str()) {
            let value = String::from_utf8_lossy(value.as_bytes());
            words.extend(["-H".into(), quoted(&format!("{name}: {value}"))]);
        }
    }
    for (name, value) in headers {
        words.extend(["-H".into(), quoted(&format!("{name}: {value}"))]);
    }
    if let Some([option, data]) = &request.data {
        words.extend([option.clone(), quoted(data)]);
    }
    words.join(" ")
}

/// Quotes a text as one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_reads_quoted_text_unchanged() {
        for (text, word) in [
            ("GET", "GET"),
            ("https://a.example/x", "https://a.example/x"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x) `y` \"z\"", "'$(x) `y` \"z\"'"),
            ("/a?b&c", "'/a?b&c'"),
        ] {
            assert_eq!(quoted(text), word);
        }
    }
}
