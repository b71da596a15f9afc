//! Bodies of signed requests that a Tower layer buffers before the decision, from clients that send slowly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::Full;
use portcullis::{
    limit::MinDataRate,
    model::{SealKey, Sealer},
    policy::Signature,
    signature::{Parts, Signer, format_date, hash},
    tower::PortcullisLayer,
};
use portcullis_test::directory::DirectoryFixture;
use tokio::time::{Instant, Interval, interval};
use tower::{Layer, ServiceExt, service_fn};

/// Twice the minimum rate of a client that is not authenticated yet.
const BYTES_PER_SECOND: usize = 8 * 1024;

/// A body that arrives one piece per second.
struct Slow {
    seconds: u32,
    next: Interval,
}

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.seconds == 0 {
            return Poll::Ready(None);
        }
        ready!(self.next.poll_tick(cx));
        self.seconds -= 1;
        Poll::Ready(Some(Ok(Frame::data(vec![b'x'; BYTES_PER_SECOND].into()))))
    }
}

#[tokio::test(start_paused = true)]
async fn body_at_the_minimum_rate_is_limited_to_60_seconds() {
    let world = DirectoryFixture::new();
    let sealer = Arc::new(Sealer::new(SealKey::new(1, &[7; 32])));
    let access = world.signing_key(&sealer, "secret");
    // A patient pace, which does not extend the time of a client that is not authenticated yet.
    let patient = MinDataRate { timeout: Duration::from_secs(600), rate: 1 };
    let policy = Signature::new(world.directory.clone(), sealer).buffering(Signature::buffering_for(patient));
    let layer = PortcullisLayer::new(policy).clock(world.clock.clone());
    let service =
        layer.layer(service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("served")))));
    for (seconds, status) in [(50, 200), (70, 408), (600, 408)] {
        let content = vec![b'x'; BYTES_PER_SECOND * seconds as usize];
        let request = Request::post("/orders").header("host", "a.example");
        let request = request.header("x-sdk-date", format_date(world.now()));
        let body = Slow { seconds, next: interval(Duration::from_secs(1)) };
        let mut request = request.body(body).unwrap();
        let headers = request.headers().clone();
        let parts = Parts { method: "POST", path: "/orders", query: "", authority: None, headers: &headers };
        let (signer, payload) = (Signer::new(&access, b"secret"), hash(&content));
        let signed = signer.sign(parts, "host;x-sdk-date", payload.as_str()).unwrap().authorization();
        request.headers_mut().insert("authorization", HeaderValue::try_from(signed).unwrap());
        let start = Instant::now();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{seconds}");
        let most = Duration::from_secs(60) + Duration::from_millis(10);
        assert!(start.elapsed() <= most, "{seconds}: {:?} on the paused clock", start.elapsed());
    }
}
