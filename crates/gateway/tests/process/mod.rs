//! Starts the binary, and an upstream for it.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::{
    fs,
    io::{BufRead, BufReader, PipeReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;

/// A timeout against hanging tests. It is longer than any operation takes.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns an address that no process listens on.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).output().unwrap()
}

/// A configuration in a folder of its own, with the keys that `init` printed.
pub struct Installation {
    pub folder: TempDir,
    pub address: SocketAddr,
    pub api_key: String,
    pub operator_token: String,
}

impl Installation {
    /// Creates an installation with the route `/` to an upstream, with the given policies.
    pub fn new(upstream: SocketAddr, policies: &str) -> Self {
        Self::with(upstream, policies, "", "")
    }

    /// Creates an installation with additional lines in `[upstreams.up]`, and at the top of the file.
    pub fn with(upstream: SocketAddr, policies: &str, of_upstream: &str, of_file: &str) -> Self {
        let address = free_address();
        let text = format!(
            r#"
{of_file}
store.path = "data/portcullis.db"
secrets.file = "data/secrets.toml"
[[listeners]]
address = "{address}"
[[plans]]
id = "demo"
limits = [{{ name = "hour", quota = 20000, window = 3600 }}]
[upstreams.up]
address = "{upstream}"
{of_upstream}
[[routes]]
path = "/"
upstream = "up"
[routes.policies]
{policies}
[[routes]]
path = "/v1/api_clients"
surface = "discue"
[[routes]]
path = "/v1/api_keys"
surface = "discue"
[[routes]]
path = "/v1"
surface = "apig"
[[routes]]
path = "/v2"
surface = "apig"
"#
        );
        Self::from_text(&text, address)
    }

    pub fn from_text(text: &str, address: SocketAddr) -> Self {
        let mut installation = Self::uninitialised(text, address);
        let made = installation.init();
        let shown = |label: &str| {
            let line = made.lines().find(|line| line.trim_start().starts_with(label));
            line.and_then(|line| line.split_whitespace().last()).unwrap_or_default().to_owned()
        };
        (installation.api_key, installation.operator_token) = (shown("API key"), shown("Operator token"));
        installation
    }

    /// Creates an installation with routes to an upstream that apps use with an AppCode while they are authorized.
    pub fn with_granted_routes(upstream: SocketAddr, names: &[&str]) -> Self {
        let address = free_address();
        let route = |name: &&str| {
            format!(
                "[[routes]]\npath = \"/{name}\"\nname = \"{name}\"\nupstream = \"up\"\n\
                 [routes.policies]\napi_key = {{ sources = [\"X-Apig-AppCode\"] }}\ngrants = true\n"
            )
        };
        let routes: String = names.iter().map(route).collect();
        let text = format!(
            "store.path = \"data/p.db\"\nsecrets.file = \"data/s.toml\"\nlisteners = [{{ address = \"{address}\" }}]\n\
             [upstreams.up]\naddress = \"{upstream}\"\n{routes}[[routes]]\npath = \"/v2\"\nsurface = \"apig\"\n",
        );
        Self::from_text(&text, address)
    }

    /// Creates only the configuration, without running `init`.
    pub fn uninitialised(text: &str, address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gateway.toml"), text).unwrap();
        Self { folder, address, api_key: String::new(), operator_token: String::new() }
    }

    /// Rewrites the configuration.
    pub fn rewrite(&mut self, rewrite: impl FnOnce(String) -> String) {
        let file = self.folder.path().join("gateway.toml");
        fs::write(&file, rewrite(fs::read_to_string(&file).unwrap())).unwrap();
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("data/portcullis.db")
    }

    pub fn init(&self) -> String {
        let output = self.command("init").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command
            .args(name.split(' '))
            .args(["--config", "gateway.toml"])
            .current_dir(self.folder.path())
            .env_remove("RUST_LOG");
        command
    }

    pub fn start(&self) -> Gateway {
        self.start_by(self.command("serve"))
    }

    /// Starts the gateway with the given command.
    pub fn start_by(&self, mut command: Command) -> Gateway {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = log.clone();
        let reader = thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        self.once_it_listens(Gateway { child, address: self.address, log, reader: Some(reader) })
    }

