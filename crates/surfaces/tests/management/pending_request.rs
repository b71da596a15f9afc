//! Requests whose credential is revoked after their admission and before they take effect.

use std::net::SocketAddr;

use portcullis::registry::{Registry, RegistryExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{ManagedRegistry, Server, actor};

/// A request that succeeds with an accepted credential.
#[derive(Debug, Clone)]
pub struct Case {
    pub method: &'static str,
    pub target: String,
    pub fields: Vec<(&'static str, String)>,
    pub body: Option<String>,
}

impl Case {
    pub fn new(method: &'static str, target: impl Into<String>, body: Option<String>) -> Self {
        Self { method, target: target.into(), fields: Vec::new(), body }
    }

    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Sends the complete request, and returns the status and the response as text.
    pub async fn send(&self, server: &Server) -> (u16, String) {
        let fields: Vec<_> = self.fields.iter().map(|(name, value)| (*name, &**value)).collect();
        let body = self.body.clone().map(String::into_bytes);
        let answer = server.send(self.method, &self.target, &fields, body).await;
        (answer.status.as_u16(), answer.text)
    }
}

/// An admitted request of whose body only one byte has arrived.
pub struct PendingRequest {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl PendingRequest {
    /// Sends the head of a request and one byte of its body. Returns when the server asks for the body.
    pub async fn begin(address: SocketAddr, case: &Case) -> Self {
        let content = case.body.clone().unwrap_or_default().into_bytes();
        let fields: Vec<String> =
            case.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let fields = fields.concat();
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: {address}\r\n{fields}content-length: {}\r\nexpect: 100-continue\r\n\
             connection: close\r\n\r\n",
            case.method,
            case.target,
            content.len(),
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut wanted = [0; 25];
        stream.read_exact(&mut wanted).await.unwrap();
        assert_eq!(wanted, *b"HTTP/1.1 100 Continue\r\n\r\n", "{case:?}");
        let (first, rest) = content.split_at(1);
        stream.write_all(first).await.unwrap();
        Self { stream, rest: rest.to_owned() }
    }

    /// Sends the rest of the body, and returns the status and the response as text.
    pub async fn end(mut self) -> (u16, String) {
        self.stream.write_all(&self.rest).await.unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }
}

/// The rights that a credential can lose while its request is in progress.
#[derive(Debug, Clone, Copy)]
pub enum Loss {
    Deleted,
    Disabled,
    Expired,
    Narrowed,
    CallerDisabled,
}

impl Loss {
    pub const ALL: [Self; 5] =
        [Self::Deleted, Self::Disabled, Self::Expired, Self::Narrowed, Self::CallerDisabled];

    /// Applies the loss to a credential in the store. The directory learns of it later.
    pub async fn take(self, registry: &impl Registry, tenant: &str, key: &str, now: jiff::Timestamp) {
        use portcullis::model::{CallerEdit, CredentialEdit, Scopes, Status};

        let (tenant, id) = (tenant.parse().unwrap(), key.parse().unwrap());
        let key = registry.credential(&tenant, &id).await.unwrap();
        let edit = match self {
            Self::Deleted => return registry.delete_credential(&tenant, &id, None, &actor()).await.unwrap(),
            Self::CallerDisabled => {
                let edit = CallerEdit { status: Some(Status::Disabled), ..CallerEdit::default() };
                registry.update_caller(&tenant, &key.caller, None, edit, &actor()).await.unwrap();
                return;
            }
            Self::Disabled => CredentialEdit { status: Some(Status::Disabled), ..CredentialEdit::default() },
            Self::Expired => CredentialEdit { not_after: Some(Some(now)), ..CredentialEdit::default() },
            Self::Narrowed => {
                let scopes = Some(Scopes::Listed(vec![]));
                CredentialEdit { scopes, ..CredentialEdit::default() }
            }
        };
        registry.update_credential(&tenant, &id, None, edit, &actor()).await.unwrap();
    }
}

impl ManagedRegistry {
    /// Asserts that a request is denied with 401 and changes nothing if its credential is revoked right after its
    /// admission: before the handler's first access to the store and, if the request has a body, while the body
    /// arrives.
    pub async fn assert_needs_its_credential(&self, server: &Server, case: &Case, tenant: &str, key: &str) {
        let before = self.memory.last_change().await.unwrap();
        self.registry.revoke_before_next(tenant.parse().unwrap(), key.parse().unwrap());
        let (status, answer) = case.send(server).await;
        assert_eq!(status, 401, "{case:?} {answer}");
        // The revocation is the only change.
        assert_eq!(self.memory.last_change().await.unwrap(), before + 1, "{case:?}");
    }

    /// Asserts that a request is denied with 401 and changes nothing if its credential suffers a loss while the
    /// body arrives.
    pub async fn assert_refused_underway(
        &self,
        server: &Server,
        case: &Case,
        (tenant, key): (&str, &str),
        loss: Loss,
    ) {
        let underway = PendingRequest::begin(server.address, case).await;
        loss.take(&*self.memory, tenant, key, self.now()).await;
        let before = self.memory.last_change().await.unwrap();
        self.settle().await;
        let (status, answer) = underway.end().await;
        assert_eq!(status, 401, "{loss:?} {case:?} {answer}");
        assert!(answer.contains("www-authenticate: "), "{answer}");
        assert_eq!(self.memory.last_change().await.unwrap(), before, "{loss:?} {case:?}");
    }
}
