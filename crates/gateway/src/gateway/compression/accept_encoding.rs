//! Negotiation of the content coding by `Accept-Encoding` (RFC 9110, section 12.5.3).

use http::{HeaderMap, header};

use crate::config::Algorithm;

/// Returns the algorithm that the client prefers, and among equal ones the first of the list. `None` means no
/// compression, which a client without `Accept-Encoding` gets.
///
/// A client that rejects every coding, `identity` too, gets no compression either: a response that it may not be able to
/// read is better than 406 after the upstream has processed the request.
pub(super) fn negotiate(algorithms: &[Algorithm], headers: &HeaderMap) -> Option<Algorithm> {
    let weight = |coding: &str| weight(headers, coding);
    let any = || weight("*");
    let mut best = (None, weight("identity").unwrap_or_default());
    for algorithm in algorithms {
        let coding = algorithm.coding();
        let explicit = weight(coding).or_else(|| weight("x-gzip").filter(|_| *algorithm == Algorithm::Gzip));
        let found = explicit.or_else(any).unwrap_or_default();
        if found > best.1 || found > 0 && found == best.1 && best.0.is_none() {
            best = (Some(*algorithm), found);
        }
    }
    best.0
}

/// Returns the weight of a coding in thousandths, if it is listed.
fn weight(headers: &HeaderMap, coding: &str) -> Option<u16> {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|item| {
        let (name, parameters) = item.split_once(';').map_or((item, None), |(name, rest)| (name, Some(rest)));
        if !name.trim().eq_ignore_ascii_case(coding) {
            return None;
        }
        parameters.map_or(Some(1000), |parameters| parse_weight(parameters.trim()))
    })
}

/// Parses a weight such as `q=0.5` (RFC 9110, section 12.4.2).
fn parse_weight(text: &str) -> Option<u16> {
    let value = text.strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('=')?.trim_start();
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let is_valid = fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok().filter(|_| is_valid)?;
    match (whole, thousandths) {
        ("0", _) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferred_algorithm_is_chosen() {
        use Algorithm::{Br, Gzip, Zstd};

        for (accept, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["gzip"], Some(Gzip)),
            (&["GZIP"], Some(Gzip)),
            (&["x-gzip"], Some(Gzip)),
            (&["deflate"], None),
            (&["gzip, deflate, br, zstd"], Some(Zstd)),
            (&["gzip, br"], Some(Br)),
            (&["gzip", "br"], Some(Br)),
            (&["gzip;q=1.0, br;q=0.9, zstd;q=0.8"], Some(Gzip)),
            (&["gzip; q=0.5, *;q=0.1"], Some(Gzip)),
            (&["*"], Some(Zstd)),
            (&["zstd;q=0, *"], Some(Br)),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000"], None),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
            (&["identity;q=0, gzip;q=0.001"], Some(Gzip)),
            (&["identity;q=0, *;q=0"], None),
            (&["gzip;q=2"], None),
            (&["gzip;q=1.001"], None),
            (&["gzip;q=0.5555"], None),
            (&["gzip;q=-1"], None),
            (&["gzip;v=1"], None),
            (&["gzip;q=+.5"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(negotiate(&[Zstd, Br, Gzip], &headers), expected, "{accept:?}");
        }
    }
}
