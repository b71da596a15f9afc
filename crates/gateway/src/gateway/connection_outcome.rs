//! The outcomes of connection attempts.

/// The outcome of a connection attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionOutcome {
    /// The connection is served.
    Served,
    /// `limits.connections` is reached.
    Limit,
    /// `limits.connections_per_address` is reached for the client's address.
    AddressLimit,
    /// The TLS handshake failed or timed out.
    TlsError,
}

impl ConnectionOutcome {
    pub(super) const ALL: [Self; 4] = [Self::Served, Self::Limit, Self::AddressLimit, Self::TlsError];

    /// Returns the name in metrics and log lines.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Limit => "limit",
            Self::AddressLimit => "address_limit",
            Self::TlsError => "tls_error",
        }
    }
}
