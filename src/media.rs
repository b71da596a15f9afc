//! Media types, media ranges and weights (RFC 9110 sections 8.3.1, 12.4.2 and 12.5.1); no HTTP around them.
//!
//! A route says what it offers as [`MediaType`]s and what it takes as [`MediaRange`]s, both parsed
//! once. A request's field values stay borrowed: [`negotiate`] picks an offer for its `Accept`,
//! [`ContentType`] reads its `Content-Type`. Neither allocates, and the time they take grows with
//! the length of the field times the number of offers, whatever the client sends.
//!
//! ```
//! use portcullis::media::{ContentType, MediaRange, MediaType, negotiate};
//!
//! let offers: Vec<MediaType> = vec!["application/json".parse()?, "text/csv".parse()?];
//! assert_eq!(negotiate(["text/*, application/json;q=0.5"].into_iter(), &offers), Some(1));
//! assert_eq!(negotiate(["image/png"].into_iter(), &offers), None);
//!
//! let takes: MediaRange = "application/*+json".parse()?;
//! assert!(takes.matches(&ContentType::parse("application/problem+json; charset=utf-8")?));
//! # Ok::<(), portcullis::media::InvalidMedia>(())
//! ```
//!
//! # What is read although it is malformed
//!
//! In `Accept`, a weight without its leading zero (`q=.2`) and a bare `*` for `*/*`: old Java
//! clients send both. In every field, what lists and parameters allow between their separators:
//! nothing at all (`,,` and `;;`), spaces and tabs. Any other malformed element of an `Accept` is
//! skipped and the rest of the list counts.

use std::error::Error;
use std::fmt;
use std::iter;
use std::str::FromStr;

/// RFC 9110 section 5.6.3: optional whitespace.
const BLANKS: [char; 2] = [' ', '\t'];

/// One media type, with its parameters, as a route offers it: `application/json;charset=utf-8`.
///
/// It keeps the text it was parsed from, which is ASCII without control characters other than a tab
/// and so can be sent as a `Content-Type`. Two are equal when they mean the same type: letter case
/// of names and of the `charset` value, quoting, blanks and the order of parameters do not matter
/// (RFC 9110 section 8.3.1).
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
    /// The media type as it was written, without outer blanks.
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

    /// How closely `range` (`type/subtype` without parameters) names this type, if it covers it.
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

    /// Reads one media type; wildcards, a `q` and a repeated parameter are refused.
    ///
    /// # Errors
    /// The [`InvalidMedia`] that says what is wrong with `text`.
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
        // No name repeats within one type, so equal counts and one-way containment are equal sets.
        self.essence == other.essence
            && self.parameters.len() == other.parameters.len()
            && self.parameters.iter().all(|parameter| other.parameters.contains(parameter))
    }
}

impl Eq for MediaType {}

/// A set of media types a route takes as `Content-Type`.
///
/// One of `application/json`, `application/*`, `*/*`, `application/*+json` and `*/*+json`, the last
/// two for every type with that structured syntax suffix (RFC 6838 section 4.2.8). Parameters narrow
/// it: each must be in the content type, with this value.
///
/// ```
/// use portcullis::media::{ContentType, MediaRange};
///
/// let takes: MediaRange = "application/json;charset=utf-8".parse()?;
/// assert!(takes.matches(&ContentType::parse(r#"Application/JSON; charset="UTF-8"; v=1"#)?));
/// assert!(!takes.matches(&ContentType::parse("application/json")?));
/// # Ok::<(), portcullis::media::InvalidMedia>(())
/// ```
#[derive(Clone, Debug)]
pub struct MediaRange {
    text: Box<str>,
    /// `None` is every type.
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
    /// The range as it was written, without outer blanks; fit for an `Accept` field on a 415.
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

    /// Whether it is one type without parameters, so that its own text is in it.
    pub(crate) fn is_plain(&self) -> bool {
        self.kind.is_some() && matches!(self.subtype, Subtypes::One(_)) && !self.text.contains(';')
    }

