//! `Max-Forwards` of OPTIONS requests (RFC 9110, section 7.6.2). The gateway denies TRACE, the other method that uses
//! it.

use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http::{HeaderValue, Method};

use super::{response_body::GatewayBody, upstream::plain_number};
use portcullis::{Denial, header_value};

/// The methods of a resource that allows all of them: the methods that HTTP defines and the gateway forwards.
const ALL_METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

/// The next step for a request, by its `Max-Forwards`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Forward,
    /// The gateway is the final recipient, and sends the response.
    Answer,
}

/// Decrements `Max-Forwards`.
///
/// # Errors
/// Returns 400 if the header is repeated or not a decimal number.
pub(super) fn count_down(headers: &mut HeaderMap) -> Result<Next, Denial> {
    const NAME: HeaderName = header::MAX_FORWARDS;
    let mut values = headers.get_all(NAME).iter();
    let left = match (values.next(), values.next()) {
        (None, _) => return Ok(Next::Forward),
        (Some(value), None) => plain_number(value),
        _ => None,
    };
    match left {
        None => Err(Denial::bad_request("Header Max-Forwards must be a single decimal number.")),
        Some(0) => Ok(Next::Answer),
        Some(left) => {
            headers.insert(NAME, header_value::from_u64(left - 1));
            Ok(Next::Forward)
        }
    }
}

/// Returns the value of `Allow` for the methods of a resource. An empty list means all methods.
pub(super) fn allow(methods: &[Method]) -> HeaderValue {
    let mut names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let listed = HeaderValue::try_from(names.join(", ")).ok().filter(|_| !methods.is_empty());
    listed.unwrap_or(HeaderValue::from_static(ALL_METHODS))
}

/// Returns the response to an OPTIONS request of which the gateway is the final recipient.
pub(super) fn options(methods: &[Method]) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, allow(methods));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_forwards_is_decremented_to_zero() {
        for (value, expected, left) in [
            ("10", Ok(Next::Forward), "9"),
            ("1", Ok(Next::Forward), "0"),
            ("0", Ok(Next::Answer), "0"),
            ("18446744073709551615", Ok(Next::Forward), "18446744073709551614"),
            ("010", Err(400), "010"),
            ("-1", Err(400), "-1"),
            ("1, 1", Err(400), "1, 1"),
            ("", Err(400), ""),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::MAX_FORWARDS, value.parse().unwrap());
            let outcome = count_down(&mut headers).map_err(|denial| denial.status().as_u16());
            assert_eq!((outcome, &headers["max-forwards"]), (expected, &left.parse().unwrap()), "{value}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(count_down(&mut headers), Ok(Next::Forward));
        headers.append(header::MAX_FORWARDS, HeaderValue::from_static("1"));
        headers.append(header::MAX_FORWARDS, HeaderValue::from_static("1"));
        assert!(count_down(&mut headers).is_err());
    }

    #[test]
    fn allow_lists_each_method_once() {
        assert_eq!(allow(&[Method::PUT, Method::GET, Method::GET]), "GET, PUT");
        assert_eq!(allow(&[]), ALL_METHODS);
    }
}
