//! A plain hyper service with API keys and a rate limit, without axum.
//!
//! ```text
//! cargo run --example hyper
//! curl -i -H 'X-API-KEY: shop-example-0123456789' http://127.0.0.1:3000/orders
//! ```
//!
//! The shop may send 5 requests a minute: the sixth is answered with 429. Without a key the response is 401.

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use portcullis::{
    Admission, Caller,
    keys::{KeyError, Keys},
    model::Limit,
    policy::{ApiKey, RateLimit},
    tower::{PeerAddr, PortcullisLayer},
};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};

async fn orders<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let caller = request.extensions().get::<Admission>().and_then(Caller::from_admission);
    let id = caller.as_ref().map_or("nobody", Caller::id);
    Ok(Response::new(Full::from(format!("the orders of {id}\n"))))
}

/// Keys of a service come from its environment (`Keys::from_env`), not from its source.
fn keys() -> Result<Keys, KeyError> {
    Keys::new().limit(Limit::per_minute(5)).add("shop", "shop-example-0123456789")
}

async fn serve(listener: TcpListener, keys: Keys) -> Result<(), std::io::Error> {
    let layer = PortcullisLayer::new((ApiKey::new(keys), RateLimit::new()));
    loop {
        let (stream, peer) = listener.accept().await?;
        let service = ServiceBuilder::new()
            // The address of the client, for policies that decide by it, such as `Lockout`.
            .map_request(move |mut request: Request<_>| {
                request.extensions_mut().insert(PeerAddr(peer.ip()));
                request
            })
            .layer(layer.clone())
            .service(service_fn(orders));
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("the connection of {peer} failed: {error}");
            }
        });
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("curl -i -H 'X-API-KEY: shop-example-0123456789' http://127.0.0.1:3000/orders");
    serve(listener, keys()?).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_401_without_a_key_and_429_over_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/orders", listener.local_addr().unwrap());
        let keys = Keys::new().limit(Limit::per_day(1)).add("shop", "shop-example-0123456789").unwrap();
        tokio::spawn(serve(listener, keys));

        // rustls needs a crypto provider, also for a client without TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
        let get =
            async || client.get(&url).header("x-api-key", "shop-example-0123456789").send().await.unwrap();
        let admitted = get().await;
        assert_eq!(admitted.status(), 200);
        assert_eq!(admitted.text().await.unwrap(), "the orders of shop\n");
        let denied = get().await;
        assert_eq!(denied.status(), 429);
        assert!(denied.headers().contains_key("retry-after"));
    }
}
