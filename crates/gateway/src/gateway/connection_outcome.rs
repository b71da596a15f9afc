//! The outcomes of connection attempts.

/// The outcome of a connection attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionOutcome {
    /// The connection is served.
    Served,
    /// `limits.connections` is reached.
    NoPlace,
    /// `limits.connections_per_address` is reached for the client's address.
    NoPlaceForAddress,
    /// The TLS handshake failed or timed out.
    NoHandshake,
}

impl ConnectionOutcome {
    pub(super) const ALL: [Self; 4] =
        [Self::Served, Self::NoPlace, Self::NoPlaceForAddress, Self::NoHandshake];

    /// Returns the name in metrics and log lines.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::NoPlace => "limit",
            Self::NoPlaceForAddress => "address_limit",
            Self::NoHandshake => "tls_error",
        }
    }
}
