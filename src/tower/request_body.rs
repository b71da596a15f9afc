//! The body of an admitted request, where it must be what was signed.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::admission::Owed;

/// Whatever can go wrong while a body is read.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pin_project! {
    /// The body of an admitted request, made by a layer that [checks content](super::PortcullisLayer::checking_content).
    ///
    /// What must hash to something is passed on one piece late: the last piece waits until all of it is known to be
    /// right. Otherwise the body ends in [`Altered`](crate::admission::Altered), and whoever reads it has less than was announced.
    #[derive(Debug)]
    pub struct RequestBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B> {
        Came { #[pin] body: B },
        Signed { #[pin] body: B, owed: Box<Owed>, over: bool },
        TakenIn { content: Option<Bytes> },
    }
}

impl<B> RequestBody<B> {
    pub(super) fn new(body: B, owed: Option<Box<Owed>>) -> Self {
        let kind = match owed {
            None => Kind::Came { body },
            Some(owed) => Kind::Signed { body, owed, over: false },
        };
        Self { kind }
    }

    pub(super) fn taken_in(content: Bytes) -> Self {
        Self { kind: Kind::TakenIn { content: Some(content).filter(|content| !content.is_empty()) } }
    }
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
        match self.project().kind.project() {
            KindProjection::Came { body } => body.poll_frame(cx).map_err(Into::into),
            KindProjection::TakenIn { content } => {
                Poll::Ready(content.take().map(|content| Ok(Frame::data(content))))
            }
            KindProjection::Signed { mut body, owed, over } => loop {
                if *over {
                    return Poll::Ready(None);
                }
                let piece = match ready!(body.as_mut().poll_frame(cx)) {
                    Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    Some(Ok(frame)) => frame.into_data().ok(),
                    None => None,
                };
                // Trailers are not signed, and go no further.
                let Some(piece) = piece else {
                    *over = true;
                    return Poll::Ready(match owed.end() {
                        Ok(last) => last.map(|last| Ok(Frame::data(last))),
                        Err(altered) => Some(Err(altered.into())),
                    });
                };
                if let Some(before) = owed.put(piece) {
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
        match &self.kind {
            Kind::Came { body } => body.size_hint(),
            Kind::TakenIn { content } => {
                SizeHint::with_exact(content.as_ref().map_or(0, |content| content.len() as u64))
            }
            Kind::Signed { body, owed, .. } => {
                let (rest, kept) = (body.size_hint(), owed.kept() as u64);
                let mut hint = SizeHint::new();
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(kept));
                }
                hint.set_lower(rest.lower().saturating_add(kept));
                hint
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible, task::Waker};

    use http::HeaderMap;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::admission::Altered;

    /// Pieces, and what is none.
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

    #[allow(clippy::unnecessary_wraps, reason = "as a body has it")]
    fn owed(content: &[u8]) -> Option<Box<Owed>> {
        Some(Box::new(Owed::new(Sha256::digest(content).into())))
    }

    fn pieces(texts: &[&'static str]) -> Pieces {
        Pieces(texts.iter().map(|text| Some(Frame::data(Bytes::from_static(text.as_bytes())))).collect())
    }

    /// All that is passed on, and whether it ended well.
    fn read(mut body: RequestBody<Pieces>) -> (Vec<String>, bool) {
        let mut seen = Vec::new();
        loop {
            let exact = body.size_hint().exact();
            match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => {}
                Poll::Ready(None) => return (seen, body.is_end_stream()),
                Poll::Ready(Some(Err(error))) => {
                    assert!(Altered::is_cause_of(&*error));
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
    fn what_was_signed_is_passed_on_piece_by_piece() {
        assert_eq!(
            read(RequestBody::new(pieces(&["ab", "", "cd", "ef"]), owed(b"abcdef"))).0,
            ["ab", "cd", "ef"]
        );
        assert_eq!(
            read(RequestBody::new(pieces(&["abcdef"]), owed(b"abcdef"))),
            (vec!["abcdef".into()], true)
        );
        let empty = owed(b"");
        assert_eq!(read(RequestBody::new(pieces(&[]), empty)), (vec![], true));
        let mut late = pieces(&["ab", "cdef"]);
        late.0.insert(1, None);
        late.0.push_back(Some(Frame::trailers(HeaderMap::new())));
        assert_eq!(read(RequestBody::new(late, owed(b"abcdef"))), (vec!["ab".into(), "cdef".into()], true));
    }

    #[test]
    fn the_end_of_anything_else_is_not() {
        for (texts, seen) in [
            (&["ab", "cd", "eg"][..], &["ab", "cd"][..]),
            (&["abcdeg"], &[]),
            (&["abcdef", "g"], &["abcdef"]),
            (&["abc"], &[]),
            (&[], &[]),
        ] {
            let (passed, well) = read(RequestBody::new(pieces(texts), owed(b"abcdef")));
            assert_eq!((passed, well), (seen.iter().map(ToString::to_string).collect(), false), "{texts:?}");
        }
    }

    #[test]
    fn what_was_taken_in_is_one_piece() {
        assert_eq!(read(RequestBody::taken_in(Bytes::from_static(b"abc"))), (vec!["abc".into()], true));
        assert!(RequestBody::<Pieces>::taken_in(Bytes::new()).is_end_stream());
    }

    #[test]
    fn an_altered_body_is_recognised_through_what_it_is_wrapped_in() {
        #[derive(Debug, thiserror::Error)]
        #[error("wrapped")]
        struct Wrapped(#[source] BoxError);

        let wrapped = Wrapped(Box::new(Wrapped(Box::new(Altered))));
        assert!(Altered::is_cause_of(&wrapped));
        assert!(!Altered::is_cause_of(&std::io::Error::other("x")));
    }
}
