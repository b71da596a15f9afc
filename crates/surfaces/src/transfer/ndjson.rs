//! Lines of an export.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::secrets::{SecretFingerprint, SecretRequirement};
use portcullis::model::{CredentialId, Entity, EntityKind, Seq};

/// The name of the format in the first line.
pub(super) const FORMAT: &str = "portcullis-export";
/// The format version that is written and read.
pub(super) const VERSION: u64 = 1;
/// The maximum length of a line in bytes, including the line end.
pub(super) const MAX_LINE_LEN: usize = 16 << 20;

pub(super) const HEAD: &str = "head";
pub(super) const USE: &str = "use";
pub(super) const END: &str = "end";

/// Lines that are not entities.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MetaLine {
    Head(Header),
    Use(LastUse),
    End(Trailer),
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) version: u64,
    /// The version of the program that wrote the file.
    pub(super) program: String,
    /// The number of the last change that the file contains.
    pub(super) seq: Seq,
    /// The time at which the file was written.
    pub(super) at: Timestamp,
    pub(super) peppers: Vec<SecretFingerprint>,
    pub(super) seal_keys: Vec<SecretFingerprint>,
}

/// The last use of a credential.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LastUse {
    pub(super) credential: CredentialId,
    pub(super) at: Timestamp,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trailer {
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) peppers: Vec<u32>,
    pub(super) seal_keys: Vec<u32>,
    pub(super) sha256: String,
}

/// The contents of the last line, collected from the lines before it.
#[derive(Debug, Default)]
pub(super) struct LineCounts {
    counts: BTreeMap<String, u64>,
    peppers: BTreeSet<u32>,
    seal_keys: BTreeSet<u32>,
}

impl LineCounts {
    pub(super) fn count(&mut self, tag: &str) {
        match self.counts.get_mut(tag) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(tag.to_owned(), 1)),
        }
    }

    pub(super) fn need(&mut self, need: SecretRequirement) {
        match need {
            SecretRequirement::Pepper(version) => self.peppers.insert(version),
            SecretRequirement::SealKey(version) => self.seal_keys.insert(version),
        };
    }

    pub(super) fn end(self, sha256: String) -> Trailer {
        let (peppers, seal_keys) = (self.peppers.into_iter().collect(), self.seal_keys.into_iter().collect());
        Trailer { counts: self.counts, peppers, seal_keys, sha256 }
    }
}

/// Returns the kind of a line, which is the name of its only member.
pub(super) fn tag(line: &[u8]) -> Option<&str> {
    let (name, _) = str::from_utf8(line.strip_prefix(b"{\"")?).ok()?.split_once('"')?;
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(name)
}

/// Returns the position of a kind of lines in the order of a file, between the first and the last line.
pub(super) fn position(tag: &str) -> Option<usize> {
    let kinds = EntityKind::ALL.iter().position(|kind| kind.as_str() == tag);
    kinds.or((tag == USE).then_some(EntityKind::ALL.len()))
}

/// Parses a line without its line end. An error consists of the path of the invalid member and a description.
pub(super) fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, (String, String)> {
    let mut line = serde_json::Deserializer::from_slice(line);
    let value = serde_path_to_error::deserialize(&mut line).map_err(|error| {
        let path = error.path().to_string();
        // A member that ended before its name has no name.
        let path = path.trim_end_matches(".?").to_owned();
        (if path == "." { String::new() } else { path }, wrong(error.inner()))
    })?;
    line.end().map_err(|_| (String::new(), "text follows the object".to_owned()))?;
    Ok(value)
}

/// Describes an error in own words, because the parser's message would quote the value.
fn wrong(error: &serde_json::Error) -> String {
    if !error.is_data() {
        return "is not JSON".to_owned();
    }
    let text = error.to_string();
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
    match missing {
        Some((name, _)) => format!("{name} is missing"),
        None => "is invalid or unknown".to_owned(),
    }
}

