//! A surface on a real socket, over a registry in memory and a clock that does not advance by itself.

#![allow(dead_code, reason = "each test takes what it needs")]

pub mod fault_injection;
pub mod pending_request;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use fault_injection::Faulty;
use http::{Extensions, HeaderMap, StatusCode};
use jiff::Timestamp;
use portcullis::{
    clock::{Clock, ManualClock},
    directory::Directory,
    model::{
        Actor, ApigInstance, Caller, CallerId, CallerKind, CredentialId, CredentialKind, GeneratedKey,
        KeyPrefix, Limit, LockId, LockTarget, LockToken, LockedRequests, Pepper, Peppers, Plan, PlanId,
        SealKey, Sealer, Secret, SubscriptionStatus, TenantId, WindowGuarantee,
    },
    registry::{NewCaller, NewCredential, NewLock, NewTenant, Registry, RegistryExt, memory::Memory},
};
use serde_json::Value;

pub fn actor() -> Actor {
    Actor::system("test")
}

pub struct ManagedRegistry {
    pub memory: Arc<Memory>,
    pub registry: Arc<Faulty>,
    pub directory: Arc<Directory>,
    pub clock: Arc<ManualClock>,
    pub sealer: Arc<Sealer>,
    peppers: Peppers,
}

impl ManagedRegistry {
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let memory = Arc::new(Memory::new(clock.clone()));
        let peppers = Peppers::new(Pepper::new(1, &[7; 32]));
        Self {
            registry: Arc::new(Faulty::new(memory.clone())),
            memory,
            directory: Arc::new(Directory::new(peppers.clone())),
            clock,
            sealer: Arc::new(Sealer::new(SealKey::new(1, &[8; 32]))),
            peppers,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now().time
    }

    /// Applies all changes of the registry to the directory.
    pub async fn settle(&self) {
        for change in self.memory.changes(self.directory.applied(), u32::MAX).await.unwrap() {
            self.directory.apply(change);
        }
    }

    pub async fn tenant(&self, id: &str, gateway: Option<ApigInstance>, max_callers: u32) -> TenantId {
        let tenant = NewTenant {
            id: id.parse().unwrap(),
            name: id.into(),
            gateway,
            standing: SubscriptionStatus::Active,
            max_callers,
        };
        let tenant = self.memory.create_tenant(tenant, &actor()).await.unwrap();
        self.settle().await;
        tenant.id
    }

    pub async fn caller(&self, tenant: &str, id: &str, name: &str, kind: CallerKind) -> Caller {
        self.caller_on(tenant, id, name, kind, None).await
    }

    pub async fn caller_on(
        &self,
        tenant: &str,
        id: &str,
        name: &str,
        kind: CallerKind,
        plan: Option<PlanId>,
    ) -> Caller {
        let (id, tenant) = (id.parse().unwrap(), tenant.parse().unwrap());
        let caller = NewCaller { id, tenant, name: name.into(), kind, plan };
        let caller = self.memory.create_caller(caller, &actor()).await.unwrap();
        self.settle().await;
        caller
    }

    /// Stores a plan with one limit. Its burst is the whole quota.
    pub async fn plan(&self, id: &str, quota: u32, window: u32) -> PlanId {
        let limit = Limit::new("limit", quota, window, quota, WindowGuarantee::Average).unwrap();
        let plan = Plan::new(id.parse().unwrap(), vec![limit]).unwrap();
        self.memory.put_plan(plan.clone(), &actor()).await.unwrap();
        self.settle().await;
        plan.id().clone()
    }

    /// Creates a key of a caller.
    pub async fn key(&self, tenant: &str, caller: &str) -> String {
        self.key_with(tenant, caller, |_| {}).await
    }

    pub async fn key_with(
        &self,
        tenant: &str,
        caller: &str,
        edit: impl FnOnce(&mut NewCredential),
    ) -> String {
        let key = GeneratedKey::generate(&KeyPrefix::default());
        let (tenant, caller) = (tenant.parse().unwrap(), caller.parse().unwrap());
        let credential = NewCredential::key(tenant, caller, &key, self.peppers.current());
        let mut credential = NewCredential { name: String::new(), ..credential };
        edit(&mut credential);
        self.memory.create_credential(credential, &actor()).await.unwrap();
        self.settle().await;
        key.expose().to_owned()
    }

    /// Creates a signing credential of a caller, and returns its access key and its secret.
    pub async fn signing(
        &self,
        tenant: &str,
        caller: &str,
        edit: impl FnOnce(&mut NewCredential),
    ) -> (String, String) {
        let (id, secret) = (CredentialId::random(), "secret-test-0001");
        let place = [tenant, "credential", id.as_str(), "secret"];
        let kind = CredentialKind::Signing(self.sealer.seal(&Secret::from(secret.to_owned()), &place));
        let digest = self.peppers.current().digest(id.as_str());
        self.key_with(tenant, caller, |key| {
            (key.id, key.kind, key.digest) = (id.clone(), kind, digest);
            edit(key);
        })
        .await;
        (id.to_string(), secret.to_owned())
    }

    pub async fn lapse(&self, tenant: &str) {
        self.memory
            .set_standing(&tenant.parse().unwrap(), SubscriptionStatus::Lapsed, &actor())
            .await
            .unwrap();
        self.settle().await;
    }

    pub async fn lock(&self, target: LockTarget, covers: LockedRequests, held: Duration) -> LockId {
        let lock = NewLock {
            id: LockId::random(),
            tenant: None,
            target,
            owner: "migration".into(),
            holder: None,
            reason: "being moved".into(),
            covers,
            lasts: held.try_into().unwrap(),
            token: LockToken::generate().digest(),
        };
        let lock = self.memory.acquire_lock(lock, &actor()).await.unwrap();
        self.settle().await;
        lock.id
    }

    pub async fn stored(&self, tenant: &str, id: &str) -> Caller {
        let id: CallerId = id.parse().unwrap();
        self.memory.caller(&tenant.parse().unwrap(), &id).await.unwrap()
    }
}

/// A router on its own socket, with a client.
pub struct Server {
    pub address: SocketAddr,
    client: reqwest::Client,
}

impl Server {
    pub async fn start(router: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        // reqwest needs a crypto provider, even without TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { address, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// Returns the client's address, as a surface is configured to find it.
    pub fn peer(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
    }

    /// Returns a client of this server with another address.
    pub fn at(&self, address: &str) -> Self {
        let from: IpAddr = address.parse().unwrap();
        let client = reqwest::Client::builder().no_proxy().local_address(from).build().unwrap();
        Self { address: self.address, client }
    }

    /// Sends a request with these headers. reqwest adds only those that HTTP requires, and `Accept: */*`.
    pub async fn send(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Answer {
        let url = format!("http://{}{target}", self.address);
        let mut request = self.client.request(method.parse().unwrap(), url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }
}

/// A complete response.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// Returns all values of a header.
    pub fn field(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}
