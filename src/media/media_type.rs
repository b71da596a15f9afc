//! Media types, which name one format.

use std::{fmt, str::FromStr};

use super::{
    InvalidMedia,
    parse::{BLANKS, Parameter, parse_essence, parse_params, split_params},
};

/// A media type with its parameters, as a route offers it: `application/json;charset=utf-8`.
///
/// Keeps the text from which it was parsed. That text is ASCII without control characters other than tabs and can
/// therefore be sent as a `Content-Type`. Two media types are equal if they mean the same type: letter case of names
/// and of the `charset` value, quoting, whitespace and the order of parameters do not matter (RFC 9110 section
/// 8.3.1).
///
/// ```
/// use portcullis::media::MediaType;
///
/// let offer: MediaType = "application/json; charset=utf-8".parse()?;
/// assert_eq!(offer.as_str(), "application/json; charset=utf-8");
/// assert_eq!(offer, r#"Application/JSON;charset="UTF-8""#.parse()?);
/// # Ok::<(), portcullis::media::InvalidMedia>(())
/// ```
#[derive(Clone, Debug)]
pub struct MediaType {
    text: Box<str>,
    /// `type/subtype` in lower case.
    pub(super) essence: Box<str>,
    pub(super) parameters: Box<[Parameter]>,
}

impl MediaType {
    /// Returns the media type as it was written, without surrounding whitespace.
    ///
    /// ```
    /// use portcullis::media::MediaType;
    ///
    /// assert_eq!(" text/CSV ".parse::<MediaType>()?.as_str(), "text/CSV");
    /// # Ok::<(), portcullis::media::InvalidMedia>(())
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the precision with which `range` (`type/subtype` without parameters) covers this type, or `None` if it
    /// does not.
    pub(super) fn precision(&self, range: &str) -> Option<Precision> {
        if range == "*/*" || range == "*" {
            Some(Precision::Anything)
        } else if range.eq_ignore_ascii_case(&self.essence) {
            Some(Precision::Exact)
        } else {
            let range = range.strip_suffix("/*")?;
            let (kind, _) = self.essence.split_once('/')?;
            kind.eq_ignore_ascii_case(range).then_some(Precision::Kind)
        }
    }
}

impl FromStr for MediaType {
    type Err = InvalidMedia;

    /// Parses one media type; rejects wildcards, a `q` and a repeated parameter.
    ///
    /// # Errors
    /// The [`InvalidMedia`] that describes the fault of `text`.
    fn from_str(text: &str) -> Result<Self, InvalidMedia> {
        let text = text.trim_matches(BLANKS);
        let (essence, parameters) = split_params(text);
        let (kind, subtype) = parse_essence(essence)?;
        Ok(Self {
            text: text.into(),
            essence: format!("{kind}/{subtype}").to_ascii_lowercase().into(),
            parameters: parse_params(parameters)?,
        })
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for MediaType {
    fn eq(&self, other: &Self) -> bool {
        // No name repeats within one type, so equal counts and one-way containment mean equal sets.
        self.essence == other.essence
            && self.parameters.len() == other.parameters.len()
            && self.parameters.iter().all(|parameter| other.parameters.contains(parameter))
    }
}

impl Eq for MediaType {}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Precision {
    Anything,
    Kind,
    Exact,
}
