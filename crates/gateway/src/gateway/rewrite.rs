//! Changes to the requests and responses of a route.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request, uri::PathAndQuery};

use super::path_rewrite::PathRewrite;
use crate::config::{self, HeaderChanges, HostRewrite};
use portcullis::Denial;

static FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// The changes to the requests of a route before the upstream receives them, and to its responses.
#[derive(Debug)]
pub(super) struct Rewrite {
    path: PathRewrite,
    /// The prefix that is removed from paths, for `X-Forwarded-Prefix`.
    prefix: Option<HeaderValue>,
    host: HostRewrite,
    request: HeaderChanges,
    response: HeaderChanges,
}

impl Rewrite {
    pub(super) fn new(route: &config::Route) -> Option<Arc<Self>> {
        let settings = route.rewrite.as_ref()?;
        let (add, path) = (settings.add_prefix.as_ref(), settings.path.as_ref());
        let path = PathRewrite::new(route, &settings.strip_prefix, add, path, settings.regex.as_ref());
        Some(Arc::new(Self {
            prefix: path.removed_prefix().and_then(|prefix| HeaderValue::from_str(prefix).ok()),
            path,
            host: settings.host.clone(),
            request: settings.request_headers.clone(),
            response: settings.response_headers.clone(),
        }))
    }

    /// Changes the head of a request, which has the headers of the gateway already.
    ///
    /// # Errors
    /// Returns 400 if the path cannot be rewritten.
    pub(super) fn apply(&self, head: &mut request::Parts) -> Result<(), Denial> {
        if let Some(path) = self.path.apply(head.uri.path())? {
            head.uri = with_path(&head.uri, path)?;
        }
        if let Some(prefix) = &self.prefix {
            head.headers.insert(&FORWARDED_PREFIX, prefix.clone());
        }
        if let HostRewrite::Name(name) = &self.host {
            head.headers.insert(header::HOST, name.clone());
        }
        change(&mut head.headers, &self.request);
        Ok(())
    }

    /// Returns `true` if the host of a request is that of the target.
    pub(super) fn uses_host_of_target(&self) -> bool {
        matches!(self.host, HostRewrite::Upstream)
    }

    /// Changes the headers of a response of the upstream.
    pub(super) fn apply_to_response(&self, headers: &mut HeaderMap) {
        change(headers, &self.response);
    }
}

fn change(headers: &mut HeaderMap, changes: &HeaderChanges) {
    for field in &changes.remove {
        headers.remove(field.name());
    }
    for (name, value) in &changes.set.0 {
        headers.insert(name, value.clone());
    }
    for (name, value) in &changes.add.0 {
        headers.append(name, value.clone());
    }
}

/// Returns a target in origin form with another path and the same query.
fn with_path(uri: &Uri, path: String) -> Result<Uri, Denial> {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    PathAndQuery::try_from(target)
        .map(Uri::from)
        .map_err(|_| Denial::bad_request("The rewritten target of the request is not valid."))
}
