//! Why a signature is not the one that it should be: what people who write signers get wrong, tried in turn.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::{request::Request, explain::SigningSteps};
use crate::{
    model::Secret,
    signature::{Authorization, SignatureFormatError, RequestSignature, Signer, UNSIGNED_PAYLOAD, X_SDK_CONTENT_SHA256, hash, sign},
};

/// What a check came to.
#[derive(Serialize)]
pub(super) struct Diagnosis {
    holds: bool,
    /// What differs, or what is worth knowing though it holds.
    says: Vec<String>,
    /// How it is signed rightly.
    #[serde(flatten)]
    ours: Option<SigningSteps>,
}

impl Diagnosis {
    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    pub(super) fn write(&self, out: &mut impl Write, json: bool) -> io::Result<()> {
        if json {
            serde_json::to_writer_pretty(&mut *out, self)?;
            return writeln!(out);
        }
        if let Some(ours) = &self.ours {
            ours.write_steps(out)?;
        }
        writeln!(out, "--- check\n{}", if self.holds { "it holds" } else { "it does not hold" })?;
        self.says.iter().try_for_each(|line| writeln!(out, "* {line}"))
    }
}

/// Holds an `Authorization` against the request that it was made for.
pub(super) fn check(request: &Request, theirs: &str, key: &str, secret: &Secret, now: Timestamp) -> Diagnosis {
    let parts = request.parts();
    let failed = |why: String| Diagnosis { holds: false, says: vec![why], ours: None };
    let authorization = match Authorization::parse(theirs) {
        Ok(authorization) => authorization,
        Err(flaw @ SignatureFormatError::Names) => return failed(format!("signed headers: {flaw}")),
        Err(flaw) => return failed(format!("Authorization: {flaw}")),
    };
    let presented = match RequestSignature::parse(parts, theirs) {
        Ok(presented) => presented,
        Err(SignatureFormatError::Lacking(name)) => {
            return failed(format!(
                "signed headers: {name} is among them, and not given here: -H '{name}: …'"
            ));
        }
        Err(flaw @ (SignatureFormatError::Date | SignatureFormatError::Repeated(_))) => return failed(format!("date: {flaw}")),
        Err(flaw) => return failed(format!("signed headers: {flaw}")),
    };
    let mut says = Vec::new();
    if presented.access_key() != key {
        says.push(format!("access key: it is {}, and {key} was to be expected", presented.access_key()));
    }
    if let Err(flaw) = presented.check_date(now) {
        says.push(format!("date: more than 15 minutes from now, which a gateway refuses: {flaw}"));
    }
    let names = authorization.signed_headers;
    let signer = Signer::new(key, secret.expose().as_bytes());
    // What could be read can be signed.
    let ours = signer.sign(parts, names.as_str(), request.payload()).ok();
    let proved = presented.verify(secret.expose().as_bytes(), request.payload());
    if !proved {
        let canonical = presented.canonical(request.payload()).text();
        let sought = Search {
            request,
            secret,
            date: request.header("x-sdk-date"),
            signature: authorization.signature,
        };
        match sought.find(&canonical) {
            Some(mistakes) if mistakes.is_empty() => {
                says.push("signature: it is right, and in upper case; it must be in lower case".into());
            }
            Some(mistakes) => says.extend(mistakes.into_iter().map(|why| format!("signature: {why}"))),
            None => says.extend(unexplained(request, names.as_str())),
        }
    }
    Diagnosis {
        holds: proved && presented.access_key() == key,
        says,
        ours: ours.map(|it| SigningSteps::signed(&it, request)),
    }
}

fn unexplained(request: &Request, names: &str) -> Vec<String> {
    let mut says = vec![
        "signature: neither this secret nor a usual mistake makes it. Either the secret is another one, or something \
         that is signed: compare the canonical request above, line by line, with the signer's own"
            .to_owned(),
    ];
    if !request.dated {
        says.push("date: it was taken to be now; give the request's own X-Sdk-Date with --date".into());
    }
    if names != request.names() {
        says.push(format!(
            "signed headers: they are {names}; the headers given here are {}",
            request.names()
        ));
    }
    says
}

/// A signature, and what it is sought with.
struct Search<'a> {
    request: &'a Request,
    secret: &'a Secret,
    date: &'a str,
    signature: &'a str,
}

