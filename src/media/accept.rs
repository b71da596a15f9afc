//! The header `Accept` of a request: weights, and the selection of an offer.

use std::iter;

use super::{
    media_type::{MediaType, Precision},
    parse::{BLANKS, parameters, split_params, split_unquoted},
};

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
