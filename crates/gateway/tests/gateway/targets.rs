//! Upstreams with several targets: balancing.

mod ejection;
mod health_checks;
mod load;
mod phases;
mod process_loss;
mod retries;

use std::{collections::BTreeMap, fmt::Display, sync::Arc};

use axum::Router;
use reqwest::{Client, RequestBuilder};
use tokio::sync::{Notify, mpsc};

use crate::process::{Gateway, Installation, Service, TIMEOUT, client, free_address, provider};

/// Returns an installation with an upstream of these targets on one worker thread, with further settings of the upstream
/// and of the file.
pub fn installation(targets: &[impl Display], upstream: &str, file: &str) -> Installation {
    let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
    weighted(&targets.join(", "), upstream, file)
}

/// Returns an installation with an upstream of targets that are written as TOML.
fn weighted(targets: &str, upstream: &str, file: &str) -> Installation {
    let address = free_address();
    let threads = if file.contains("server.threads") { "" } else { "server.threads = 1" };
    let text = format!(
        "{threads}\n{file}\nstore.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\n\
         [[listeners]]\naddress = \"{address}\"\nh2c = true\n\
         [[plans]]\nid = \"demo\"\nlimits = [{{ name = \"hour\", quota = 2, window = 3600 }}]\n\
         [upstreams.up]\ntargets = [{targets}]\n{upstream}\n\
         [[routes]]\npath = \"/\"\nupstream = \"up\"\n[routes.policies]\n"
    );
    Installation::from_text(&text, address)
}

/// Starts a service that responds with its name.
pub async fn named(name: &'static str) -> Service {
    Service::start(Router::new().fallback(async move || name)).await
}

/// Sends a request and returns the content of the response.
pub async fn text(request: RequestBuilder) -> String {
    request.send().await.unwrap().text().await.unwrap()
}

/// Sends GET requests one after the other, and counts the responses by their content.
pub async fn counts(gateway: &Gateway, requests: usize) -> BTreeMap<String, usize> {
    let client = client();
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(text(client.get(gateway.url("/"))).await).or_default() += 1;
    }
    counts
}

/// Waits until a line of the log contains a text, and returns the number of such lines.
pub async fn logged(gateway: &Gateway, wanted: &str) -> usize {
    let count = || gateway.log().iter().filter(|line| line.contains(wanted)).count();
    let found = async {
        loop {
            match count() {
                0 => tokio::task::yield_now().await,
                lines => return lines,
            }
        }
    };
    let found = tokio::time::timeout(TIMEOUT, found).await;
    found.unwrap_or_else(|_| panic!("no line with {wanted:?}: {:#?}", gateway.log()))
}

/// A service that responds to `/hold` only after its release.
pub struct Holding {
    pub service: Service,
    /// Receives an item for each request that is held.
    pub held: mpsc::UnboundedReceiver<()>,
    pub release: Arc<Notify>,
}

impl Holding {
    pub async fn start(name: &'static str) -> Self {
        let release = Arc::new(Notify::new());
        let (sender, held) = mpsc::unbounded_channel();
        let released = release.clone();
        let hold = async move || {
            let wait = released.notified();
            sender.send(()).unwrap();
            wait.await;
            name
        };
        let router = Router::new().route("/hold", axum::routing::get(hold)).fallback(async move || name);
        Self { service: Service::start(router).await, held, release }
    }
}

fn map(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_receive_requests_in_proportion_to_their_weights() {
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    let targets = format!(
        "{{ address = \"{}\", weight = 3 }}, \"{}\", {{ address = \"http://{}\", weight = 2 }}",
        a.address, b.address, c.address
    );
    let installation = weighted(&targets, "", "");
    let gateway = installation.start();
    assert_eq!(counts(&gateway, 60).await, map(&[("a", 30), ("b", 10), ("c", 20)]));
    assert_eq!((a.connections(), b.connections(), c.connections()), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_targets_take_turns() {
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    let installation = installation(&[a.address, b.address, c.address], "", "");
    let gateway = installation.start();
    assert_eq!(counts(&gateway, 30).await, map(&[("a", 10), ("b", 10), ("c", 10)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn target_with_the_fewest_requests_is_selected() {
    let (mut a, mut b) = (Holding::start("a").await, Holding::start("b").await);
    let addresses = [a.service.address, b.service.address];
    let installation = installation(&addresses, "balance = \"least_requests\"", "");
    let gateway = installation.start();
    let hold = tokio::spawn(text(gateway.get("/hold")));
    let (busy, idle) = tokio::select! {
        held = a.held.recv() => held.map(|()| ("a", "b")),
        held = b.held.recv() => held.map(|()| ("b", "a")),
    }
    .unwrap();
    assert_eq!(counts(&gateway, 20).await, map(&[(idle, 20)]));
    a.release.notify_waiters();
    b.release.notify_waiters();
    assert_eq!(hold.await.unwrap(), busy);
    assert_eq!(counts(&gateway, 20).await, map(&[("a", 10), ("b", 10)]));
}

/// Returns the target of each of 60 sessions.
async fn sessions(gateway: &Gateway) -> Vec<String> {
    let client = client();
    let mut targets = Vec::new();
    for session in 0..60 {
        let get = || client.get(gateway.url("/")).header("x-session", format!("session-{session}"));
        let first = text(get()).await;
        assert_eq!(text(get()).await, first, "session {session}");
        targets.push(first);
    }
    targets
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_the_same_header_value_have_the_same_target() {
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    let hash = "balance = { hash = { header = \"X-Session\" } }";
    let three = installation(&[a.address, b.address, c.address], hash, "");
    let gateway = three.start();
    let before = sessions(&gateway).await;
    for name in ["a", "b", "c"] {
        assert!(before.iter().any(|target| target == name), "no session on {name}");
    }
    assert_eq!(counts(&gateway, 30).await, map(&[("a", 10), ("b", 10), ("c", 10)]), "without the header");

    let two = installation(&[a.address, b.address], hash, "");
    let after = sessions(&two.start()).await;
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || before == "c", "moved from {before} to {after}");
    }
    assert!(after.iter().all(|target| target != "c"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_caller_have_the_same_target() {
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    let mut installation =
        installation(&[a.address, b.address, c.address], "balance = { hash = \"caller\" }", "");
    installation.rewrite(|text| text + "api_key = true\n");
    let gateway = installation.start();
    let client = client();
    let get = || client.get(gateway.url("/")).header("x-api-key", &installation.api_key);
    let first = text(get()).await;
    for _ in 0..10 {
        assert_eq!(text(get()).await, first);
    }
}

#[cfg(target_os = "linux")] // Only there, all of 127.0.0.0/8 can be used without configuration.
#[tokio::test(flavor = "multi_thread")]
async fn requests_from_an_address_have_the_same_target() {
    provider();
    let (a, b, c) = (named("a").await, named("b").await, named("c").await);
    let installation =
        installation(&[a.address, b.address, c.address], "balance = { hash = \"address\" }", "");
    let gateway = installation.start();
    let mut found = BTreeMap::<_, usize>::new();
    for last in 1..=30 {
        let from = [127, 0, 0, last].into();
        let client = || Client::builder().no_proxy().timeout(TIMEOUT).local_address(Some(from)).build();
        let first = text(client().unwrap().get(gateway.url("/"))).await;
        assert_eq!(text(client().unwrap().get(gateway.url("/"))).await, first, "127.0.0.{last}");
        *found.entry(first).or_default() += 1;
    }
    assert_eq!(found.len(), 3, "{found:?}");
}
