//! Rows of keys, as they come from another gateway.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    csv,
    fields::{Fields, MEMBERS},
    error::{LineError, ImportError},
};
use crate::model::{CallerId, PlanId, Scopes, Secret, Status, TenantId};

/// The most rows that are read at once.
pub const MAX_ROWS: usize = 100_000;
/// The longest text of rows that is read, in bytes: 64 MiB.
pub const MAX_FILE_BYTES: usize = 64 << 20;
/// The most mistakes that are told.
pub(super) const MAX_ERRORS: usize = 100;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFileFormat {
    /// A JSON object to a line.
    Ndjson,
    /// CSV (RFC 4180), whose first record names the members.
    Csv,
}

impl FromStr for KeyFileFormat {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "ndjson" => Ok(Self::Ndjson),
            "csv" => Ok(Self::Csv),
            _ => Err("ndjson or csv"),
        }
    }
}

/// Rows that hold what they must, one by one; whether they fit a registry is not said yet.
///
/// | member | |
/// |---|---|
/// | `tenant`, `caller` | ids |
/// | `name` | the credential's, for people |
/// | `digest` or `key` | the SHA-256 of the key, in hexadecimal digits or Base64 of either alphabet; or the key |
/// | `hint` | what may be shown of the key; of a key that stands here, its first characters otherwise |
/// | `status` | `enabled` (when there is none) or `disabled` |
/// | `scopes` | `all` (when there is none); `RESOURCE:read` and `RESOURCE:write`, with spaces between them; or, in JSON, a list of `{"resource", "access", "targets"}` |
/// | `not_after` | the first moment at which it is no longer accepted, RFC 3339 |
/// | `plan` | the plan of a caller that is made; of one that is there, its plan |
///
/// ```
/// use portcullis::transfer::{Form, Rows};
///
/// let text = "tenant,caller,name,digest\n\
///             acme,billing,production,n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=\n";
/// assert_eq!(Rows::read(text.as_bytes(), Form::Csv).unwrap().len(), 1);
/// ```
#[derive(Debug, Default)]
pub struct KeyRows(pub(super) Vec<Row>);

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

/// What is known of a key.
#[derive(Debug)]
pub(super) enum KeyMaterial {
    /// A key of our own form.
    Key(Secret),
    /// By the member that it stood in.
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

impl KeyRows {
    /// Reads rows.
    ///
    /// # Errors
    /// [`Refused::Mistakes`] with the first hundred of what is wrong; no member's value is quoted.
    pub fn read(text: &[u8], form: KeyFileFormat) -> Result<Self, ImportError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(LineError::new(1, "", format!("is one of more than {MAX_FILE_BYTES} bytes")).into());
        }
        let text = str::from_utf8(text).map_err(|error| {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count() as u64;
            LineError::new(line, "", "is no UTF-8")
        })?;
        let mut reading = Reading::default();
        // As spreadsheets write it.
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        match form {
            KeyFileFormat::Ndjson => reading.ndjson(text),
            KeyFileFormat::Csv => reading.csv(text),
        }
        if reading.mistakes.is_empty() {
            Ok(Self(reading.rows))
        } else {
            Err(ImportError::Mistakes(reading.mistakes))
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Default)]
struct Reading {
    rows: Vec<Row>,
    read: usize,
    mistakes: Vec<LineError>,
}

impl Reading {
    fn ndjson(&mut self, text: &str) {
        for (line, text) in (1..).zip(text.lines()) {
            if text.trim_ascii().is_empty() {
                continue;
            }
            if !self.goes_on(line) {
                return;
            }
            match serde_json::from_str::<Members>(text) {
                Ok(Members(given)) => self.row(line, given),
                Err(_) => self.mistakes.push(LineError::new(line, "", "is no JSON object")),
            }
        }
    }

    fn csv(&mut self, text: &str) {
        let mut names: Option<Vec<String>> = None;
        for record in csv::records(text) {
            let (line, fields) = match record {
                Ok(record) => record,
                Err((line, what)) => return self.mistakes.push(LineError::new(line, "", what)),
            };
            let Some(names) = &names else {
                if let Err(mistake) = header(line, &fields) {
                    return self.mistakes.push(mistake);
                }
                names = Some(fields);
                continue;
            };
            if !self.goes_on(line) {
                return;
            }
            if fields.len() != names.len() {
                let what = format!("has {} fields, and the header {}", fields.len(), names.len());
                self.mistakes.push(LineError::new(line, "", what));
                continue;
            }
            let given = names.iter().cloned().zip(fields.into_iter().map(Value::String)).collect();
            self.row(line, given);
        }
    }

    /// Whether another row is read.
    fn goes_on(&mut self, line: u64) -> bool {
        self.read += 1;
        if self.read > MAX_ROWS {
            self.mistakes.push(LineError::new(line, "", format!("is one of more than {MAX_ROWS} rows")));
        }
        self.read <= MAX_ROWS && self.mistakes.len() < MAX_ERRORS
    }

    fn row(&mut self, line: u64, given: Vec<(String, Value)>) {
        match Fields::of(line, given).row() {
            Ok(row) => self.rows.push(row),
            Err(mistakes) => {
                let room = MAX_ERRORS.saturating_sub(self.mistakes.len());
                self.mistakes.extend(mistakes.into_iter().take(room));
            }
        }
    }
}

/// Whether a header names members, each once. What stands there is not quoted: where somebody left the header
/// out, it is a row, with a key perhaps.
fn header(line: u64, names: &[String]) -> Result<(), LineError> {
    for (at, name) in names.iter().enumerate() {
        let what = match name {
            name if !MEMBERS.contains(&&**name) => "names no member that is known",
            name if names[..at].contains(name) => "names a member once more",
            _ => continue,
        };
        return Err(LineError::new(line, "", format!("field {} of the header {what}", at + 1)));
    }
    Ok(())
}

/// An object's members as they stand, those that stand twice too.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(object: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        object.deserialize_map(Each)
    }
}
