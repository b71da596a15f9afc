//! A tonic server with API keys, a limit, and a scope that a method checks.
//!
//! ```text
//! cargo run --example tonic --features grpc
//! grpc_health_probe -addr 127.0.0.1:50051 -service orders -rpc-header 'x-api-key: shop-example-0123456789'
//! ```
//!
//! The shop may send 5 calls a minute: the sixth is `RESOURCE_EXHAUSTED`, with the time of the next admission in
//! `RetryInfo`. Without a key the status is `UNAUTHENTICATED`. The key `report-example-0123456789` has no scope for
//! orders: its call is `PERMISSION_DENIED`.
//!
//! The service is the health service of gRPC, because the package tonic-health contains its generated code. A service
//! of your own has the same place.

use std::{error::Error, sync::Arc};

use futures_util::stream::Empty;
use portcullis::{
    Admission, Caller, Denial,
    clock::{Clock, SystemClock},
    denial::Forbidden,
    keys::{Key, KeyError, Keys},
    model::{Access, Limit},
    policy::{ApiKey, BodyLimit, RateLimit},
    tower::PortcullisLayer,
};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpConnectInfo},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    Server::builder()
        .layer(layer(keys()?, Arc::new(SystemClock::new())))
        .add_service(HealthServer::new(Services))
        .serve("127.0.0.1:50051".parse()?)
        .await?;
    Ok(())
}

/// Keys of a service come from its environment (`Keys::from_env`), not from its source.
fn keys() -> Result<Keys, KeyError> {
    let shop = Key::new("shop").scopes(["orders:read"]).limit(Limit::per_minute(5));
    let report = Key::new("report").scopes(["invoices:read"]);
    Keys::new().add_key(shop, "shop-example-0123456789")?.add_key(report, "report-example-0123456789")
}

fn layer(keys: Keys, clock: Arc<dyn Clock>) -> PortcullisLayer<(BodyLimit, ApiKey, RateLimit)> {
    PortcullisLayer::new((BodyLimit::new(64 * 1024), ApiKey::new(keys), RateLimit::new()))
        .peer_from(|extensions| Some(extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip()))
        .clock(clock)
}

/// The services whose status callers may ask for.
struct Services;

#[tonic::async_trait]
impl Health for Services {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let caller = request.extensions().get::<Admission>().and_then(Caller::from_admission);
        let service = &*request.get_ref().service;
        // A method may return a denial: the client receives the same details as from the layer.
        if !caller.is_some_and(|caller| caller.allows(service, Access::Read)) {
            let scope = Forbidden::Scope { resource: service.into(), access: Access::Read };
            return Err(Denial::Forbidden(scope).into());
        }
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Denial::NotImplemented { detail: "Call Check instead.".into() }.into())
    }
}

/// A test sets the clock, so it need not wait.
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis::clock::ManualClock;
    use tokio::net::TcpListener;
    use tonic::{
        Code,
        transport::{Channel, Endpoint, server::TcpIncoming},
    };
    use tonic_health::pb::health_client::HealthClient;
    use tonic_types::StatusExt;

    use super::*;

    async fn client(clock: Arc<ManualClock>) -> HealthClient<Channel> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .layer(layer(keys().unwrap(), clock))
            .add_service(HealthServer::new(Services))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(server);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        HealthClient::new(endpoint.connect().await.unwrap())
    }

    fn call(key: Option<&'static str>) -> Request<HealthCheckRequest> {
        let mut request = Request::new(HealthCheckRequest { service: "orders".into() });
        if let Some(key) = key {
            request.metadata_mut().insert("x-api-key", key.parse().unwrap());
        }
        request
    }

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::at(jiff::Timestamp::UNIX_EPOCH))
    }

    #[tokio::test]
    async fn call_without_key_is_unauthenticated() {
        let denied = client(clock()).await.check(call(None)).await.unwrap_err();
        assert_eq!(denied.code(), Code::Unauthenticated);
        assert_eq!(denied.get_details_error_info().unwrap().reason, "CREDENTIAL_MISSING");
    }

    #[tokio::test]
    async fn shop_is_admitted_again_after_the_retry_delay() {
        let clock = clock();
        let mut client = client(clock.clone()).await;
        let shop = || call(Some("shop-example-0123456789"));
        for _ in 0..5 {
            let response = client.check(shop()).await.unwrap();
            assert_eq!(response.get_ref().status(), ServingStatus::Serving);
        }
        let denied = client.check(shop()).await.unwrap_err();
        assert_eq!(denied.code(), Code::ResourceExhausted);
        let delay = denied.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert_eq!(delay, Duration::from_secs(12));
        clock.advance(delay);
        client.check(shop()).await.unwrap();
    }

    #[tokio::test]
    async fn key_without_scope_has_no_permission() {
        let report = call(Some("report-example-0123456789"));
        let denied = client(clock()).await.check(report).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
        assert_eq!(denied.get_details_error_info().unwrap().reason, "INSUFFICIENT_SCOPE");
    }
}
