//! The targets of an upstream and their addresses.

use std::sync::Arc;

use anyhow::Context;
use futures_util::{FutureExt, future::BoxFuture};

use super::{
    endpoint::{EndpointAddress, EndpointTarget},
    endpoint_set::{Endpoints, TargetAddress},
    tls,
};
use crate::{
    config::{Target, UpstreamPlace, UpstreamProtocol, UpstreamTls},
    gateway::resolver::{Name, ResolvedAddress, Resolver},
};

/// The maximum number of addresses of a name.
const MAX_ADDRESSES: usize = 1_000;

/// Returns the targets with the addresses that are known without a resolver.
///
/// # Errors
/// If the host of a target with TLS cannot be the name of a server.
pub(super) fn known(
    targets: &[Target],
    tls: &UpstreamTls,
) -> anyhow::Result<Vec<(EndpointTarget, Vec<TargetAddress>)>> {
    let known = |(index, target): (usize, &Target)| {
        let address = &target.address;
        let server_name = (address.protocol == UpstreamProtocol::Https).then(|| {
            let host = tls.server_name.clone().unwrap_or_else(|| address.place.host());
            tls::server_name(&host).with_context(|| format!("target {address}"))
        });
        let endpoint = EndpointTarget {
            index,
            protocol: address.protocol,
            server_name: server_name.transpose()?,
            authority: address.authority().into(),
            is_fallback: false,
            weight: target.weight.get(),
        };
        let addresses = match &address.place {
            UpstreamPlace::Socket(address) => vec![TargetAddress::new(EndpointAddress::Socket(*address))],
            UpstreamPlace::Unix(path) => vec![TargetAddress::new(EndpointAddress::Unix(path.clone()))],
            UpstreamPlace::Name { .. } | UpstreamPlace::Srv(_) => Vec::new(),
        };
        Ok((endpoint, addresses))
    };
    targets.iter().enumerate().map(known).collect()
}

/// Returns the tasks that follow the names of targets.
pub(super) fn follow(
    targets: &[Target],
    endpoints: &Arc<Endpoints>,
    resolver: &Resolver,
) -> Vec<BoxFuture<'static, ()>> {
    let task = |(index, target): (usize, &Target)| {
        let name = match target.address.place.clone() {
            UpstreamPlace::Name { host, port } => Name::Host { host, port },
            UpstreamPlace::Srv(name) => Name::Service(name),
            UpstreamPlace::Socket(_) | UpstreamPlace::Unix(_) => return None,
        };
        let endpoints = endpoints.clone();
        let on_change = move |found: Vec<ResolvedAddress>| {
            let found = found.into_iter().take(MAX_ADDRESSES);
            let addresses = found.map(|one| TargetAddress::of_name(one.address, one.weight, one.priority));
            endpoints.replace(index, addresses.collect());
        };
        Some(resolver.clone().follow(name, on_change).map(|_| ()).boxed())
    };
    targets.iter().enumerate().filter_map(task).collect()
}
