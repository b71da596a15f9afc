//! Errors of name resolution.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use hickory_resolver::{
    net::{DnsError, NetError, NoRecords},
    proto::{
        op::ResponseCode,
        rr::{Name, RecordType},
    },
};

/// An error for a name that could not be resolved. The text contains the name, the name servers that were asked, and
/// the failure.
#[derive(Debug, Clone, thiserror::Error)]
pub(in crate::gateway) struct ResolveError {
    pub(super) name: Arc<str>,
    pub(super) failure: Failure,
}

/// The reason why a name could not be resolved.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The name does not exist: NXDOMAIN for each spelling of it.
    NoSuchName(Negative),
    /// The name exists, but has no records of the type: NODATA.
    NoRecords(Negative),
    /// The SRV records state that the service is not available (RFC 2782, target `.`).
    NotAvailable(SocketAddr),
    /// The name is not a valid name in DNS.
    InvalidName,
    /// There is no name server, for this reason.
    NoServer(Arc<str>),
    /// The name servers failed, each in its way.
    Servers(Vec<(SocketAddr, ServerFailure)>),
}

/// A response without records: the name server and the absolute names that it was asked for.
#[derive(Debug, Clone)]
pub(super) struct Negative {
    pub(super) server: SocketAddr,
    pub(super) names: Vec<String>,
    /// The record types that were asked for.
    pub(super) kind: &'static str,
}

/// A failure of a name server to answer a query.
#[derive(Debug, Clone)]
pub(super) enum ServerFailure {
    /// There was no response in time.
    NoResponse(Duration),
    /// The response has a code such as SERVFAIL or REFUSED.
    Response(ResponseCode),
    /// The response could not be received or understood.
    Other(String),
}

impl Failure {
    pub(super) fn is_negative(&self) -> bool {
        matches!(self, Self::NoSuchName(_) | Self::NoRecords(_) | Self::NotAvailable(_))
    }

    /// Converts an error of a query to a name server.
    pub(super) fn new(
        error: &NetError,
        server: SocketAddr,
        (name, kind): (&Name, RecordType),
        timeout: Duration,
    ) -> Self {
        let negative = || Negative::new(server, name, kind);
        let failure = match error {
            NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code: code, .. })) => match *code {
                ResponseCode::NXDomain => return Self::NoSuchName(negative()),
                ResponseCode::NoError => return Self::NoRecords(negative()),
                code => ServerFailure::Response(code),
            },
            NetError::Dns(DnsError::ResponseCode(code)) => ServerFailure::Response(*code),
            NetError::Timeout => ServerFailure::NoResponse(timeout),
            NetError::Proto(error) => ServerFailure::Other(format!("malformed response: {error}")),
            NetError::Io(error) => ServerFailure::Other(error.to_string()),
            error => ServerFailure::Other(error.to_string()),
        };
        Self::Servers(vec![(server, failure)])
    }

    /// Combines the negative responses for two spellings of a name, or for its A and AAAA records. A name that exists
    /// in one of them exists.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::NoSuchName(one), Self::NoSuchName(other)) => Self::NoSuchName(one.and(other)),
            (
                Self::NoSuchName(one) | Self::NoRecords(one),
                Self::NoSuchName(other) | Self::NoRecords(other),
            ) => Self::NoRecords(one.and(other)),
            (one, other) if one.is_negative() => other,
            (one, _) => one,
        }
    }
}

impl Negative {
    pub(super) fn new(server: SocketAddr, name: &Name, kind: RecordType) -> Self {
        Self { server, names: vec![name.to_ascii()], kind: kind.into() }
    }

    fn and(mut self, other: Self) -> Self {
        for name in other.names {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
        Self { kind: if self.kind == other.kind { self.kind } else { "address" }, ..self }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.failure {
            Failure::NoSuchName(negative) => {
                write!(f, "{name} does not exist: NXDOMAIN {negative}")
            }
            Failure::NoRecords(negative) => {
                write!(f, "{name} has no {} records: NODATA {negative}", negative.kind)
            }
            Failure::NotAvailable(server) => {
                write!(
                    f,
                    "{name} is not available: name server {server} returned an SRV record with the target \".\""
                )
            }
            Failure::InvalidName => write!(f, "{name} is not a valid name in DNS"),
            Failure::NoServer(reason) => write!(
                f,
                "failed to resolve {name}: there is no name server ({reason}); set dns.servers, or add the name to \
                 /etc/hosts"
            ),
            Failure::Servers(failures) => {
                write!(f, "failed to resolve {name}: ")?;
                for (at, (server, failure)) in failures.iter().enumerate() {
                    let separator = if at == 0 { "" } else { ", " };
                    write!(f, "{separator}name server {server}: {failure}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Negative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from name server {} for {}", self.server, self.names.join(", "))
    }
}

impl fmt::Display for ServerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoResponse(time) => write!(f, "no response within {time:?}"),
            Self::Response(code) => match *code {
                ResponseCode::ServFail => f.write_str("SERVFAIL"),
                ResponseCode::Refused => f.write_str("REFUSED"),
                ResponseCode::FormErr => f.write_str("FORMERR"),
                ResponseCode::NotImp => f.write_str("NOTIMP"),
                code => write!(f, "response code {}: {code}", u16::from(code)),
            },
            Self::Other(text) => f.write_str(text),
        }
    }
}
