//! Media types, media ranges and weights (RFC 9110 sections 8.3.1, 12.4.2 and 12.5.1), independent of HTTP.
//!
//! A route offers [`MediaType`]s and accepts [`MediaRange`]s; both are parsed once. The header values of a request
//! stay borrowed: [`negotiate`] selects an offer for its `Accept`, [`ContentTypeHeader`] parses its `Content-Type`. Neither
//! allocates, and their run time is at most proportional to the length of the header times the number of offers, for
//! any input.
//!
//! ```
//! use portcullis::media::{ContentTypeHeader, MediaRange, MediaType, negotiate};
//!
//! let offers: Vec<MediaType> = vec!["application/json".parse()?, "text/csv".parse()?];
//! assert_eq!(negotiate(["text/*, application/json;q=0.5"].into_iter(), &offers), Some(1));
//! assert_eq!(negotiate(["image/png"].into_iter(), &offers), None);
//!
//! let takes: MediaRange = "application/*+json".parse()?;
//! assert!(takes.matches(&ContentTypeHeader::parse("application/problem+json; charset=utf-8")?));
//! # Ok::<(), portcullis::media::InvalidMedia>(())
//! ```
//!
//! # Leniency
//!
//! `Accept` may contain a weight without its leading zero (`q=.2`) and a bare `*` for `*/*`: old Java clients send
//! both. Every header may contain the empty elements that lists and parameters allow (`,,` and `;;`), spaces and
//! tabs. Any other malformed element of an `Accept` is skipped, and the rest of the list counts.

mod accept;
mod content_type;
mod media_range;
mod media_type;
mod parse;

pub use accept::{Weight, negotiate, quality};
pub use content_type::ContentTypeHeader;
pub use media_range::MediaRange;
pub use media_type::MediaType;

use std::{error::Error, fmt};

/// A reason why a text is not a media type, or not a media range.
///
/// ```
/// use portcullis::media::{InvalidMedia, MediaType};
///
/// assert_eq!("text/*".parse::<MediaType>(), Err(InvalidMedia::Wildcard));
/// assert_eq!(InvalidMedia::Shape.to_string(), "not of the form type/subtype");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidMedia {
    /// The text is not two tokens with a slash between them.
    Shape,
    /// A `*` replaces a name, or has no meaning at its place.
    Wildcard,
    /// A parameter is not `name=value` with a token or a quoted string as value.
    Parameter,
    /// A parameter is repeated.
    Repeated,
    /// A parameter is named `q`, which `Accept` reserves for weights.
    Weight,
}

impl fmt::Display for InvalidMedia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shape => "not of the form type/subtype",
            Self::Wildcard => "a `*` is not allowed at this place",
            Self::Parameter => "a parameter is not of the form name=value",
            Self::Repeated => "a parameter is repeated",
            Self::Weight => "`q` is reserved for weights and cannot be a parameter of a media type",
        })
    }
}

impl Error for InvalidMedia {}

#[cfg(test)]
mod tests;