    /// Starts the gateway with one pipe for standard output and standard error. The reading end is returned, and
    /// nothing is read from it.
    pub fn start_unread(&self) -> (Gateway, PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = self.command("serve");
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let gateway = Gateway { child, address: self.address, log, reader: None };
        (self.once_it_listens(gateway), reader)
    }

    fn once_it_listens(&self, mut gateway: Gateway) -> Gateway {
        let deadline = Instant::now() + TIMEOUT;
        while !listens(self.address) {
            assert!(gateway.child.try_wait().unwrap().is_none(), "ended early: {:?}", gateway.log());
            assert!(Instant::now() < deadline, "does not listen: {:?}", gateway.log());
            thread::yield_now();
        }
        gateway
    }
}

/// Returns `true` if another process listens on the address. After many attempts, a socket can be connected to itself.
pub fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok_and(|stream| stream.local_addr().ok() != stream.peer_addr().ok())
}

/// A running gateway. It is killed on drop.
pub struct Gateway {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Gateway {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops the gateway after it has served its requests, and returns its log.
    pub fn end(mut self) -> Vec<String> {
        self.signal("-TERM");
        self.wait();
        self.reader.take().unwrap().join().unwrap();
        self.log()
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        client().get(self.url(path))
    }

    pub fn put(&self, path: &str) -> RequestBuilder {
        client().put(self.url(path))
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        client().post(self.url(path))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Returns the line of the access log for a path, and waits until it is written.
    pub fn access(&self, path: &str) -> Value {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let lines = self.log();
            let values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut ours = values.filter(|line| line["target"] == "access" && line["path"] == path);
            if let Some(line) = ours.next_back() {
                return line;
            }
            assert!(Instant::now() < deadline, "no line about {path}: {lines:?}");
            thread::yield_now();
        }
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "does not end");
            thread::yield_now();
        }
    }

    /// Sends bytes to the gateway and reads until the connection is closed.
    pub fn raw(&self, bytes: &[u8]) -> String {
        raw(self.address, bytes)
    }
}

/// Sends bytes and reads until the connection is closed.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Creates a client with connections of its own.
pub fn client() -> Client {
    provider();
    Client::builder().no_proxy().timeout(TIMEOUT).build().unwrap()
}

/// Creates a client that uses HTTP/2 by prior knowledge.
pub fn http2_client() -> Client {
    provider();
    Client::builder().no_proxy().timeout(TIMEOUT).http2_prior_knowledge().build().unwrap()
}

/// Installs the cryptography of rustls, once.
pub fn provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Creates a self-signed certificate for `localhost`, and writes it and its key.
pub fn certificate(folder: &Path) -> (PathBuf, PathBuf, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key, made.cert.pem())
}

/// A router that is served on an address of its own. Counts its connections.
pub struct Service {
    pub address: SocketAddr,
    pub connections: Arc<std::sync::atomic::AtomicUsize>,
}

impl Service {
    pub async fn start(router: axum::Router) -> Self {
        use std::sync::atomic::Ordering;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = connections.clone();
        let counting = axum::serve::ListenerExt::tap_io(listener, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        tokio::spawn(async move { axum::serve(counting, router).await.unwrap() });
        Self { address, connections }
    }

    /// Starts a service that answers every request with its method, target and headers, as JSON.
    pub async fn echo() -> Self {
        Self::start(axum::Router::new().fallback(echo)).await
    }

    pub fn connections(&self) -> usize {
        self.connections.load(std::sync::atomic::Ordering::SeqCst)
    }
}

pub async fn echo(request: axum::extract::Request) -> axum::Json<Value> {
    let fields: Vec<Value> = request
        .headers()
        .iter()
        .map(|(name, value)| {
            Value::from(vec![name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()])
        })
        .collect();
    let (method, target) = (request.method().to_string(), request.uri().to_string());
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    axum::Json(serde_json::json!({
        "method": method, "target": target, "fields": fields, "bytes": body.len(),
    }))
}

/// Returns all values of a header in an echo response.
pub fn values<'v>(echo: &'v Value, name: &str) -> Vec<&'v str> {
    let fields = echo["fields"].as_array().unwrap();
    fields.iter().filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
}