/// Returns the path of a member that would be lost: a later version of the program may have written it.
pub(super) fn unknown(line: &[u8], entity: &Entity) -> Option<String> {
    let parsed = serde_json::to_vec(entity).unwrap_or_default();
    if parsed == line {
        return None;
    }
    let read = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap_or_default();
    let (mut read, parsed) = (read(line), read(&parsed));
    // Earlier releases stored the paths of locks unnormalized; now they are normalized.
    if let (Entity::Lock(_), Some(given), Some(normal)) =
        (entity, read.pointer_mut(LOCKED_PATH), parsed.pointer(LOCKED_PATH))
        && given.is_string()
    {
        *given = normal.clone();
    }
    lost_member(&read, &parsed)
}

/// The pointer to the path of a lock in its line.
const LOCKED_PATH: &str = "/lock/target/resource";

fn lost_member(read: &Value, parsed: &Value) -> Option<String> {
    let below =
        |name: String, read, parsed: Option<&Value>| match parsed.map(|parsed| lost_member(read, parsed)) {
            None => Some(name),
            Some(None) => None,
            Some(Some(path)) if path.is_empty() => Some(name),
            Some(Some(path)) => Some(format!("{name}.{path}")),
        };
    match (read, parsed) {
        (Value::Object(read), Value::Object(parsed)) => {
            read.iter().find_map(|(name, value)| below(name.clone(), value, parsed.get(name)))
        }
        (Value::Array(read), Value::Array(parsed)) if read.len() == parsed.len() => {
            read.iter().enumerate().find_map(|(at, value)| below(at.to_string(), value, parsed.get(at)))
        }
        (read, parsed) => (read != parsed).then(String::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_type_is_its_only_member() {
        for (line, expected) in [
            (r#"{"tenant":{}}"#, Some("tenant")),
            (r#"{"":{}}"#, Some("")),
            (r#"{"Tenant":{}}"#, None),
            (r#"{ "tenant":{}}"#, None),
            (r#"{"tenant"#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(tag(line.as_bytes()), expected, "{line}");
        }
        assert_eq!(position("tenant"), Some(0));
        assert!(position("lock") < position(USE));
        assert_eq!((position(HEAD), position(END), position("")), (None, None, None));
    }

    #[test]
    fn errors_are_named_and_not_quoted() {
        for (line, path, what) in [
            (r#"{"plan":{"id":"p","limits":"hunter2"}}"#, "plan.limits", "is invalid or unknown"),
            (r#"{"plan":{"limits":[]}}"#, "plan", "id is missing"),
            (r#"{"plan":{"id":"hunter 2","limits":[]}}"#, "plan.id", "is invalid or unknown"),
            (r#"{"plan":{"id":"p","#, "plan", "is not JSON"),
            (r#"{"plan":{"id":"p","limits":[]}} {}"#, "", "text follows the object"),
        ] {
            let error = parse::<Entity>(line.as_bytes()).unwrap_err();
            assert_eq!(error, (path.to_owned(), what.to_owned()), "{line}");
        }
    }

    #[test]
    fn unknown_member_is_named() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for (given, parsed, expected) in [
            ("{}", r#"{"later":null}"#, None),
            (r#"{"a":{"b":[{"c":1}]}}"#, r#"{"a":{"b":[{"c":1,"d":2}]}}"#, None),
            (r#"{"a":{"b":[{"c":1}]}}"#, r#"{"a":{"b":[{}]}}"#, Some("a.b.0.c")),
            (r#"{"a":{"b":1}}"#, r#"{"a":{"b":2}}"#, Some("a.b")),
            (r#"{"a":[1,2]}"#, r#"{"a":[1]}"#, Some("a")),
            (r#"{"a":null}"#, "{}", Some("a")),
        ] {
            assert_eq!(lost_member(&read(given), &read(parsed)).as_deref(), expected, "{given} {parsed}");
        }
    }
}
