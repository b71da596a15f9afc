//! Rows of keys that were exported from another gateway.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

use super::{
    csv,
    error::{ImportError, LineError},
    fields::{Fields, MEMBERS, Row},
};

/// The maximum number of rows that are read at once.
pub const MAX_ROWS: usize = 100_000;
/// The maximum length of a text of rows in bytes: 64 MiB.
pub const MAX_FILE_BYTES: usize = 64 << 20;
/// The maximum number of errors that are reported.
pub(super) const MAX_ERRORS: usize = 100;

/// The format of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFileFormat {
    /// One JSON object per line.
    Ndjson,
    /// CSV (RFC 4180), whose first record is a header with the names of the members.
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

/// Valid rows of keys. Conflicts with a registry are detected by the import.
///
/// | member | |
/// |---|---|
/// | `tenant`, `caller` | ids |
/// | `name` | the name of the credential, for people |
/// | `digest` or `key` | the SHA-256 of the key, in hexadecimal digits or Base64 of either alphabet; or the key |
/// | `hint` | the visible part of the key; by default the first characters of `key` |
/// | `status` | `enabled` (the default) or `disabled` |
/// | `scopes` | `all` (the default); `RESOURCE:read` and `RESOURCE:write`, separated by spaces; or, in JSON, a list of `{"resource", "access", "targets"}` |
/// | `not_after` | the first moment at which the key is no longer accepted, RFC 3339 |
/// | `plan` | the plan of a caller that is created; for an existing caller, it must be the caller's plan |
///
/// ```
/// use portcullis_surfaces::transfer::{KeyFileFormat, KeyRows};
///
/// let text = "tenant,caller,name,digest\n\
///             acme,billing,production,n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=\n";
/// assert_eq!(KeyRows::read(text.as_bytes(), KeyFileFormat::Csv).unwrap().len(), 1);
/// ```
#[derive(Debug, Default)]
pub struct KeyRows(pub(super) Vec<Row>);

impl KeyRows {
    /// Reads rows.
    ///
    /// # Errors
    /// [`ImportError::Mistakes`] with the first hundred errors, which quote no values.
    pub fn read(text: &[u8], form: KeyFileFormat) -> Result<Self, ImportError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(
                LineError::new(1, "", format!("the text has more than {MAX_FILE_BYTES} bytes")).into()
            );
        }
        let text = str::from_utf8(text).map_err(|error| {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count() as u64;
            LineError::new(line, "", "is not UTF-8")
        })?;
        let mut reading = Reading::default();
        // Spreadsheets write a byte order mark.
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

    /// Returns the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if there are no rows.
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
                Err(_) => self.mistakes.push(LineError::new(line, "", "is not a JSON object")),
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
                let what = format!("has {} fields, but the header {}", fields.len(), names.len());
                self.mistakes.push(LineError::new(line, "", what));
                continue;
            }
            let given = names.iter().cloned().zip(fields.into_iter().map(Value::String)).collect();
            self.row(line, given);
        }
    }

    /// Counts a row, and returns `true` if it is to be read.
    fn goes_on(&mut self, line: u64) -> bool {
        self.read += 1;
        if self.read > MAX_ROWS {
            self.mistakes.push(LineError::new(line, "", format!("there are more than {MAX_ROWS} rows")));
        }
        self.read <= MAX_ROWS && self.mistakes.len() < MAX_ERRORS
    }

    fn row(&mut self, line: u64, given: Vec<(String, Value)>) {
        match Fields::new(line, given).row() {
            Ok(row) => self.rows.push(row),
            Err(mistakes) => {
                let room = MAX_ERRORS.saturating_sub(self.mistakes.len());
                self.mistakes.extend(mistakes.into_iter().take(room));
            }
        }
    }
}

/// Checks that a header names known members, each once. The error quotes nothing: if the header was left out, the first
/// record is a row, which may contain a key.
fn header(line: u64, names: &[String]) -> Result<(), LineError> {
    for (at, name) in names.iter().enumerate() {
        let what = match name {
            name if !MEMBERS.contains(&&**name) => "is not a known member",
            name if names[..at].contains(name) => "repeats a member",
            _ => continue,
        };
        return Err(LineError::new(line, "", format!("field {} of the header {what}", at + 1)));
    }
    Ok(())
}

/// The members of an object in their order, including repeated ones.
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
