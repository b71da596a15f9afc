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

use std::error::Error;
use std::fmt;
use std::iter;
use std::str::FromStr;

/// Optional whitespace (RFC 9110 section 5.6.3).
const BLANKS: [char; 2] = [' ', '\t'];

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
    essence: Box<str>,
    parameters: Box<[Parameter]>,
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
    fn precision(&self, range: &str) -> Option<Precision> {
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
    kind: &'a str,
    subtype: &'a str,
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
    fn agrees_on(&self, wanted: &Parameter) -> bool {
        let mut same_name =
            parameters(self.parameters).flatten().filter(|sent| wanted.has_name_of(*sent)).peekable();
        same_name.peek().is_some() && same_name.all(|sent| wanted.has_value_of(sent))
    }
}

/// The weight of an offer for a client: 0 (not acceptable) to 1000 thousandths (RFC 9110 section 12.4.2).
///
/// ```
/// use portcullis::media::{MediaType, Weight, quality};
///
/// let offer: MediaType = "text/html".parse()?;
/// assert_eq!(quality("text/*;q=0.25", &offer).thousandths(), 250);
/// assert!(quality("text/html", &offer) > quality("text/html;q=0.999", &offer));
/// assert_eq!(quality("image/*", &offer), Weight::ZERO);
/// # Ok::<(), portcullis::media::InvalidMedia>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// Not acceptable, `q=0`.
    pub const ZERO: Self = Self(0);
    /// Most preferred, `q=1`, which is also the default.
    pub const ONE: Self = Self(1000);

    /// Returns the weight in thousandths, 0 to 1000.
    ///
    /// ```
    /// use portcullis::media::Weight;
    ///
    /// assert_eq!(Weight::ONE.thousandths(), 1000);
    /// ```
    #[must_use]
    pub const fn thousandths(self) -> u16 {
        self.0
    }

    /// Parses 0 to 1 with up to three decimals (the grammar), or the decimals alone (`.2`); otherwise returns `None`.
    fn parse(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = decimals.bytes().map(|byte| u16::from(byte - b'0'));
        let thousandths = digits.chain(iter::repeat(0)).take(3).fold(0, |sum, digit| sum * 10 + digit);
        match whole {
            "1" if thousandths == 0 => Some(Self::ONE),
            "0" => Some(Self(thousandths)),
            "" if !decimals.is_empty() => Some(Self(thousandths)),
            _ => None,
        }
    }
}

/// Returns the weight of `offer` for one `Accept` value (RFC 9110 section 12.5.1).
///
/// The most specific range that covers the offer decides: an exact type with more parameters before one with fewer,
/// then `type/*`, then `*/*`; the highest weight among equally specific ranges. The offer must have every parameter
/// of a range except `q`, before or after it. Returns [`Weight::ZERO`] if no range covers the offer.
///
/// An element is skipped if its range, a parameter or its weight (`q=1.5`, `q=0.1234`, `q=high`) is malformed, or if
/// it has two weights.
///
/// ```
/// use portcullis::media::{MediaType, Weight, quality};
///
/// let offer: MediaType = "text/html;level=3".parse()?;
/// assert_eq!(quality("text/*;q=0.3, text/html;q=0.7, text/html;level=1, */*", &offer).thousandths(), 700);
/// assert_eq!(quality("text/html;q=2, *; q=.2", &offer).thousandths(), 200);
/// assert_eq!(quality("", &offer), Weight::ZERO);
/// # Ok::<(), portcullis::media::InvalidMedia>(())
/// ```
#[must_use]
pub fn quality(accept: &str, offer: &MediaType) -> Weight {
    combined_quality(iter::once(accept), offer)
}

/// Returns the index of the best of `offers` for the `Accept` values of a request, one item for each header line.
///
/// The lines count as one list. Of equal weights, the earlier offer wins: the order of `offers` is the server's
/// preference. Without any line everything is acceptable, so the first offer is best. A list without elements, such
/// as an empty line, accepts nothing (RFC 9110 section 12.5.1). `None` means that no offer is acceptable: a 406.
/// Ranges and weights are read as in [`quality`].
///
/// ```
/// use portcullis::media::{MediaType, negotiate};
///
/// let offers: Vec<MediaType> = vec!["application/json".parse()?, "text/csv".parse()?];
/// assert_eq!(negotiate(["text/csv;q=0.9", "application/*;q=0.8"].into_iter(), &offers), Some(1));
/// assert_eq!(negotiate(["*/*"].into_iter(), &offers), Some(0));
/// assert_eq!(negotiate([].into_iter(), &offers), Some(0));
/// assert_eq!(negotiate([""].into_iter(), &offers), None);
/// # Ok::<(), portcullis::media::InvalidMedia>(())
/// ```
#[must_use]
pub fn negotiate<'v>(
    accept_values: impl Iterator<Item = &'v str> + Clone,
    offers: &[MediaType],
) -> Option<usize> {
    let mut lines = accept_values.clone();
    let Some(first) = lines.next() else { return (!offers.is_empty()).then_some(0) };
    if lines.next().is_none()
        && let Some(index) = exact_match(first, offers)
    {
        return Some(index);
    }
    let weights = offers.iter().map(move |offer| combined_quality(accept_values.clone(), offer));
    let mut best = (None, Weight::ZERO);
    for (index, weight) in weights.enumerate() {
        if weight > best.1 {
            best = (Some(index), weight);
        }
        if weight == Weight::ONE {
            break;
        }
    }
    best.0
}

