//! Parsing of types, parameters and quoted strings.

use std::iter;

use super::InvalidMedia;

/// Optional whitespace (RFC 9110 section 5.6.3).
pub(super) const BLANKS: [char; 2] = [' ', '\t'];

/// A parameter of a configured type or range; equal to another if both mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// In lower case.
    pub(super) name: Box<str>,
    /// Without quotes and escapes; the value of a `charset` in lower case.
    value: Box<str>,
}

impl Parameter {
    pub(super) fn matches(&self, sent: RawParameter<'_>) -> bool {
        self.has_name_of(sent) && self.has_value_of(sent)
    }

    pub(super) fn has_name_of(&self, sent: RawParameter<'_>) -> bool {
        self.name.eq_ignore_ascii_case(sent.name)
    }

    pub(super) fn has_value_of(&self, sent: RawParameter<'_>) -> bool {
        self.value.chars().eq(sent.value())
    }
}

/// A well-formed parameter, borrowed from a header value.
#[derive(Clone, Copy)]
pub(super) struct RawParameter<'a> {
    pub(super) name: &'a str,
    /// A token, or the text between the quotes.
    pub(super) escaped: &'a str,
}

impl<'a> RawParameter<'a> {
    fn parse(text: &'a str) -> Result<Self, InvalidMedia> {
        let (name, value) = text.split_once('=').ok_or(InvalidMedia::Parameter)?;
        let escaped = if is_token(value) { Some(value) } else { inside_quotes(value) };
        match escaped {
            Some(escaped) if is_token(name) => Ok(Self { name, escaped }),
            _ => Err(InvalidMedia::Parameter),
        }
    }

    /// Returns the characters of the value in the form of [`Parameter::value`]. A token contains no backslash, so it
    /// can be read like a quoted string.
    fn value(self) -> impl Iterator<Item = char> {
        let any_case = self.name.eq_ignore_ascii_case("charset");
        let mut chars = self.escaped.chars();
        let unescaped =
            iter::from_fn(move || chars.next().and_then(|c| if c == '\\' { chars.next() } else { Some(c) }));
        unescaped.map(move |c| if any_case { c.to_ascii_lowercase() } else { c })
    }
}

/// Parses the parameters of a configured type or range, whose text will be sent in a header.
pub(super) fn parse_params(text: &str) -> Result<Box<[Parameter]>, InvalidMedia> {
    let mut all: Vec<Parameter> = Vec::new();
    for raw in parameters(text) {
        let raw = raw?;
        let name = raw.name.to_ascii_lowercase().into_boxed_str();
        if &*name == "q" {
            return Err(InvalidMedia::Weight);
        }
        if all.iter().any(|earlier| earlier.name == name) {
            return Err(InvalidMedia::Repeated);
        }
        if !raw.escaped.is_ascii() {
            return Err(InvalidMedia::Parameter);
        }
        all.push(Parameter { name, value: raw.value().collect::<String>().into() });
    }
    Ok(all.into())
}

pub(super) fn parameters(text: &str) -> impl Iterator<Item = Result<RawParameter<'_>, InvalidMedia>> {
    split_unquoted(text, b';')
        .map(|piece| piece.trim_matches(BLANKS))
        .filter(|piece| !piece.is_empty())
        .map(RawParameter::parse)
}

/// Splits a text at its first semicolon.
pub(super) fn split_params(text: &str) -> (&str, &str) {
    text.split_once(';').unwrap_or((text, ""))
}

/// Returns type and subtype of one media type.
pub(super) fn parse_essence(essence: &str) -> Result<(&str, &str), InvalidMedia> {
    let names = tokens(essence)?;
    // A token may contain a star, a registered name may not (RFC 6838 section 4.2).
    if essence.contains('*') { Err(InvalidMedia::Wildcard) } else { Ok(names) }
}

pub(super) fn tokens(essence: &str) -> Result<(&str, &str), InvalidMedia> {
    match essence.trim_end_matches(BLANKS).split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => Ok((kind, subtype)),
        _ => Err(InvalidMedia::Shape),
    }
}

/// Splits `text` at the separators outside of quoted strings.
pub(super) fn split_unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    iter::from_fn(move || {
        let text = rest?;
        let end = first_unquoted(separator, text).unwrap_or(text.len());
        rest = text.get(end + 1..);
        text.get(..end)
    })
}

pub(super) fn first_unquoted(separator: u8, text: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    text.bytes().position(|byte| {
        let literal = escaped;
        escaped = quoted && !literal && byte == b'\\';
        quoted ^= byte == b'"' && !literal;
        byte == separator && !quoted
    })
}

/// Returns `true` for a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Returns the content of a quoted string with its escapes, or `None` if `text` is not exactly one (RFC 9110 section
/// 5.6.4).
pub(super) fn inside_quotes(text: &str) -> Option<&str> {
    let content = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut escaped = false;
    let well_formed = content.chars().all(|c| {
        let allowed = if c == '"' { escaped } else { c == '\t' || !c.is_ascii_control() };
        escaped = !escaped && c == '\\';
        allowed
    });
    (well_formed && !escaped).then_some(content)
}
