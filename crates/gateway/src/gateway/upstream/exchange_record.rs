//! The part of an access log line that the exchange with an upstream adds.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::endpoint::Endpoint;

/// The exchange of a request with an upstream, for its access log line. It is an extension of the request, and only
/// there if the access log is enabled.
#[derive(Debug, Clone, Default)]
pub(in crate::gateway) struct ExchangeRecord(Arc<State>);

#[derive(Debug, Default)]
struct State {
    upstream: OnceLock<Arc<str>>,
    summary: OnceLock<ExchangeSummary>,
}

/// The result of an exchange.
#[derive(Debug)]
pub(in crate::gateway) struct ExchangeSummary {
    /// The target that responded, if one did.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    /// The number of times that the request was sent.
    pub(in crate::gateway) attempts: u8,
    /// The time until the head of the response, or until the failure. It includes the wait for a connection.
    pub(in crate::gateway) duration: Duration,
}

impl ExchangeRecord {
    /// Records that the request is forwarded to an upstream.
    pub(super) fn begin(&self, upstream: &Arc<str>) {
        // There is one exchange for each request.
        let _ = self.0.upstream.set(upstream.clone());
    }

    /// Returns the name of the upstream, if the request was forwarded.
    pub(in crate::gateway) fn upstream(&self) -> Option<&str> {
        self.0.upstream.get().map(|name| &**name)
    }

    /// Sets the result.
    pub(super) fn set(&self, summary: ExchangeSummary) {
        let _ = self.0.summary.set(summary);
    }

    /// Returns the result. There is none if the client was gone before.
    pub(in crate::gateway) fn get(&self) -> Option<&ExchangeSummary> {
        self.0.summary.get()
    }
}

impl ExchangeSummary {
    /// Returns the address of the target that responded.
    pub(in crate::gateway) fn target(&self) -> Option<impl fmt::Display> {
        self.endpoint.as_deref().map(|endpoint| &endpoint.address)
    }
}
