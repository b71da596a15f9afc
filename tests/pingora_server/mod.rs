//! A server for `ProxyHttp` proxies, on real sockets.

use std::{
    future::pending,
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use pingora::{
    prelude::Server,
    proxy::{ProxyHttp, http_proxy_service},
    server::{RunArgs, ShutdownSignal, ShutdownSignalWatch, configuration::ServerConf},
};
use tokio::{net::TcpStream, time::timeout};

/// The timeout for a proxy to accept connections.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A shutdown signal that never arrives: the server runs until the test process ends.
struct Never;

#[async_trait]
impl ShutdownSignalWatch for Never {
    async fn recv(&self) -> ShutdownSignal {
        pending().await
    }
}

/// Serves each proxy on its own address. Returns when all of them accept connections.
pub async fn serve_pingora<P>(proxies: Vec<P>) -> Vec<SocketAddr>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let held: Vec<_> = proxies.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = held.iter().map(|listener| listener.local_addr().unwrap()).collect();
    drop(held);
    let listen = addresses.clone();
    thread::spawn(move || {
        let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
        server.bootstrap();
        for (proxy, address) in proxies.into_iter().zip(listen) {
            let mut service = http_proxy_service(&server.configuration, proxy);
            service.add_tcp(&address.to_string());
            server.add_service(service);
        }
        server.run(RunArgs { shutdown_signal: Box::new(Never) });
    });
    for address in &addresses {
        let listens = async {
            while TcpStream::connect(address).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(START_TIMEOUT, listens).await.expect("the proxy listens");
    }
    addresses
}
