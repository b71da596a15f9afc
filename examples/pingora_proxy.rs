//! A Pingora proxy of your own with policies, which three hooks of `ProxyHttp` call.
//!
//! ```text
//! python3 -m http.server -b 127.0.0.1 9000 &
//! cargo run --example pingora_proxy --features pingora
//! ```
//!
//! Listens on 127.0.0.1:6188 and forwards admitted requests to 127.0.0.1:9000. The key is
//! `shop-example-0123456789`. Its caller may send 5 requests a minute: the sixth is answered with 429. The proxy does
//! not forward the key: the upstream receives `X-Caller-Id` instead.

use std::error::Error;

use async_trait::async_trait;
use http::HeaderName;
use pingora::{
    http::{RequestHeader, ResponseHeader},
    prelude::{HttpPeer, Server},
    proxy::{ProxyHttp, Session, http_proxy_service},
    server::configuration::ServerConf,
};
use portcullis::{
    Admission,
    keys::Keys,
    model::Limit,
    pingora::PingoraGate,
    policy::{ApiKey, ContentType, RateLimit},
};

const UPSTREAM: (&str, u16) = ("127.0.0.1", 9000);

type Policies = (ContentType, ApiKey, RateLimit);

struct Proxy {
    gate: PingoraGate<Policies>,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Admission;

    fn new_ctx(&self) -> Admission {
        Admission::default()
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Admission) -> pingora::Result<bool> {
        self.gate.request_filter(session, ctx).await
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Admission) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(UPSTREAM, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Admission,
    ) -> pingora::Result<()> {
        self.gate.upstream_request_filter(request, ctx)
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Admission,
    ) -> pingora::Result<()> {
        self.gate.response_filter(response, ctx)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let keys = Keys::new().limit(Limit::per_minute(5)).add("shop", "shop-example-0123456789")?;
    let policies = (ContentType::new(["application/json"])?, ApiKey::new(keys), RateLimit::new());

    let gate = PingoraGate::new(policies).caller_id_header(HeaderName::from_static("x-caller-id"));
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Proxy { gate });
    service.add_tcp("127.0.0.1:6188");
    server.add_service(service);
    println!("curl -i -H 'X-API-KEY: shop-example-0123456789' http://127.0.0.1:6188/");
    server.run_forever()
}
