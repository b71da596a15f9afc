//! Bodies of admitted requests, with verification and limits.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::admission::DigestVerifier;

/// The request body exceeds its limit. The excess was found while the body arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request body exceeds the limit of {limit} bytes")]
pub struct TooLarge {
    /// The limit, in bytes.
    pub limit: u64,
}

/// A limit for a body whose length is not known in advance. Clones observe the same body.
#[derive(Debug, Clone)]
pub struct LengthLimit {
    limit: u64,
    exceeded: Arc<AtomicBool>,
}

impl LengthLimit {
    /// Creates the bound for a limit, unless the body's size hint already respects the limit.
    pub(super) fn from_admission(limit: Option<u64>, body: &impl Body) -> Option<Self> {
        let limit = limit?;
        let keeps = body.size_hint().upper().is_some_and(|most| most <= limit);
        (!keeps).then(|| Self { limit, exceeded: Arc::default() })
    }

    /// Returns the limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns `true` if the body exceeded the limit.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    fn exceed(&self) -> TooLarge {
        self.exceeded.store(true, Ordering::Relaxed);
        TooLarge { limit: self.limit }
    }
}

/// The error type of request bodies.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pin_project! {
    /// The body of an admitted request.
    ///
    /// A body that must have a certain hash is passed on with a delay of one chunk: the last chunk is held back until
    /// the hash of the whole body is known to match. Otherwise the body ends in
    /// [`DigestMismatch`](crate::admission::DigestMismatch), and the reader receives less than the announced length.
    ///
    /// A body that exceeds the limit of a [`BodyLimit`](crate::policy::BodyLimit) ends in [`TooLarge`].
    #[derive(Debug)]
    pub struct RequestBody<B> {
        #[pin]
        kind: Kind<B>,
        bound: Option<LengthLimit>,
        taken: u64,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B> {
        Came { #[pin] body: B },
        Signed { #[pin] body: B, verifier: Box<DigestVerifier>, over: bool },
        TakenIn { content: Option<Bytes> },
    }
}

impl<B> RequestBody<B> {
    pub(super) fn new(body: B, verifier: Option<Box<DigestVerifier>>, bound: Option<LengthLimit>) -> Self {
        let kind = match verifier {
            None => Kind::Came { body },
            Some(verifier) => Kind::Signed { body, verifier, over: false },
        };
        Self { kind, bound, taken: 0 }
    }

    pub(super) fn taken_in(content: Bytes) -> Self {
        let kind = Kind::TakenIn { content: Some(content).filter(|content| !content.is_empty()) };
        Self { kind, bound: None, taken: 0 }
    }
}

/// Returns the next frame that arrives, before the verification of the hash.
fn poll_arrived<B>(
    body: Pin<&mut B>,
    bound: Option<&LengthLimit>,
    taken: &mut u64,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let frame = ready!(body.poll_frame(cx));
    if let (Some(bound), Some(Ok(frame))) = (bound, &frame) {
        *taken = taken.saturating_add(frame.data_ref().map_or(0, |data| data.len() as u64));
        if *taken > bound.limit {
            return Poll::Ready(Some(Err(bound.exceed().into())));
        }
    }
    Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let (bound, taken) = (this.bound.as_ref(), this.taken);
        match this.kind.project() {
            KindProjection::Came { body } => poll_arrived(body, bound, taken, cx),
            KindProjection::TakenIn { content } => {
                Poll::Ready(content.take().map(|content| Ok(Frame::data(content))))
            }
            KindProjection::Signed { mut body, verifier, over } => loop {
                if *over {
                    return Poll::Ready(None);
                }
                let piece = match ready!(poll_arrived(body.as_mut(), bound, taken, cx)) {
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(frame)) => frame.into_data().ok(),
                    None => None,
                };
                // Trailers are not signed and therefore dropped.
                let Some(piece) = piece else {
                    *over = true;
                    return Poll::Ready(match verifier.finish() {
                        Ok(last) => last.map(|last| Ok(Frame::data(last))),
                        Err(altered) => Some(Err(altered.into())),
                    });
                };
                if let Some(before) = verifier.push(piece) {
                    return Poll::Ready(Some(Ok(Frame::data(before))));
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Came { body } => body.is_end_stream(),
            Kind::Signed { over, .. } => *over,
            Kind::TakenIn { content } => content.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = match &self.kind {
            Kind::Came { body } => body.size_hint(),
            Kind::TakenIn { content } => {
                SizeHint::with_exact(content.as_ref().map_or(0, |content| content.len() as u64))
            }
            Kind::Signed { body, verifier, .. } => {
                let (rest, kept) = (body.size_hint(), verifier.buffered_len() as u64);
                let mut hint = SizeHint::new();
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(kept));
                }
                hint.set_lower(rest.lower().saturating_add(kept));
                hint
            }
        };
        // Tells inner layers that the bytes are counted. The hint is never exact: whether a body follows is not
        // known.
        if let (Some(bound), None) = (&self.bound, hint.upper()) {
            let most = bound.limit.saturating_sub(self.taken);
            hint.set_upper(most.max(hint.lower().saturating_add(1)));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible, task::Waker};

    use http::HeaderMap;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::admission::DigestMismatch;

    /// Frames, and `None` for a pending poll.
    struct Pieces(VecDeque<Option<Frame<Bytes>>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop_front() {
                Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
                Some(None) => Poll::Pending,
                None => Poll::Ready(None),
            }
        }

        fn size_hint(&self) -> SizeHint {
            let data = self.0.iter().flatten().filter_map(|frame| frame.data_ref());
            SizeHint::with_exact(data.map(|data| data.len() as u64).sum())
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "the parameter of RequestBody::new")]
    fn verifier(content: &[u8]) -> Option<Box<DigestVerifier>> {
        Some(Box::new(DigestVerifier::new(Sha256::digest(content).into())))
    }

    fn pieces(texts: &[&'static str]) -> Pieces {
        Pieces(texts.iter().map(|text| Some(Frame::data(Bytes::from_static(text.as_bytes())))).collect())
    }

    /// Returns all chunks that were passed on, and whether the body ended without an error.
    fn read(mut body: RequestBody<Pieces>) -> (Vec<String>, bool) {
        let mut seen = Vec::new();
        loop {
            let exact = body.size_hint().exact();
            match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => {}
                Poll::Ready(None) => return (seen, body.is_end_stream()),
                Poll::Ready(Some(Err(error))) => {
                    assert!(DigestMismatch::is_cause_of(&*error));
                    return (seen, false);
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap();
                    assert_eq!(exact.unwrap() - data.len() as u64, body.size_hint().exact().unwrap());
                    seen.push(String::from_utf8(data.to_vec()).unwrap());
                }
            }
        }
    }

    #[test]
    fn signed_content_is_streamed() {
        assert_eq!(
            read(RequestBody::new(pieces(&["ab", "", "cd", "ef"]), verifier(b"abcdef"), None)).0,
            ["ab", "cd", "ef"]
        );
        assert_eq!(
            read(RequestBody::new(pieces(&["abcdef"]), verifier(b"abcdef"), None)),
            (vec!["abcdef".into()], true)
        );
        let empty = verifier(b"");
        assert_eq!(read(RequestBody::new(pieces(&[]), empty, None)), (vec![], true));
        let mut late = pieces(&["ab", "cdef"]);
        late.0.insert(1, None);
        late.0.push_back(Some(Frame::trailers(HeaderMap::new())));
        assert_eq!(
            read(RequestBody::new(late, verifier(b"abcdef"), None)),
            (vec!["ab".into(), "cdef".into()], true)
        );
    }

    #[test]
    fn altered_content_ends_in_an_error() {
        for (texts, seen) in [
            (&["ab", "cd", "eg"][..], &["ab", "cd"][..]),
            (&["abcdeg"], &[]),
            (&["abcdef", "g"], &["abcdef"]),
            (&["abc"], &[]),
            (&[], &[]),
        ] {
            let (passed, well) = read(RequestBody::new(pieces(texts), verifier(b"abcdef"), None));
            assert_eq!((passed, well), (seen.iter().map(ToString::to_string).collect(), false), "{texts:?}");
        }
    }

    #[test]
    fn content_over_a_limit_ends_in_an_error() {
        for verifier in [None, verifier(b"abcdef")] {
            let body = pieces(&["ab", "cd", "ef"]);
            assert!(
                LengthLimit::from_admission(None, &body).is_none()
                    && LengthLimit::from_admission(Some(6), &body).is_none()
            );
            let bound = LengthLimit::from_admission(Some(5), &body).unwrap();
            let mut body = RequestBody::new(body, verifier, Some(bound.clone()));
            let error = loop {
                match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Some(Ok(_))) => assert!(!bound.is_exceeded()),
                    Poll::Ready(Some(Err(error))) => break error,
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(error.downcast_ref(), Some(&TooLarge { limit: 5 }));
            assert!(bound.is_exceeded());
        }
    }

    #[test]
    fn buffered_content_is_one_frame() {
        assert_eq!(read(RequestBody::taken_in(Bytes::from_static(b"abc"))), (vec!["abc".into()], true));
        assert!(RequestBody::<Pieces>::taken_in(Bytes::new()).is_end_stream());
    }

    #[test]
    fn altered_body_is_recognised_through_wrapped_errors() {
        #[derive(Debug, thiserror::Error)]
        #[error("wrapped")]
        struct Wrapped(#[source] BoxError);

        let wrapped = Wrapped(Box::new(Wrapped(Box::new(DigestMismatch))));
        assert!(DigestMismatch::is_cause_of(&wrapped));
        assert!(!DigestMismatch::is_cause_of(&std::io::Error::other("x")));
    }
}
