//! What does not fit, and where.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use serde::de::{Error, Expected, Unexpected};

use crate::{Denial, denial::FieldError};

/// The most characters of a name that are repeated.
const REPEATED: usize = 64;

/// What does not fit, and where.
#[derive(Debug)]
pub(in super::super) struct MemberError {
    /// The way to it, from the innermost name on, each as it stands in a pointer.
    way: Vec<String>,
    detail: String,
    /// Whether it is of the right shape, and its value out of place.
    value: bool,
}

impl MemberError {
    fn shape(detail: impl Into<String>) -> Self {
        Self { way: Vec::new(), detail: detail.into(), value: false }
    }

    fn value(detail: impl Into<String>) -> Self {
        Self { value: true, ..Self::shape(detail) }
    }

    /// The same, within a member or an element.
    pub(super) fn within(mut self, name: &str) -> Self {
        self.way.push(escaped(name));
        self
    }

    /// The place and what is wrong there, on one line: `targets/0: a string is expected, not null`.
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

/// A name within a pointer (RFC 6901, sections 3 and 6), cut short.
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

/// What stood there, without what stood there.
fn kind(unexpected: &Unexpected<'_>) -> &'static str {
    match unexpected {
        Unexpected::Bool(_) => "a boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Other(_) => "a number",
        Unexpected::Float(_) => "a number with a fraction",
        Unexpected::Char(_) | Unexpected::Str(_) => "a string",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "a list",
        Unexpected::Map => "an object",
        _ => "something else",
    }
}

/// What is expected, in words.
fn words(expected: &dyn Expected) -> Cow<'static, str> {
    match &*expected.to_string() {
        "u32" => "a whole number from 0 to 4294967295".into(),
        "u64" => "a whole number, 0 or more".into(),
        "i64" => "a whole number".into(),
        "a sequence" => "a list".into(),
        other => other.to_owned().into(),
    }
}

impl Error for MemberError {
    /// A text that its type did not take, for example.
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self::value(why.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::shape(format!("{} is expected, not {}", words(expected), kind(&unexpected)))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::value(format!("{} is expected", words(expected)))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::shape(format!("{} is expected", words(expected)))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::value(format!("one of these is expected: {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::shape(format!("there is no such member here; there are: {}", expected.join(", "))).within(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::shape("this member is required, and missing").within(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::shape("it stands more than once").within(field)
    }
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for MemberError {}

/// Values that are out of place, gathered, so that all of them can be told at once.
#[derive(Default)]
pub(in super::super) struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Notes what is wrong at a place, unless something holds.
    pub(in super::super) fn ensure(
        &mut self,
        holds: bool,
        pointer: impl Into<String>,
        detail: impl Into<Cow<'static, str>>,
    ) {
        if !holds {
            self.0.push(FieldError { pointer: pointer.into(), line: None, detail: detail.into() });
        }
    }

    /// # Errors
    /// 422 with all that was noted.
    pub(in super::super) fn finish(self) -> Result<(), Denial> {
        if self.0.is_empty() { Ok(()) } else { Err(Denial::InvalidValues { wrong: self.0.into() }) }
    }
}