/// Handles the values that most clients send: one type without parameters, or `*/*`.
fn exact_match(accept: &str, offers: &[MediaType]) -> Option<usize> {
    // A type with parameters has no shortcut: an earlier offer may have these parameters and more, and tie.
    offers.iter().position(|offer| accept == "*/*" || accept == &*offer.essence)
}

fn combined_quality<'v>(accept_values: impl Iterator<Item = &'v str>, offer: &MediaType) -> Weight {
    accept_values
        .flat_map(|value| split_unquoted(value, b','))
        .filter_map(|element| Match::for_offer(element, offer))
        .max()
        .map_or(Weight::ZERO, |best| best.weight)
}

/// The match of one element of an `Accept` with an offer. The greatest match decides; the order of the members
/// defines the comparison.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    precision: Precision,
    parameters: usize,
    weight: Weight,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    Anything,
    Kind,
    Exact,
}

impl Match {
    /// Returns `None` if `element` does not cover `offer` or is malformed.
    fn for_offer(element: &str, offer: &MediaType) -> Option<Self> {
        let (range, rest) = split_params(element);
        let precision = offer.precision(range.trim_matches(BLANKS))?;
        let mut weight = None;
        let mut found = 0;
        for parameter in parameters(rest) {
            let parameter = parameter.ok()?;
            if parameter.name.eq_ignore_ascii_case("q") {
                if weight.replace(Weight::parse(parameter.escaped)?).is_some() {
                    return None;
                }
            } else if offer.parameters.iter().any(|own| own.matches(parameter)) {
                found += 1;
            } else {
                return None;
            }
        }
        Some(Self { precision, parameters: found, weight: weight.unwrap_or(Weight::ONE) })
    }
}

/// A parameter of a configured type or range; equal to another if both mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameter {
    /// In lower case.
    name: Box<str>,
    /// Without quotes and escapes; the value of a `charset` in lower case.
    value: Box<str>,
}

impl Parameter {
    fn matches(&self, sent: RawParameter<'_>) -> bool {
        self.has_name_of(sent) && self.has_value_of(sent)
    }

    fn has_name_of(&self, sent: RawParameter<'_>) -> bool {
        self.name.eq_ignore_ascii_case(sent.name)
    }

    fn has_value_of(&self, sent: RawParameter<'_>) -> bool {
        self.value.chars().eq(sent.value())
    }
}

/// A well-formed parameter, borrowed from a header value.
#[derive(Clone, Copy)]
struct RawParameter<'a> {
    name: &'a str,
    /// A token, or the text between the quotes.
    escaped: &'a str,
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
fn parse_params(text: &str) -> Result<Box<[Parameter]>, InvalidMedia> {
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

fn parameters(text: &str) -> impl Iterator<Item = Result<RawParameter<'_>, InvalidMedia>> {
    split_unquoted(text, b';')
        .map(|piece| piece.trim_matches(BLANKS))
        .filter(|piece| !piece.is_empty())
        .map(RawParameter::parse)
}

/// Splits a text at its first semicolon.
fn split_params(text: &str) -> (&str, &str) {
    text.split_once(';').unwrap_or((text, ""))
}

/// Returns type and subtype of one media type.
fn parse_essence(essence: &str) -> Result<(&str, &str), InvalidMedia> {
    let names = tokens(essence)?;
    // A token may contain a star, a registered name may not (RFC 6838 section 4.2).
    if essence.contains('*') { Err(InvalidMedia::Wildcard) } else { Ok(names) }
}

fn tokens(essence: &str) -> Result<(&str, &str), InvalidMedia> {
    match essence.trim_end_matches(BLANKS).split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => Ok((kind, subtype)),
        _ => Err(InvalidMedia::Shape),
    }
}

/// Splits `text` at the separators outside of quoted strings.
fn split_unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    iter::from_fn(move || {
        let text = rest?;
        let end = first_unquoted(separator, text).unwrap_or(text.len());
        rest = text.get(end + 1..);
        text.get(..end)
    })
}

fn first_unquoted(separator: u8, text: &str) -> Option<usize> {
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
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Returns the content of a quoted string with its escapes, or `None` if `text` is not exactly one (RFC 9110 section
/// 5.6.4).
fn inside_quotes(text: &str) -> Option<&str> {
    let content = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut escaped = false;
    let well_formed = content.chars().all(|c| {
        let allowed = if c == '"' { escaped } else { c == '\t' || !c.is_ascii_control() };
        escaped = !escaped && c == '\\';
        allowed
    });
    (well_formed && !escaped).then_some(content)
}

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
