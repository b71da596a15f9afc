//! Compression of responses, by negotiation with the client.

mod accept_encoding;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
};
use http_body::Body;
use tower_http::compression::{self, CompressionBody};
use tower_service::Service;

use super::{response_body::GatewayBody, upstream::plain_number, vary::add_vary};
use crate::config::{self, Algorithm};
use accept_encoding::negotiate;
use portcullis::media::{ContentTypeHeader, MediaRange};

static ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");

/// Digests of the content, which compression would invalidate (RFC 9530 and its predecessors).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// The compression of a route's responses.
#[derive(Debug)]
pub(super) struct Compression {
    algorithms: Vec<Algorithm>,
    min_bytes: u64,
    content_types: Vec<MediaRange>,
}

/// The facts about a request that its response needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Negotiated {
    algorithm: Option<Algorithm>,
    is_head: bool,
}

impl Compression {
    pub(super) fn new(settings: &config::Compression) -> Self {
        Self {
            algorithms: settings.algorithms.clone(),
            min_bytes: settings.min_bytes,
            content_types: settings.content_types.clone(),
        }
    }

    /// Reads the request. Its `Accept-Encoding` is forwarded, too, because the upstream may compress by itself.
    pub(super) fn negotiate(&self, method: &Method, headers: &HeaderMap) -> Negotiated {
        Negotiated { algorithm: negotiate(&self.algorithms, headers), is_head: *method == Method::HEAD }
    }

    /// Compresses the body of a response, if the client and the response allow it.
    pub(super) async fn compress(
        &self,
        request: Negotiated,
        mut response: Response<GatewayBody>,
    ) -> Response<GatewayBody> {
        if !self.suits(request, &response) {
            return response;
        }
        let headers = response.headers_mut();
        add_vary(headers, &ACCEPT_ENCODING);
        let Some(algorithm) = request.algorithm else { return response };
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::ACCEPT_RANGES);
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(algorithm.coding()));
        weaken_etag(headers);
        if request.is_head {
            return response.map(|_| GatewayBody::empty());
        }
        let (head, body) = response.into_parts();
        Response::from_parts(head, GatewayBody::Compressed(Box::pin(encode(algorithm, body).await)))
    }

    /// Returns `true` for responses whose body is compressed for clients that accept it.
    fn suits(&self, request: Negotiated, response: &Response<GatewayBody>) -> bool {
        let (status, headers) = (response.status(), response.headers());
        let has_content = !status.is_informational()
            && ![
                StatusCode::NO_CONTENT,
                StatusCode::RESET_CONTENT,
                StatusCode::PARTIAL_CONTENT,
                StatusCode::NOT_MODIFIED,
            ]
            .contains(&status);
        let length = headers.get(header::CONTENT_LENGTH).and_then(plain_number);
        // A response of the upstream to HEAD has no body, but one of the gateway still has it here.
        let has_body = !request.is_head || matches!(response.body(), GatewayBody::Local(_));
        let size = length.or_else(|| response.body().size_hint().exact().filter(|_| has_body));
        has_content
            && size.is_none_or(|size| size >= self.min_bytes)
            && self.includes_type(headers)
            && !headers.contains_key(header::CONTENT_ENCODING)
            && !headers.contains_key(header::CONTENT_RANGE)
            && !forbids_transformation(headers)
            && !DIGESTS.iter().any(|name| headers.contains_key(name))
    }

    fn includes_type(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let Ok(content_type) = ContentTypeHeader::parse(value) else { return false };
        // The events of a stream are small and must arrive at once. gRPC has compression of its own.
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence != "text/event-stream"
            && !essence.starts_with("application/grpc")
            && self.content_types.iter().any(|range| range.matches(&content_type))
    }
}

/// Returns `true` if `Cache-Control` contains `no-transform` (RFC 9110, section 7.7).
fn forbids_transformation(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut directives = values.flat_map(|value| value.split(','));
    directives.any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// Makes a strong entity tag weak: the compressed bytes are not those that the upstream tagged (RFC 9110, section
/// 8.8.3).
fn weaken_etag(headers: &mut HeaderMap) {
    let Some(etag) = headers.get(header::ETAG).map(HeaderValue::as_bytes) else { return };
    if !etag.starts_with(b"W/") {
        let weak = HeaderValue::from_bytes(&[b"W/", etag].concat());
        match weak {
            Ok(weak) => headers.insert(header::ETAG, weak),
            Err(_) => headers.remove(header::ETAG),
        };
    }
}

/// Compresses a body with the service of tower-http, which creates such bodies only for the requests that it answers.
/// A pause of the upstream flushes the compressed bytes.
async fn encode(algorithm: Algorithm, body: GatewayBody) -> CompressionBody<GatewayBody> {
    let every = |_: StatusCode, _: Version, _: &HeaderMap, _: &Extensions| true;
    let mut service = compression::Compression::new(Respond).compress_when(every);
    let mut request = Request::new(body);
    request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(algorithm.coding()));
    let Ok(response) = service.call(request).await;
    response.into_body()
}

/// A service that responds with the body of the request.
struct Respond;

impl Service<Request<GatewayBody>> for Respond {
    type Response = Response<GatewayBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<GatewayBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<GatewayBody>) -> Self::Future {
        ready(Ok(Response::new(request.into_body())))
    }
}
