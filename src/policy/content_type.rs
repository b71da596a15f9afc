//! The check of a request's `Content-Type` and `Content-Encoding` (415).

use http::{HeaderValue, header};

use super::{Policy, Stop};
use crate::{
    Admission, Denial, Head,
    media::{self, InvalidMedia, MediaRange},
};

/// Admits request bodies only in the media types and content codings that the route accepts.
///
/// A request without a body is admitted, whatever its `Content-Type`. A body without a `Content-Type` is denied:
/// two servers may guess different types. The response names the accepted types in `Accept`, and in `Accept-Post`
/// or `Accept-Patch` for these methods; or the accepted codings in `Accept-Encoding`, if the coding was the reason.
///
/// ```
/// use portcullis::policy::ContentType;
///
/// let policy = ContentType::new(["application/json", "application/*+json"]).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ContentType {
    ranges: Vec<MediaRange>,
    /// The ranges that are single types without parameters, which most clients send literally.
    plain: Vec<Box<str>>,
    taken: HeaderValue,
    codings: Option<(Vec<Box<str>>, HeaderValue)>,
}

impl ContentType {
    /// Creates a policy that accepts these media ranges, in any content coding.
    ///
    /// # Errors
    /// [`InvalidMedia`] for the first text that is no media range.
    pub fn new<'a>(ranges: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidMedia> {
        let ranges = ranges.into_iter().map(str::parse).collect::<Result<Vec<MediaRange>, _>>()?;
        let taken = ranges.iter().map(MediaRange::as_str).collect::<Vec<_>>().join(", ");
        let taken = HeaderValue::try_from(taken).unwrap_or(HeaderValue::from_static("*/*"));
        let plain =
            ranges.iter().filter(|range| range.is_plain()).map(|range| range.as_str().into()).collect();
        Ok(Self { ranges, plain, taken, codings: None })
    }

    /// Accepts only these content codings besides `identity`, such as `gzip`. An empty list accepts only uncoded
    /// bodies. Names that a header cannot contain are ignored.
    #[must_use]
    pub fn codings<'a>(mut self, codings: impl IntoIterator<Item = &'a str>) -> Self {
        let token =
            |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let codings: Vec<Box<str>> = codings.into_iter().filter(token).map(Box::from).collect();
        let taken = if codings.is_empty() { "identity".to_owned() } else { codings.join(", ") };
        let taken = HeaderValue::try_from(taken).unwrap_or(HeaderValue::from_static("identity"));
        self.codings = Some((codings, taken));
        self
    }

    fn deny(&self, head: &Head<'_>) -> Stop {
        Denial::UnsupportedMediaType { taken: self.taken.clone(), method: head.method.clone() }.into()
    }

    fn check_codings(&self, head: &Head<'_>) -> Result<(), Stop> {
        let Some((codings, taken)) = &self.codings else { return Ok(()) };
        let known = |name: &str| {
            name.is_empty()
                || name.eq_ignore_ascii_case("identity")
                || codings.iter().any(|coding| coding.eq_ignore_ascii_case(name))
        };
        if head.single(&header::CONTENT_ENCODING) == Ok(None) {
            return Ok(());
        }
        for value in head.headers.get_all(header::CONTENT_ENCODING) {
            if !value.to_str().is_ok_and(|list| list.split(',').all(|name| known(name.trim()))) {
                return Err(Denial::UnsupportedCoding { taken: taken.clone() }.into());
            }
        }
        Ok(())
    }
}

impl Policy for ContentType {
    fn admit(&self, head: &Head<'_>, _: &mut Admission) -> Result<(), Stop> {
        let value = head
            .single(&header::CONTENT_TYPE)
            .map_err(|_| Denial::bad_request("Header content-type is repeated. Send it once."))?;
        if !head.content {
            return Ok(());
        }
        self.check_codings(head)?;
        if value.is_some_and(|value| self.plain.iter().any(|plain| value.as_bytes() == plain.as_bytes())) {
            return Ok(());
        }
        let value = value.and_then(|value| value.to_str().ok()).ok_or_else(|| self.deny(head))?;
        let content_type = media::ContentTypeHeader::parse(value).map_err(|_| self.deny(head))?;
        let taken = self.ranges.iter().any(|range| range.matches(&content_type));
        if taken { Ok(()) } else { Err(self.deny(head)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Fixture, code, request, with_content};

    #[test]
    fn content_type_truth_table() {
        let world = Fixture::new();
        let policy = ContentType::new(["application/json", "application/*+json"]).unwrap().codings(["gzip"]);
        let rows: [(&[(&str, &str)], &str); 12] = [
            (&[("content-type", "application/json")], "admitted"),
            (&[("content-type", "Application/JSON; charset=utf-8")], "admitted"),
            (&[("content-type", "application/merge-patch+json")], "admitted"),
            (&[("content-type", "text/plain")], "unsupported-media-type"),
            (&[("content-type", "application/jsonx")], "unsupported-media-type"),
            (&[("content-type", "application/*")], "unsupported-media-type"),
            (&[("content-type", "")], "unsupported-media-type"),
            (&[], "unsupported-media-type"),
            (&[("content-type", "application/json"), ("content-type", "text/plain")], "bad-request"),
            (&[("content-type", "application/json"), ("content-encoding", "GZIP, identity")], "admitted"),
            (&[("content-type", "application/json"), ("content-encoding", "br")], "unsupported-coding"),
            (&[("content-type", "text/plain"), ("content-encoding", "br")], "unsupported-coding"),
        ];
        for (fields, expected) in rows {
            assert_eq!(
                code(world.ask(&policy, &with_content(request("PUT", "/", fields)))),
                expected,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn request_without_content_is_admitted() {
        let world = Fixture::new();
        let policy = ContentType::new(["application/json"]).unwrap();
        for fields in [&[][..], &[("content-type", "text/plain")]] {
            assert_eq!(code(world.ask(&policy, &request("PUT", "/", fields))), "admitted");
        }
    }

    #[test]
    fn denial_lists_accepted_types_in_the_header_of_the_method() {
        let world = Fixture::new();
        let policy = ContentType::new(["application/json", "text/csv"]).unwrap().codings([]);
        for (method, fields) in [
            ("PUT", &["accept"][..]),
            ("POST", &["accept", "accept-post"]),
            ("PATCH", &["accept", "accept-patch"]),
        ] {
            let mut headers = http::HeaderMap::new();
            let denial = world.ask(&policy, &with_content(request(method, "/", &[]))).unwrap_err();
            denial.add_headers(&mut headers);
            assert_eq!(headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), fields);
            assert!(headers.values().all(|value| value == "application/json, text/csv"));
        }
        let mut headers = http::HeaderMap::new();
        let gzip = request("PUT", "/", &[("content-type", "text/csv"), ("content-encoding", "gzip")]);
        world.ask(&policy, &with_content(gzip)).unwrap_err().add_headers(&mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["accept-encoding"], "identity");
    }
}
