//! A surface on a real socket, over a registry in memory and a clock that stands still.

#![allow(dead_code, reason = "each test takes what it needs")]

pub mod faulty;
pub mod underway;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use faulty::Faulty;
use http::{Extensions, HeaderMap, StatusCode};
use jiff::Timestamp;
use portcullis::{
    model::{
        Actor, GeneratedKey, Caller, CallerId, CallerKind, LockedRequests, Credential, CredentialId, CredentialKind,
        ApigInstance, KeyPrefix, Limit, LockId, LockToken, Pepper, Peppers, Plan, PlanId, WindowGuarantee, SealKey,
        Sealer, Secret, SubscriptionStatus, Status, LockTarget, Tenant, TenantId,
    },
    clock::{Clock, ManualClock},
    directory::Directory,
    registry::{NewCaller, NewLock, Registry, memory::Memory},
};
use serde_json::Value;

pub fn actor() -> Actor {
    Actor::system("test")
}

pub struct World {
    pub memory: Arc<Memory>,
    pub registry: Arc<Faulty>,
    pub directory: Arc<Directory>,
    pub clock: Arc<ManualClock>,
    pub sealer: Arc<Sealer>,
    peppers: Peppers,
}

impl World {
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

    /// Brings the directory up to date with the registry.
    pub async fn settle(&self) {
        for change in self.memory.changes(self.directory.applied(), u32::MAX).await.unwrap() {
            self.directory.apply(change);
        }
    }

    pub async fn tenant(&self, id: &str, gateway: Option<ApigInstance>, max_callers: u32) -> TenantId {
        let tenant = Tenant {
            id: id.parse().unwrap(),
            name: id.into(),
            gateway,
            standing: SubscriptionStatus::Active,
            max_callers,
            revision: 0,
            created_at: self.now(),
            updated_at: self.now(),
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

    /// A plan of one limit: so many at once, and one more in each window's share.
    pub async fn plan(&self, id: &str, quota: u32, window: u32) -> PlanId {
        let limit = Limit::new("limit", quota, window, quota, WindowGuarantee::Average).unwrap();
        let plan = Plan::new(id.parse().unwrap(), vec![limit]).unwrap();
        self.memory.put_plan(plan.clone(), &actor()).await.unwrap();
        self.settle().await;
        plan.id().clone()
    }

    /// A new key of a caller.
    pub async fn key(&self, tenant: &str, caller: &str) -> String {
        self.key_with(tenant, caller, |_| {}).await
    }

    pub async fn key_with(&self, tenant: &str, caller: &str, edit: impl FnOnce(&mut Credential)) -> String {
        let key = GeneratedKey::generate(&KeyPrefix::default());
        let mut credential = Credential {
            id: CredentialId::random(),
            tenant: tenant.parse().unwrap(),
            caller: caller.parse().unwrap(),
            name: String::new(),
            digest: self.peppers.current().digest(key.expose()),
            pepper: 1,
            kind: CredentialKind::Key,
            hint: key.hint().into(),
            status: Status::Enabled,
            scopes: portcullis::model::Scopes::All,
            not_after: None,
            deprecated_at: None,
            replaced_by: None,
            revision: 0,
            created_at: self.now(),
            updated_at: self.now(),
        };
        edit(&mut credential);
        self.memory.create_credential(credential, &actor()).await.unwrap();
        self.settle().await;
        key.expose().to_owned()
    }

    /// A new access key of a caller, and the secret that signs under it.
    pub async fn signing(
        &self,
        tenant: &str,
        caller: &str,
        edit: impl FnOnce(&mut Credential),
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
        self.memory.set_standing(&tenant.parse().unwrap(), SubscriptionStatus::Lapsed, &actor()).await.unwrap();
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

/// A router on a socket of its own, and a client of it.
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
        // The client wants to know, though nothing here is encrypted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { address, client: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    /// Finds who asks, as a surface is told to.
    pub fn peer(extensions: &Extensions) -> Option<IpAddr> {
        extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
    }

    /// The same server, asked from another address.
    pub fn at(&self, address: &str) -> Self {
        let from: IpAddr = address.parse().unwrap();
        let client = reqwest::Client::builder().no_proxy().local_address(from).build().unwrap();
        Self { address: self.address, client }
    }

    /// Sends a request with these fields, and no others but what HTTP itself needs and `Accept: */*`.
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

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// All values of a field.
    pub fn field(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}
