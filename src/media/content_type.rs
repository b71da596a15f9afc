//! The header `Content-Type` of a request.

use super::{
    InvalidMedia,
    parse::{BLANKS, Parameter, parameters, parse_essence, split_params},
};

/// The media type of a body according to the client: a borrowed `Content-Type` value.
///
/// ```
/// use portcullis::media::{ContentTypeHeader, MediaRange};
///
/// let sent = ContentTypeHeader::parse("application/json;;\t; charset=utf-8;")?;
/// assert!("application/*".parse::<MediaRange>()?.matches(&sent));
/// # Ok::<(), portcullis::media::InvalidMedia>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ContentTypeHeader<'a> {
    pub(super) kind: &'a str,
    pub(super) subtype: &'a str,
    /// The text after the first semicolon; all of its parameters are well-formed.
    parameters: &'a str,
}

impl<'a> ContentTypeHeader<'a> {
    /// Parses a `Content-Type` value (RFC 9110 section 8.3) without allocating.
    ///
    /// Whitespace around it and around `;` is allowed, and so are empty and repeated parameters.
    ///
    /// ```
    /// use portcullis::media::{ContentTypeHeader, InvalidMedia};
    ///
    /// assert!(ContentTypeHeader::parse(" text/html ; level=1").is_ok());
    /// assert_eq!(ContentTypeHeader::parse("json").unwrap_err(), InvalidMedia::Shape);
    /// ```
    ///
    /// # Errors
    /// The [`InvalidMedia`] that describes the fault: `value` is empty, is a list, has a `*` in its type, or has a
    /// parameter that is not `name=value`.
    pub fn parse(value: &'a str) -> Result<Self, InvalidMedia> {
        let (essence, rest) = split_params(value.trim_matches(BLANKS));
        let (kind, subtype) = parse_essence(essence)?;
        parameters(rest).try_for_each(|parameter| parameter.map(drop))?;
        Ok(Self { kind, subtype, parameters: rest })
    }

    /// Returns `true` if the parameter `wanted` is present, and never with another value.
    pub(super) fn agrees_on(&self, wanted: &Parameter) -> bool {
        let mut same_name =
            parameters(self.parameters).flatten().filter(|sent| wanted.has_name_of(*sent)).peekable();
        same_name.peek().is_some() && same_name.all(|sent| wanted.has_value_of(sent))
    }
}
