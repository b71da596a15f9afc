//! The two versions of the contract, and their spellings of an id.

use std::borrow::Cow;

use http::{Uri, uri::PathAndQuery};

use portcullis::{Admission, Head, Policy, Stop};

/// A version of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// `/v1`: ids are UUIDs with hyphens.
    One,
    /// `/v2`: the same UUIDs without hyphens.
    Two,
}

impl Version {
    /// Returns the first segment of the version's paths.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::One => "/v1",
            Self::Two => "/v2",
        }
    }

    /// Returns the common start of all paths of a gateway.
    pub(super) fn base(self) -> String {
        format!("{}/{{project_id}}/apigw/instances/{{instance_id}}", self.prefix())
    }

    /// Returns an id in the spelling of this version. An id that is not a UUID with hyphens is returned unchanged.
    pub(super) fn shown(self, id: &str) -> Cow<'_, str> {
        match self {
            Self::Two if is_uuid(id) => id.replace('-', "").into(),
            Self::One | Self::Two => id.into(),
        }
    }

    /// Returns the stored form of an id in the spelling of this version.
    pub(super) fn stored(self, id: &str) -> Cow<'_, str> {
        match self {
            Self::Two => hyphenated(id).map_or(id.into(), Cow::Owned),
            Self::One => id.into(),
        }
    }

    /// Generates an AppKey: a random UUID in the spelling of this version.
    pub(super) fn new_key(self) -> String {
        let key = uuid::Uuid::new_v4();
        match self {
            Self::One => key.to_string(),
            Self::Two => key.simple().to_string(),
        }
    }
}

fn is_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

fn is_uuid(text: &str) -> bool {
    let fits = |(at, b)| if matches!(at, 8 | 13 | 18 | 23) { b == b'-' } else { is_hex(b) };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

/// Converts 32 hexadecimal digits in lower case to a UUID with hyphens.
fn hyphenated(text: &str) -> Option<String> {
    (text.len() == 32 && text.bytes().all(is_hex)).then(|| {
        let (a, b, c, d, e) = (&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]);
        format!("{a}-{b}-{c}-{d}-{e}")
    })
}

/// Applies `spell` to the segments of a path without its version. Segments up to the instance
/// (`/{project_id}/apigw/instances/{instance_id}`) stay unchanged, because their ids are assigned elsewhere.
pub(super) fn respelled<'a>(rest: &'a str, spell: impl Fn(&'a str) -> Cow<'a, str>) -> String {
    let mut path = String::with_capacity(rest.len() + 4);
    for (at, segment) in rest.split('/').enumerate().skip(1) {
        path.push('/');
        path.push_str(&if at > 4 { spell(segment) } else { segment.into() });
    }
    path
}

/// Rewrites a V2 path to the V1 spelling, so that handlers see one path for one app. Must follow the policies that
/// authenticate the caller, because a signature covers the original path.
pub(super) struct V1PathSpelling;

impl Policy for V1PathSpelling {
    fn admit(&self, head: &Head<'_>, admission: &mut Admission) -> Result<(), Stop> {
        if let Some(target) = first_version(admission.target().unwrap_or(head.uri)) {
            admission.set_target(target);
        }
        Ok(())
    }
}

/// Returns a V2 target in the V1 spelling; `None` if it is not a V2 target.
fn first_version(uri: &Uri) -> Option<Uri> {
    let rest = uri.path().strip_prefix(Version::Two.prefix()).filter(|rest| rest.starts_with('/'))?;
    let mut path = format!("{}{}", Version::One.prefix(), respelled(rest, |id| Version::Two.stored(id)));
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYPHENS: &str = "14b399ac-967f-4115-bb62-c0346b4537e9";
    const NONE: &str = "14b399ac967f4115bb62c0346b4537e9";

    #[test]
    fn each_version_has_its_own_spelling_of_one_id() {
        assert_eq!((&*Version::One.shown(HYPHENS), &*Version::Two.shown(HYPHENS)), (HYPHENS, NONE));
        assert_eq!((&*Version::One.stored(HYPHENS), &*Version::Two.stored(NONE)), (HYPHENS, HYPHENS));
        assert_eq!(&*Version::One.stored(NONE), NONE, "V1 has no other spelling");
        for plain in ["app", "14B399AC967F4115BB62C0346B4537E9", "14b399ac967f4115bb62c0346b4537eé", ""] {
            assert_eq!((&*Version::Two.stored(plain), &*Version::Two.shown(plain)), (plain, plain));
        }
    }

    #[test]
    fn v2_path_becomes_a_v1_path() {
        for (path, expected) in [
            (format!("/v2/{NONE}/apigw/instances/{NONE}/apps/{NONE}/app-codes?id={NONE}"), true),
            (format!("/v1/{NONE}/apigw/instances/{NONE}/apps/{NONE}"), false),
            ("/v20/p".into(), false),
            ("/v2".into(), false),
        ] {
            let first = first_version(&path.parse().unwrap()).map(|uri| uri.to_string());
            let spelt = format!("/v1/{NONE}/apigw/instances/{NONE}/apps/{HYPHENS}/app-codes?id={NONE}");
            assert_eq!(first, expected.then_some(spelt), "{path}");
        }
    }
}
