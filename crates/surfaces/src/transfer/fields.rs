//! Reads one row from its members.

use std::{collections::BTreeMap, ops::RangeInclusive, str::FromStr};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::LineError;
use portcullis::model::{
    Access, CallerId, GeneratedKey, PlanId, Scope, Scopes, Secret, Status, TenantId, hex::decode,
    text::is_label,
};

/// The length of a key in bytes: shorter keys can be guessed, and longer keys are rejected when they are presented.
const KEY: RangeInclusive<usize> = 16..=1_024;
const MAX_NAME_LEN: usize = 255;
const MAX_HINT_LEN: usize = 64;

/// The known members of a row.
pub(super) const MEMBERS: [&str; 10] =
    ["tenant", "caller", "name", "digest", "key", "hint", "status", "scopes", "not_after", "plan"];

const ID: &str = "must be 1 to 64 characters of A-Z a-z 0-9 - _ .";

/// The key of one row, with its caller and attributes.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) tenant: TenantId,
    pub(super) caller: CallerId,
    pub(super) name: String,
    pub(super) proof: KeyMaterial,
    pub(super) hint: String,
    pub(super) status: Status,
    pub(super) scopes: Scopes,
    pub(super) not_after: Option<Timestamp>,
    pub(super) plan: Option<PlanId>,
}

/// The known part of a key.
#[derive(Debug)]
pub(super) enum KeyMaterial {
    /// A key in the format of this gateway's keys.
    Key(Secret),
    /// The SHA-256 of a key, with the name of the member that it was read from.
    Sha256(&'static str, [u8; 32]),
}

impl KeyMaterial {
    pub(super) fn sha256(&self) -> [u8; 32] {
        match self {
            Self::Key(key) => Sha256::digest(key.expose()).into(),
            Self::Sha256(_, sha256) => *sha256,
        }
    }

    pub(super) fn member(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Sha256(member, _) => member,
        }
    }
}

/// The members that were not read yet, and the errors in those that were.
pub(super) struct Fields {
    line: u64,
    given: BTreeMap<String, Value>,
    mistakes: Vec<LineError>,
}

impl Fields {
    pub(super) fn new(line: u64, given: Vec<(String, Value)>) -> Self {
        let mut fields = Self { line, given: BTreeMap::new(), mistakes: Vec::new() };
        for (name, value) in given {
            if !MEMBERS.contains(&&*name) {
                let name: String = name.chars().take(32).collect();
                fields.mistake("", format!("has the unknown member {name:?}"));
            } else if fields.given.insert(name.clone(), value).is_some() {
                fields.mistake(&name, "is repeated");
            }
        }
        fields
    }

    /// Returns the row, or all its errors.
    pub(super) fn row(mut self) -> Result<Row, Vec<LineError>> {
        let (tenant, caller) = (self.needed("tenant"), self.needed("caller"));
        let (name, proof) = (self.name(), self.proof());
        let hint = self.text("hint", MAX_HINT_LEN);
        for (member, text) in [("name", &name), ("hint", &hint)] {
            let shows = |(proof, _): &(KeyMaterial, _)| {
                text.as_ref().is_some_and(|text| Sha256::digest(text)[..] == proof.sha256())
            };
            if proof.as_ref().is_some_and(shows) {
                self.mistake(member, "is the key itself");
            }
        }
        let (status, scopes) = (self.status(), self.scopes());
        let (not_after, plan) = (self.parsed("not_after", "must be in RFC 3339"), self.parsed("plan", ID));
        let line = self.line;
        match (tenant, caller, name, proof, status, scopes) {
            (Some(tenant), Some(caller), Some(name), Some((proof, shown)), Some(status), Some(scopes))
                if self.mistakes.is_empty() =>
            {
                let hint = hint.unwrap_or(shown);
                Ok(Row { line, tenant, caller, name, proof, hint, status, scopes, not_after, plan })
            }
            _ => Err(self.mistakes),
        }
    }

    fn mistake(&mut self, member: &str, what: impl Into<String>) {
        self.mistakes.push(LineError::new(self.line, member, what));
    }

    /// Returns the text of a member; `None` if the member is missing, `null` or empty.
    fn plain(&mut self, member: &str) -> Option<String> {
        match self.given.remove(member)? {
            Value::Null => None,
            Value::String(text) => (!text.is_empty()).then_some(text),
            _ => {
                self.mistake(member, "is not a string");
                None
            }
        }
    }

    fn parsed<T: FromStr>(&mut self, member: &str, what: &str) -> Option<T> {
        let parsed = self.plain(member)?.parse().ok();
        if parsed.is_none() {
            self.mistake(member, what);
        }
        parsed
    }