    /// Whether `content_type` is in this range (RFC 9110 section 8.3.1).
    ///
    /// A content type that repeats a parameter this range asks for must give it the same value every
    /// time: which one its reader will go by is unknown.
    ///
    /// ```
    /// use portcullis::media::{ContentType, MediaRange};
    ///
    /// let takes: MediaRange = "*/*+json".parse()?;
    /// assert!(takes.matches(&ContentType::parse("image/svg+json")?));
    /// assert!(!takes.matches(&ContentType::parse("application/json")?));
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

    /// Reads a configured range; a `q`, a repeated parameter and a bare `*` are refused.
    ///
    /// # Errors
    /// The [`InvalidMedia`] that says what is wrong with `text`.
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
        // The suffix of a type follows its last plus, so one with a plus in it would never be found.
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

/// The media type of a body as a client states it: a `Content-Type` field value, borrowed.
///
/// ```
/// use portcullis::media::{ContentType, MediaRange};
///
/// let sent = ContentType::parse("application/json;;\t; charset=utf-8;")?;
/// assert!("application/*".parse::<MediaRange>()?.matches(&sent));
/// # Ok::<(), portcullis::media::InvalidMedia>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ContentTypeHeader<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// What follows the first semicolon; every parameter in it is well formed.
    parameters: &'a str,
}

impl<'a> ContentTypeHeader<'a> {
    /// Reads a `Content-Type` field value (RFC 9110 section 8.3) without allocating.
    ///
    /// Blanks around it and around `;` are allowed, so are empty and repeated parameters.
    ///
    /// ```
    /// use portcullis::media::{ContentType, InvalidMedia};
    ///
    /// assert!(ContentType::parse(" text/html ; level=1").is_ok());
    /// assert_eq!(ContentType::parse("json").unwrap_err(), InvalidMedia::Shape);
    /// ```
    ///
    /// # Errors
    /// The [`InvalidMedia`] that says what is wrong: `value` is empty, a list, has a `*` in its type,
    /// or a parameter that is not `name=value`.
    pub fn parse(value: &'a str) -> Result<Self, InvalidMedia> {
        let (essence, rest) = split_params(value.trim_matches(BLANKS));
        let (kind, subtype) = parse_essence(essence)?;
        parameters(rest).try_for_each(|parameter| parameter.map(drop))?;
        Ok(Self { kind, subtype, parameters: rest })
    }

    /// Whether `wanted` is here, and never with another value.
    fn agrees_on(&self, wanted: &Parameter) -> bool {
        let mut same_name =
            parameters(self.parameters).flatten().filter(|sent| wanted.has_name_of(*sent)).peekable();
        same_name.peek().is_some() && same_name.all(|sent| wanted.has_value_of(sent))
    }
}

/// How much a client wants an offer: 0 (not at all) to 1000 thousandths (RFC 9110 section 12.4.2).
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
    /// Wanted most, `q=1`, and what no `q` at all means.
    pub const ONE: Self = Self(1000);

    /// The weight in thousandths, 0 to 1000.
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

    /// `None` for anything but the grammar's 0 to 1 with up to three decimals, or those alone (`.2`).
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

/// The weight of `offer` under one `Accept` field value (RFC 9110 section 12.5.1).
///
/// The most specific range that covers the offer decides: an exact type with more parameters before
/// one with fewer, then `type/*`, then `*/*`; the highest weight among equally specific ones. Every
/// parameter of a range except `q`, before it or after it, must be in the offer. [`Weight::ZERO`] when
/// no range covers the offer.
///
/// An element is skipped as if it were not there when its range or a parameter is malformed, when its
/// weight is (`q=1.5`, `q=0.1234`, `q=high`), or when it has two.
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

