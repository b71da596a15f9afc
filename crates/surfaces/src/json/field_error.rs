//! Errors in the members of a body, with their places.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use serde::de::{Error, Expected, Unexpected};

use super::renamed::present_name;
use portcullis::{Denial, denial::FieldError};

/// Maximum number of characters of a member name that an error repeats.
const REPEATED: usize = 64;

/// A member that does not match the schema or has an invalid value.
#[derive(Debug)]
pub(crate) struct MemberError {
    /// The path to the member, from the innermost name outwards, each name escaped for a JSON Pointer.
    way: Vec<String>,
    detail: String,
    /// Whether the shape is right and only the value is invalid: 422 instead of 400.
    value: bool,
}

impl MemberError {
    fn shape(detail: impl Into<String>) -> Self {
        Self { way: Vec::new(), detail: detail.into(), value: false }
    }

    fn value(detail: impl Into<String>) -> Self {
        Self { value: true, ..Self::shape(detail) }
    }

    /// Adds the name of the enclosing member, or the index of the enclosing element, to the path.
    pub(super) fn within(mut self, name: &str) -> Self {
        self.way.push(escaped(name));
        self
    }

    /// Returns the place and the error on one line: `targets/0: expected a string, got null`.
    pub(super) fn described(self) -> String {
        let place = self.way.iter().rev().cloned().collect::<Vec<_>>().join("/");
        if place.is_empty() { self.detail } else { format!("{place}: {}", self.detail) }
    }

    pub(super) fn denial(self) -> Denial {
        let pointer = self.way.iter().rev().fold("#".to_owned(), |way, name| way + "/" + name);
        let wrong = Box::new([FieldError { pointer, line: None, detail: self.detail.into() }]);
        if self.value { Denial::InvalidValues { wrong } } else { Denial::InvalidShape { wrong } }
    }
}

/// Escapes a name for a JSON Pointer (RFC 6901, sections 3 and 6) and truncates it.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars().take(REPEATED) {
        match c {
            '~' => text.push_str("~0"),
            '/' => text.push_str("~1"),
            c if c.is_ascii_alphanumeric() || "-._!$&'()*+,;=:@?".contains(c) => text.push(c),
            c => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "%{byte:02X}");
                }
            }
        }
    }
    text
}

/// Names the type of the value that was found, without the value.
fn kind(unexpected: &Unexpected<'_>) -> &'static str {
    match unexpected {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Other(_) => "a number",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Char(_) | Unexpected::Str(_) => "a string",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "an array",
        Unexpected::Map => "an object",
        _ => "another type",
    }
}

/// Names the expected type.
fn words(expected: &dyn Expected) -> Cow<'static, str> {
    match &*expected.to_string() {
        "u32" => "a whole number from 0 to 4294967295".into(),
        "u64" => "a whole number, 0 or more".into(),
        "i64" => "a whole number".into(),
        "a sequence" => "an array".into(),
        other => other.to_owned().into(),
    }
}

impl Error for MemberError {
    /// Creates an error with a text of its own, for example that of a type which cannot be parsed from a string.
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self::value(why.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::shape(format!("expected {}, got {}", words(expected), kind(&unexpected)))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::value(format!("expected {}", words(expected)))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::shape(format!("expected {}", words(expected)))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::value(format!("expected one of: {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let detail = match present_name(field, expected) {
            Some(name) => format!("the member has been renamed to {name}"),
            None => format!("the member is unknown; known members: {}", expected.join(", ")),
        };
        Self::shape(detail).within(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::shape("the member is required").within(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::shape("the member is repeated").within(field)
    }
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for MemberError {}

/// A collection of invalid values, so that all of them are reported at once.
#[derive(Default)]
pub(crate) struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Records an error at a place unless `holds` is `true`.
    pub(crate) fn ensure(
        &mut self,
        holds: bool,
        pointer: impl Into<String>,
        detail: impl Into<Cow<'static, str>>,
    ) {
        if !holds {
            self.0.push(FieldError { pointer: pointer.into(), line: None, detail: detail.into() });
        }
    }

    /// Finishes the checks.
    ///
    /// # Errors
    /// 422 with all recorded errors.
    pub(crate) fn finish(self) -> Result<(), Denial> {
        if self.0.is_empty() { Ok(()) } else { Err(Denial::InvalidValues { wrong: self.0.into() }) }
    }
}
