//! The sockets of the DNS server.

use std::{io, net::Ipv4Addr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::{
    Zone,
    message::{self, Transport},
};

/// The maximum number of ports to try: one that is free for UDP may be in use for TCP.
const MAX_PORTS: usize = 100;

/// Binds the same free port for UDP and TCP.
pub(super) async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..MAX_PORTS {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("a bound socket has an address")).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

pub(super) async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>) {
    let mut query = [0; 4096];
    loop {
        // An error means that a client closed its port before the last reply.
        let Ok((length, client)) = socket.recv_from(&mut query).await else { continue };
        if let Some(reply) = message::reply(&zone, &query[..length], Transport::Udp) {
            let _ = socket.send_to(&reply, client).await;
        }
    }
}

pub(super) async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    loop {
        if let Ok((connection, _)) = listener.accept().await {
            let (zone, mut closed) = (zone.clone(), zone.closed.subscribe());
            tokio::spawn(async move {
                tokio::select! {
                    _ = serve_connection(connection, zone) => {}
                    _ = closed.changed() => {}
                }
            });
        }
    }
}

async fn serve_connection(mut connection: TcpStream, zone: Arc<Zone>) -> io::Result<()> {
    loop {
        let mut query = vec![0; connection.read_u16().await?.into()];
        connection.read_exact(&mut query).await?;
        if let Some(reply) = message::reply(&zone, &query, Transport::Tcp) {
            let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
            connection.write_all(&[&length.to_be_bytes()[..], &reply].concat()).await?;
        }
    }
}