/// The index of the best of `offers` for a request's `Accept` field values, one item a field line.
///
/// The lines count as one list. Equal weights go to the earlier offer: the order of `offers` is the
/// server's preference. Without any line everything is acceptable, so the first offer is best. A list
/// that names nothing, an empty line included, accepts nothing (RFC 9110 section 12.5.1). `None` means
/// that no offer is acceptable: a 406. Ranges and weights are read as [`quality`] reads them.
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

/// The answer for what most clients send: one type, without parameters, or anything at all.
fn exact_match(accept: &str, offers: &[MediaType]) -> Option<usize> {
    // A type with parameters has no short cut: an earlier offer may have those and more, and tie.
    offers.iter().position(|offer| accept == "*/*" || accept == &*offer.essence)
}

fn combined_quality<'v>(accept_values: impl Iterator<Item = &'v str>, offer: &MediaType) -> Weight {
    accept_values
        .flat_map(|value| split_unquoted(value, b','))
        .filter_map(|element| Match::of(element, offer))
        .max()
        .map_or(Weight::ZERO, |best| best.weight)
}

/// What one element of an `Accept` says about an offer. The greatest decides: the order of the fields
/// is the rule.
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
    /// `None` when `element` does not cover `offer` or is malformed.
    fn of(element: &str, offer: &MediaType) -> Option<Self> {
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

/// A parameter of a configured type or range; equal to another when it means the same.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parameter {
    /// In lower case.
    name: Box<str>,
    /// Without quotes and escapes; of a `charset` in lower case.
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

/// A well-formed parameter where it stands in a field value.
#[derive(Clone, Copy)]
struct RawParameter<'a> {
    name: &'a str,
    /// A token, or what stands between the quotes.
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

    /// The characters of the value in the form [`Parameter::value`] has. A token has no backslash, so
    /// nothing is lost by reading it as if it had been quoted.
    fn value(self) -> impl Iterator<Item = char> {
        let any_case = self.name.eq_ignore_ascii_case("charset");
        let mut chars = self.escaped.chars();
        let unescaped =
            iter::from_fn(move || chars.next().and_then(|c| if c == '\\' { chars.next() } else { Some(c) }));
        unescaped.map(move |c| if any_case { c.to_ascii_lowercase() } else { c })
    }
}

/// The parameters of a configured type or range, whose text will be sent in a field.
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

/// What stands before the first semicolon and what behind it.
fn split_params(text: &str) -> (&str, &str) {
    text.split_once(';').unwrap_or((text, ""))
}

/// Type and subtype of one media type.
fn parse_essence(essence: &str) -> Result<(&str, &str), InvalidMedia> {
    let names = tokens(essence)?;
    // A token may hold a star, a registered name may not (RFC 6838 section 4.2).
    if essence.contains('*') { Err(InvalidMedia::Wildcard) } else { Ok(names) }
}

fn tokens(essence: &str) -> Result<(&str, &str), InvalidMedia> {
    match essence.trim_end_matches(BLANKS).split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => Ok((kind, subtype)),
        _ => Err(InvalidMedia::Shape),
    }
}

/// The parts of `text` between the separators that stand outside quoted-strings.
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

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// The content of a quoted-string with its escapes, or `None` if `text` is not exactly one
/// (RFC 9110 section 5.6.4).
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

/// Why a text is not a media type, or not a media range.
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
    /// Not two tokens with a slash between them.
    Shape,
    /// A `*` where a name must stand, or where no wildcard has a meaning.
    Wildcard,
    /// A parameter that is not `name=value` with a token or a quoted-string as value.
    Parameter,
    /// The same parameter twice.
    Repeated,
    /// A `q`, which `Accept` reserves for weights.
    Weight,
}

impl fmt::Display for InvalidMedia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shape => "not of the form type/subtype",
            Self::Wildcard => "a `*` where it has no meaning",
            Self::Parameter => "a parameter is not of the form name=value",
            Self::Repeated => "a parameter is given twice",
            Self::Weight => "`q` is a weight and cannot be a parameter of a media type",
        })
    }
}

impl Error for InvalidMedia {}

#[cfg(test)]
mod tests;
