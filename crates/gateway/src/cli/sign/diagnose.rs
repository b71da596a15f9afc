//! Diagnosis of an invalid signature: tries common mistakes of signers, alone and combined.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;

use super::{explain::SigningSteps, request::Request};
use portcullis::{
    model::Secret,
    signature::{
        Authorization, RequestSignature, SignatureFormatError, Signer, UNSIGNED_PAYLOAD,
        X_SDK_CONTENT_SHA256, hash, sign,
    },
};

/// The result of a check.
#[derive(Serialize)]
pub(super) struct Diagnosis {
    holds: bool,
    /// The differences, and remarks on a valid signature.
    says: Vec<String>,
    /// The steps of the correct signature.
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
        writeln!(out, "--- check\n{}", if self.holds { "valid" } else { "invalid" })?;
        self.says.iter().try_for_each(|line| writeln!(out, "* {line}"))
    }
}

/// Checks an `Authorization` header against its request.
pub(super) fn check(
    request: &Request,
    theirs: &str,
    key: &str,
    secret: &Secret,
    now: Timestamp,
) -> Diagnosis {
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
                "signed headers: {name} is signed but missing from the request; pass it with -H '{name}: …'"
            ));
        }
        Err(flaw @ (SignatureFormatError::Date | SignatureFormatError::Repeated(_))) => {
            return failed(format!("date: {flaw}"));
        }
        Err(flaw) => return failed(format!("signed headers: {flaw}")),
    };
    let mut says = Vec::new();
    if presented.access_key() != key {
        says.push(format!("access key: expected {key}, found {}", presented.access_key()));
    }
    if let Err(flaw) = presented.check_date(now) {
        says.push(format!("date: more than 15 minutes from now; a gateway rejects it: {flaw}"));
    }
    let names = authorization.signed_headers;
    let signer = Signer::new(key, secret.expose().as_bytes());
    // A request whose signature was parsed can be signed.
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
                says.push("signature: it is correct but in upper case; it must be in lower case".into());
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
        "signature: no common mistake explains it. Either the secret or the signed request is different: compare the \
         canonical request above, line by line, with that of the signer"
            .to_owned(),
    ];
    if !request.dated {
        says.push("date: the current time was used; pass the X-Sdk-Date of the request with --date".into());
    }
    if names != request.names() {
        says.push(format!(
            "signed headers: the signature names {names}; the request here has {}",
            request.names()
        ));
    }
    says
}

/// A signature to reproduce, and the inputs of the search.
struct Search<'a> {
    request: &'a Request,
    secret: &'a Secret,
    date: &'a str,
    signature: &'a str,
}

/// The variants of a part: the correct one, and those of named mistakes.
type Ways = Vec<(Option<&'static str>, String)>;

impl Search<'_> {
    /// Returns the smallest set of mistakes that reproduces the signature. An empty set means a correct signature in
    /// upper case.
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
            // The next combination, in counting order.
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
                    ("the path was signed as it is in the URL, without normalization", parts.path.to_owned()),
                    ("the path was encoded twice", path.replace('%', "%25")),
                ],
            ),
            ways(
                query,
                [
                    (
                        "the query was signed as it is in the URL, neither sorted nor encoded",
                        parts.query.into(),
                    ),
                    ("the query was left out", String::new()),
                    (
                        "a + in the query was signed as a space; it means a plus sign",
                        query.replace("%2B", "%20"),
                    ),
                    ("spaces in the query were signed as +; they must be %20", query.replace("%20", "+")),
                    ("the query was signed in lower case", query.to_ascii_lowercase()),
                    (
                        "the = after names without a value was left out",
                        query.replace("=&", "&").trim_end_matches('=').into(),
                    ),
                ],
            ),
            ways(
                &headers,
                [
                    (
                        "the empty line between the headers and their names is missing",
                        headers.trim_end().to_owned() + "\n",
                    ),
                    ("the host was signed without its port", self.host_without_port(&headers)),
                    ("the host was signed with the port 443", self.host_with(&headers, ":443")),
                    ("the host was signed with the port 80", self.host_with(&headers, ":80")),
                    ("the header values were signed in lower case", headers.to_lowercase()),
                ],
            ),
            ways(names, []),
            ways(payload, self.payloads()),
            ways("", [("the canonical request ends with a line break", "\n".to_owned())]),
            ways(
                secret.expose(),
                [("the line break after the secret was included", format!("{}\n", secret.expose()))],
            ),
        ])
    }

    fn payloads(&self) -> Vec<(&'static str, String)> {
        let content = &self.request.content;
        let of = |content: &[u8]| hash(content).as_str().to_owned();
        let shorn = content.strip_suffix(b"\n").unwrap_or(content);
        vec![
            ("the body was left out: the hash is that of an empty body", of(b"")),
            ("the body was signed without the line break at its end", of(shorn)),
            ("the body was signed with a line break at its end", of(&[content, &b"\n"[..]].concat())),
            ("the hash of the body is in upper case", of(content).to_ascii_uppercase()),
            (
                "UNSIGNED-PAYLOAD was signed, but X-Sdk-Content-Sha256 has another value or is missing",
                UNSIGNED_PAYLOAD.into(),
            ),
            (
                "the hash of the body was signed, but X-Sdk-Content-Sha256 has another value",
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

/// The number of parts: method, path, query, headers, their names, the hash of the body, the end, the secret.
const PARTS: usize = 8;

/// Returns the correct variant and the mistakes that differ from it and from each other.
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
