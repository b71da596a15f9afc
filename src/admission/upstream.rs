//! Changes to a request before an upstream receives it.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};

use super::Admission;
use crate::header_value;

impl Admission {
    /// Returns the target that replaces that of the request, if a policy set one.
    #[must_use]
    pub fn target(&self) -> Option<&Uri> {
        self.target.as_deref()
    }

    /// Replaces the target of the request for the service behind the policies. Policies still see the original one.
    pub fn set_target(&mut self, target: Uri) {
        self.target = Some(Box::new(target));
    }

    /// Prepares a request for the upstream: sets the normalized target, and removes the credential unless the route
    /// forwards it.
    pub fn prepare_upstream<B>(&mut self, request: &mut Request<B>) {
        if let Some(target) = self.target.take() {
            *request.uri_mut() = *target;
        }
        if let Some(name) = &self.response.credential {
            request.headers_mut().remove(name);
        }
    }

    /// Sets a header of an upstream request to the caller's id. A header of this name that the client sent is
    /// removed, in every spelling that servers treat alike, such as `X_Caller.Id`.
    pub fn set_caller_header(&self, headers: &mut HeaderMap, field: &HeaderName) {
        set_own(headers, field, self.caller_header_value());
    }

    /// Sets a header of an upstream request to the [negotiated media type](Self::media_type). A header of this name
    /// that the client sent is removed, like by [`set_caller_header`](Self::set_caller_header).
    pub fn set_media_type_headers(&self, headers: &mut HeaderMap, field: &HeaderName) {
        let chosen = self.media_type().and_then(|chosen| HeaderValue::from_str(chosen.as_str()).ok());
        set_own(headers, field, chosen);
    }

    pub(crate) fn caller_header_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.caller()?.id.as_str()).ok()
    }
}

/// Sets a header that only the gateway may set.
fn set_own(headers: &mut HeaderMap, field: &HeaderName, value: Option<HeaderValue>) {
    let folded =
        |name: &&HeaderName| header_value::eq_ignore_case(name.as_str(), field.as_str()) && *name != field;
    if headers.keys().any(|name| folded(&name)) {
        let names: Vec<HeaderName> = headers.keys().filter(folded).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
    match value {
        Some(value) => headers.insert(field, value),
        None => headers.remove(field),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_headers_are_removed_in_every_spelling() {
        let mut headers = HeaderMap::new();
        for name in ["x-caller-id", "x_caller_id", "x.caller-id", "x-caller-ids"] {
            headers.append(name, HeaderValue::from_static("admin"));
        }
        Admission::default().set_caller_header(&mut headers, &HeaderName::from_static("x-caller-id"));
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-caller-ids"]);
    }
}
