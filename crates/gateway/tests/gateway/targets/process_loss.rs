//! The loss of a target under load.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    process::{client, free_address, listens},
    scripted::{Reaction, Scripted, ok},
    targets::{installation, logged},
};

/// A process that serves. It is killed on drop.
struct Demo {
    process: Child,
    address: SocketAddr,
}

impl Demo {
    fn start() -> Self {
        let address = free_address();
        let process = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["demo", "--listen", &address.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !listens(address) {
            std::thread::yield_now();
        }
        Self { process, address }
    }

    /// Kills the process with SIGKILL.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_get_request_fails_when_a_target_is_killed() {
    const REQUESTS: usize = 3_000;
    let (mut one, other) = (Demo::start(), Demo::start());
    let installation = installation(&[one.address, other.address], "", "server.threads = 2");
    let gateway = installation.start();
    let (begun, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (begun, done, client) = (begun.clone(), done.clone(), client());
            let url = gateway.url("/");
            tokio::spawn(async move {
                while begun.fetch_add(1, Ordering::SeqCst) < REQUESTS {
                    let response = client.get(&url).send().await.unwrap();
                    assert_eq!(response.status(), 200);
                    response.bytes().await.unwrap();
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    while done.load(Ordering::SeqCst) < REQUESTS / 6 {
        tokio::task::yield_now().await;
    }
    one.kill();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(done.load(Ordering::SeqCst), REQUESTS);
    assert!(logged(&gateway, "target ejected").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_post_request_is_sent_twice_when_a_target_breaks_off() {
    // One target closes every third connection without a response, in the middle of the exchange.
    let breaks =
        Scripted::start(
            |request| if request.request == 2 { Reaction::Close } else { Reaction::Send(ok("a")) },
        );
    let serves = Scripted::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb");
    let settings = "ejection.enabled = false";
    let installation = installation(&[breaks.address, serves.address], settings, "server.threads = 2");
    let gateway = installation.start();
    let clients: Vec<_> = (0..16)
        .map(|number| {
            let (client, url) = (client(), gateway.url(""));
            tokio::spawn(async move {
                let mut failed = 0;
                for request in 0..40 {
                    let url = format!("{url}/{number}-{request}");
                    // Without content, with a length, and chunked.
                    let post = match request % 3 {
                        0 => client.post(url),
                        1 => client.post(url).body("content"),
                        _ => client.post(url).body(reqwest::Body::wrap_stream(futures_util::stream::iter([
                            Ok::<_, std::io::Error>("content"),
                        ]))),
                    };
                    let status = post.send().await.unwrap().status();
                    assert!(status == 200 || status == 502, "{status}");
                    failed += usize::from(status == 502);
                }
                failed
            })
        })
        .collect();
    let mut failed = 0;
    for client in clients {
        failed += client.await.unwrap();
    }
    let mut sent = BTreeMap::<_, usize>::new();
    for request in breaks.arrived().iter().chain(&serves.arrived()) {
        *sent.entry(request.path().to_owned()).or_default() += 1;
    }
    assert_eq!(sent.len(), 640);
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");
    assert!(failed > 0, "no connection was closed");
}