    fn needed<T: FromStr>(&mut self, member: &str) -> Option<T> {
        let before = self.mistakes.len();
        let parsed = self.parsed(member, ID);
        if parsed.is_none() && self.mistakes.len() == before {
            self.mistake(member, "is missing");
        }
        parsed
    }

    fn name(&mut self) -> Option<String> {
        let before = self.mistakes.len();
        let name = self.text("name", MAX_NAME_LEN);
        if name.is_none() && self.mistakes.len() == before {
            self.mistake("name", "is missing");
        }
        name
    }

    fn status(&mut self) -> Option<Status> {
        match self.plain("status").as_deref() {
            None | Some("enabled") => return Some(Status::Enabled),
            Some("disabled") => return Some(Status::Disabled),
            Some(_) => self.mistake("status", "must be enabled or disabled"),
        }
        None
    }

    fn text(&mut self, member: &str, longest: usize) -> Option<String> {
        let text = self.plain(member)?;
        if !is_label(&text, 0..=longest) {
            self.mistake(member, format!("is longer than {longest} characters, or has an invisible one"));
            return None;
        }
        Some(text)
    }

    /// Returns the known part of the key and its visible part.
    fn proof(&mut self) -> Option<(KeyMaterial, String)> {
        let before = self.mistakes.len();
        match (self.plain("digest"), self.plain("key").map(Secret::from)) {
            _ if self.mistakes.len() > before => {}
            (Some(_), Some(_)) => self.mistake("key", "must not be given beside digest"),
            (None, None) => self.mistake("digest", "is missing: give digest or key"),
            (Some(digest), None) => match decode(&digest).or_else(|| unbase64(&digest)) {
                Some(sha256) => return Some((KeyMaterial::Sha256("digest", sha256), String::new())),
                None => self.mistake("digest", "is not 32 bytes in hexadecimal digits or Base64"),
            },
            (None, Some(key)) => {
                let text = key.expose();
                if !KEY.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                    let (least, most) = KEY.into_inner();
                    self.mistake("key", format!("must be {least} to {most} visible ASCII characters"));
                    return None;
                }
                let start = if GeneratedKey::parse(text).is_ok() {
                    text.rfind('_').map_or(0, |at| at + 1)
                } else {
                    0
                };
                let shown = text.get(..start + 4).unwrap_or_default().to_owned();
                let sha256 = Sha256::digest(text).into();
                let proof =
                    if start > 0 { KeyMaterial::Key(key) } else { KeyMaterial::Sha256("key", sha256) };
                return Some((proof, shown));
            }
        }
        None
    }

    fn scopes(&mut self) -> Option<Scopes> {
        let scopes = match self.given.remove("scopes") {
            None | Some(Value::Null) => Some(Scopes::All),
            Some(Value::String(text)) if text.is_empty() || text == "all" => Some(Scopes::All),
            Some(Value::String(text)) => {
                let list: Option<Vec<_>> = text.split_whitespace().map(scope).collect();
                list.filter(|list| !list.is_empty()).map(Scopes::Listed)
            }
            Some(list) => serde_json::from_value::<Vec<Listed>>(list)
                .ok()
                .and_then(|list| list.into_iter().map(Listed::scope).collect::<Option<_>>())
                .map(Scopes::Listed),
        };
        if scopes.is_none() {
            self.mistake("scopes", "must be all, or a list of resources with read or write access");
        }
        scopes
    }
}

/// Decodes 32 bytes of either Base64 alphabet, padded or not.
fn unbase64(text: &str) -> Option<[u8; 32]> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let mut bytes = [0; 32];
    let one = |alphabet| GeneralPurpose::new(alphabet, LENIENT).decode_slice(text, &mut bytes) == Ok(32);
    [&alphabet::STANDARD, &alphabet::URL_SAFE].into_iter().any(one).then_some(bytes)
}

fn scope(text: &str) -> Option<Scope> {
    let (resource, access) = text.split_once(':')?;
    let access = match access {
        "read" => Access::Read,
        "write" => Access::Write,
        _ => return None,
    };
    Listed { resource: resource.to_owned(), access, targets: None }.scope()
}

/// A scope as an element of a JSON list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    resource: String,
    access: Access,
    targets: Option<Vec<String>>,
}

impl Listed {
    fn scope(self) -> Option<Scope> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let named = (1..=64).contains(&self.resource.len()) && self.resource.bytes().all(plain);
        let short = |id: &String| (1..=64).contains(&id.len());
        let targets = self.targets.as_ref().is_none_or(|ids| !ids.is_empty() && ids.iter().all(short));
        (named && targets).then(|| Scope {
            resource: self.resource.into(),
            access: self.access,
            targets: self.targets.map(|ids| ids.into_iter().map(Into::into).collect()),
        })
    }
}
