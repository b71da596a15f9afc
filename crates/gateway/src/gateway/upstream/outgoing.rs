//! Prepares requests for an upstream.

use http::{HeaderMap, Method, Request};
use hyper::body::Body;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    Upstream,
    connector::HttpVersions,
    exchange_record::ExchangeRecord,
    hop_headers::{self, UnclaimedKeys},
    informational::InformationalResponses,
    request_body::{Progress, RequestBody},
    request_head,
    upgrade::RequestedUpgrade,
};
use crate::{
    config::HashKey,
    gateway::{client_addr::ClientAddr, client_body::ClientBody, rewrite::Rewrite},
};
use portcullis::{Admission, Denial, limit::MinDataRate, problem::ResponseForm, tower};

/// A request to an upstream.
///
/// It stays in one place, because a request is large and every move copies it.
pub(super) struct Outgoing {
    /// The request, with the head for HTTP/1.1. `None` from when it is sent, unless it may be sent again.
    pub(super) request: Option<Request<RequestBody>>,
    pub(super) method: Method,
    /// Set if the client accepts trailers.
    pub(super) trailers: bool,
    pub(super) http: HttpVersions,
    /// Set if `Host` is that of the target.
    pub(super) host_of_target: bool,
    /// `None` if the body is empty.
    pub(super) progress: Option<Progress>,
    /// The key of consistent hashing, if the request has one.
    pub(super) key: Option<SmallVec<[u8; 40]>>,
    /// The upgrade of the connection that the request asks for.
    pub(super) upgrade: Option<RequestedUpgrade>,
    /// The number of times that the request was sent.
    pub(super) attempts: u8,
    /// The record for the access log, and the start of the exchange. `None` if there is no log.
    pub(super) record: Option<(ExchangeRecord, Instant)>,
}

impl Outgoing {
    /// Creates a request that does not come from a client.
    pub(super) fn new(head: Request<()>) -> Self {
        Self {
            method: head.method().clone(),
            request: Some(head.map(|()| RequestBody::empty())),
            trailers: false,
            http: HttpVersions::All,
            host_of_target: false,
            progress: None,
            key: None,
            upgrade: None,
            attempts: 0,
            record: None,
        }
    }
}

impl Upstream {
    /// Prepares a client's request.
    ///
    /// # Errors
    /// Returns 400 if the path cannot be rewritten.
    pub(super) fn outgoing(
        &self,
        request: Request<tower::RequestBody<ClientBody>>,
        form: ResponseForm,
        rewrite: Option<&Rewrite>,
    ) -> Result<Outgoing, Denial> {
        let (mut head, body) = request.into_parts();
        let extensions = std::mem::take(&mut head.extensions);
        let (Some(admission), Some(origin)) = (extensions.get::<Admission>(), extensions.get::<ClientAddr>())
        else {
            return Err(Denial::internal("request to forward has no admission or no client address"));
        };
        let trailers = self.uses_http2 && request_head::accepts_trailers(&head.headers);
        let key = self.hash_key.as_ref().and_then(|key| hash_key(key, &head.headers, admission, origin));
        // A key that no policy checked is of no use to the upstream.
        let keys = if admission.identity().is_none() { UnclaimedKeys::Drop } else { UnclaimedKeys::Keep };
        let has_upgrade =
            hop_headers::rewrite_request(&mut head, origin, &self.filter, keys, &self.authority);
        // The content of a request ends before the other protocol begins; then it is simpler to have none.
        let upgrade = (has_upgrade && body.is_end_stream()).then(|| extensions.get::<RequestedUpgrade>());
        let upgrade = upgrade.flatten().cloned();
        admission.set_caller_header(&mut head.headers, &self.caller_id_header);
        if let Some(field) = &self.media_type_header {
            admission.set_media_type_headers(&mut head.headers, field);
        }
        if let Some(rewrite) = rewrite {
            rewrite.apply(&mut head)?;
        }
        request_head::frame(&mut head, &body);
        if let Some(upgrade) = &upgrade {
            hop_headers::set_upgrade(&mut head.headers, &upgrade.protocol);
        }
        let pace = if form == ResponseForm::Grpc { self.stream_pace() } else { self.pace };
        let (body, progress) = RequestBody::new(body, admission.body_limit(), pace);
        let method = head.method.clone();
        let mut request = Request::from_parts(head, body);
        if self.informational
            && let Some(informational) = extensions.get::<InformationalResponses>()
        {
            informational.observe(&mut request);
        }
        Ok(Outgoing {
            request: Some(request),
            method,
            trailers,
            http: if upgrade.is_some() { HttpVersions::Http1 } else { HttpVersions::All },
            host_of_target: rewrite.is_some_and(Rewrite::uses_host_of_target),
            progress,
            key,
            upgrade,
            attempts: 0,
            record: extensions.get::<ExchangeRecord>().map(|record| {
                record.begin(&self.name);
                (record.clone(), Instant::now())
            }),
        })
    }

    /// Returns the minimum data rate of a gRPC call: a client may keep it open without sending messages.
    fn stream_pace(&self) -> MinDataRate {
        MinDataRate { timeout: self.stream_idle_timeout, rate: 1 }
    }
}

/// Returns the key of consistent hashing, if the request has one.
fn hash_key(
    key: &HashKey,
    headers: &HeaderMap,
    admission: &Admission,
    origin: &ClientAddr,
) -> Option<SmallVec<[u8; 40]>> {
    match key {
        HashKey::Caller => Some(admission.caller()?.id.to_string().as_bytes().into()),
        HashKey::Address => Some(origin.peer?.to_string().as_bytes().into()),
        HashKey::Header(name) => Some(headers.get(name.name())?.as_bytes().into()),
    }
}
