//! Media ranges, which name one format or several.

use std::{fmt, str::FromStr};

use super::{
    InvalidMedia,
    content_type::ContentTypeHeader,
    parse::{BLANKS, Parameter, parse_params, split_params, tokens},
};

/// A set of media types that a route accepts as `Content-Type`.
///
/// The forms are `application/json`, `application/*`, `*/*`, `application/*+json` and `*/*+json`, the last two for
/// every type with that structured syntax suffix (RFC 6838 section 4.2.8). Parameters narrow the range: the content
/// type must have each of them, with the same value.
///
/// ```
/// use portcullis::media::{ContentTypeHeader, MediaRange};
///
/// let takes: MediaRange = "application/json;charset=utf-8".parse()?;
/// assert!(takes.matches(&ContentTypeHeader::parse(r#"Application/JSON; charset="UTF-8"; v=1"#)?));
/// assert!(!takes.matches(&ContentTypeHeader::parse("application/json")?));
/// # Ok::<(), portcullis::media::InvalidMedia>(())
/// ```
#[derive(Clone, Debug)]
pub struct MediaRange {
    text: Box<str>,
    /// `None` means every type.
    kind: Option<Box<str>>,
    subtype: Subtypes,
    parameters: Box<[Parameter]>,
}

#[derive(Clone, Debug)]
enum Subtypes {
    Any,
    Suffixed(Box<str>),
    One(Box<str>),
}

impl MediaRange {
    /// Returns the range as it was written, without surrounding whitespace; suitable for the `Accept` header of a
    /// 415.
    ///
    /// ```
    /// use portcullis::media::MediaRange;
    ///
    /// assert_eq!("text/*".parse::<MediaRange>()?.as_str(), "text/*");
    /// # Ok::<(), portcullis::media::InvalidMedia>(())
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns `true` if the range is a single type without parameters, so that its text is a member of it.
    pub(crate) fn is_plain(&self) -> bool {
        self.kind.is_some() && matches!(self.subtype, Subtypes::One(_)) && !self.text.contains(';')
    }

    /// Returns `true` if `content_type` is in this range (RFC 9110 section 8.3.1).
    ///
    /// A content type that repeats a parameter of this range must give it the same value every time, because parsers
    /// differ in which value they use.
    ///
    /// ```
    /// use portcullis::media::{ContentTypeHeader, MediaRange};
    ///
    /// let takes: MediaRange = "*/*+json".parse()?;
    /// assert!(takes.matches(&ContentTypeHeader::parse("image/svg+json")?));
    /// assert!(!takes.matches(&ContentTypeHeader::parse("application/json")?));
    /// # Ok::<(), portcullis::media::InvalidMedia>(())
    /// ```
    #[must_use]
    pub fn matches(&self, content_type: &ContentTypeHeader<'_>) -> bool {
        self.kind.as_ref().is_none_or(|kind| kind.eq_ignore_ascii_case(content_type.kind))
            && self.subtype.contains(content_type.subtype)
            && self.parameters.iter().all(|wanted| content_type.agrees_on(wanted))
    }
}

impl FromStr for MediaRange {
    type Err = InvalidMedia;

    /// Parses a configured range; rejects a `q`, a repeated parameter and a bare `*`.
    ///
    /// # Errors
    /// The [`InvalidMedia`] that describes the fault of `text`.
    fn from_str(text: &str) -> Result<Self, InvalidMedia> {
        let text = text.trim_matches(BLANKS);
        let (essence, parameters) = split_params(text);
        let (kind, subtype) = tokens(essence)?;
        let subtype = Subtypes::parse(subtype)?;
        let kind = match (kind, &subtype) {
            ("*", Subtypes::Any | Subtypes::Suffixed(_)) => None,
            (kind, _) if kind.contains('*') => return Err(InvalidMedia::Wildcard),
            (kind, _) => Some(kind.into()),
        };
        Ok(Self { text: text.into(), kind, subtype, parameters: parse_params(parameters)? })
    }
}

impl fmt::Display for MediaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Subtypes {
    fn parse(text: &str) -> Result<Self, InvalidMedia> {
        // The suffix of a type follows its last plus, so a suffix with a plus would never match.
        let suffix = text.strip_prefix("*+").filter(|name| !name.is_empty() && !name.contains(['*', '+']));
        match suffix {
            Some(suffix) => Ok(Self::Suffixed(suffix.into())),
            None if text == "*" => Ok(Self::Any),
            None if text.contains('*') => Err(InvalidMedia::Wildcard),
            None => Ok(Self::One(text.into())),
        }
    }

    fn contains(&self, subtype: &str) -> bool {
        match self {
            Self::Any => true,
            Self::One(name) => name.eq_ignore_ascii_case(subtype),
            Self::Suffixed(suffix) => subtype
                .rsplit_once('+')
                .is_some_and(|(base, last)| !base.is_empty() && last.eq_ignore_ascii_case(suffix)),
        }
    }
}