/// How a part may have been written: rightly, or by a mistake that has a name.
type Ways = Vec<(Option<&'static str>, String)>;

impl Search<'_> {
    /// The fewest mistakes that together make the signature. None at all are a right signature in upper case.
    fn find(&self, canonical: &str) -> Option<Vec<&'static str>> {
        let ways = self.ways(canonical)?;
        let mut best: Option<Vec<&'static str>> = None;
        let mut at = [0; PARTS];
        loop {
            let chosen: [&(Option<&str>, String); PARTS] = std::array::from_fn(|part| &ways[part][at[part]]);
            let mistakes: Vec<_> = chosen.iter().filter_map(|(mistake, _)| *mistake).collect();
            if best.as_ref().is_none_or(|best| mistakes.len() < best.len())
                && self.is_made_by(chosen.map(|(_, text)| text.as_str()))
            {
                best = Some(mistakes);
            }
            // The next choice, as one counts.
            let Some(part) = (0..PARTS).find(|part| at[*part] + 1 < ways[*part].len()) else { return best };
            at[..part].fill(0);
            at[part] += 1;
        }
    }

    fn is_made_by(&self, [method, path, query, headers, names, payload, end, secret]: [&str; PARTS]) -> bool {
        let text = [method, "\n", path, "\n", query, "\n", headers, names, "\n", payload, end].concat();
        let made = sign(secret.as_bytes(), self.date, &hash(text.as_bytes()));
        made.as_str().eq_ignore_ascii_case(self.signature)
    }

    fn ways(&self, canonical: &str) -> Option<[Ways; PARTS]> {
        let Self { request, secret, .. } = self;
        let parts = request.parts();
        let mut lines = canonical.splitn(4, '\n');
        let (method, path, query, rest) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
        let (rest, payload) = rest.rsplit_once('\n')?;
        let (headers, names) = rest.rsplit_once('\n')?;
        let headers = format!("{headers}\n");
        Some([
            ways(method, [("the method was signed in lower case", method.to_ascii_lowercase())]),
            ways(
                path,
                [
                    ("the path was signed without a slash at its end", without_slash(path)),
                    ("the path was signed as it stands in the URL", parts.path.to_owned()),
                    ("the path was encoded although it was encoded already", path.replace('%', "%25")),
                ],
            ),
            ways(
                query,
                [
                    (
                        "the query was signed as it stands in the URL, neither sorted nor encoded",
                        parts.query.into(),
                    ),
                    ("the query was left out", String::new()),
                    (
                        "a + in the query was signed as a space; it is a plus sign",
                        query.replace("%2B", "%20"),
                    ),
                    ("spaces in the query were signed as +; they are %20", query.replace("%20", "+")),
                    ("the query was signed in lower case", query.to_ascii_lowercase()),
                    (
                        "the = of names without a value was left out",
                        query.replace("=&", "&").trim_end_matches('=').into(),
                    ),
                ],
            ),
            ways(
                &headers,
                [
                    (
                        "there is no empty line between the headers and their names",
                        headers.trim_end().to_owned() + "\n",
                    ),
                    ("the host was signed without its port", self.host_without_port(&headers)),
                    ("the host was signed with the port 443", self.host_with(&headers, ":443")),
                    ("the host was signed with the port 80", self.host_with(&headers, ":80")),
                    ("the headers' values were signed in lower case", headers.to_lowercase()),
                ],
            ),
            ways(names, []),
            ways(payload, self.payloads()),
            ways("", [("the canonical request ends with a line end", "\n".to_owned())]),
            ways(
                secret.expose(),
                [("the secret was taken with the line end behind it", format!("{}\n", secret.expose()))],
            ),
        ])
    }

    fn payloads(&self) -> Vec<(&'static str, String)> {
        let content = &self.request.content;
        let of = |content: &[u8]| hash(content).as_str().to_owned();
        let shorn = content.strip_suffix(b"\n").unwrap_or(content);
        vec![
            ("the content was left out: what was hashed is empty", of(b"")),
            ("the content was signed without the line end behind it", of(shorn)),
            ("the content was signed with a line end behind it", of(&[content, &b"\n"[..]].concat())),
            ("the content's hash was written in upper case", of(content).to_ascii_uppercase()),
            (
                "UNSIGNED-PAYLOAD was signed, and X-Sdk-Content-Sha256 does not say it",
                UNSIGNED_PAYLOAD.into(),
            ),
            (
                "the content's hash was signed, and X-Sdk-Content-Sha256 says something else",
                if self.request.parts().headers.contains_key(&X_SDK_CONTENT_SHA256) {
                    of(content)
                } else {
                    of(b"")
                },
            ),
        ]
    }

    fn host_without_port(&self, headers: &str) -> String {
        let host = self.request.header("host");
        let name =
            host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name);
        headers.replacen(&format!("host:{host}\n"), &format!("host:{name}\n"), 1)
    }

    fn host_with(&self, headers: &str, port: &str) -> String {
        let host = self.request.header("host");
        headers.replacen(&format!("host:{host}\n"), &format!("host:{host}{port}\n"), 1)
    }
}

/// Method, path, query, headers, their names, the content's hash, what is at the end, the secret.
const PARTS: usize = 8;

/// The right way, and those that come to something else.
fn ways(right: &str, wrong: impl IntoIterator<Item = (&'static str, String)>) -> Ways {
    let mut ways: Ways = vec![(None, right.to_owned())];
    for (mistake, text) in wrong {
        if ways.iter().all(|(_, other)| *other != text) {
            ways.push((Some(mistake), text));
        }
    }
    ways
}

fn without_slash(path: &str) -> String {
    let shorn = path.strip_suffix('/').unwrap_or(path);
    if shorn.is_empty() { path.to_owned() } else { shorn.to_owned() }
}
