//! Extractors for axum handlers.

use std::{convert::Infallible, marker::PhantomData};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;

use super::extensions::Unrendered;
use crate::{
    Admission, Caller, Denial,
    denial::Forbidden,
    media::MediaType,
    model::Access,
    policy::missing_credential,
    problem::{self, Problem},
};

/// A handler may return a denial as its error. The [layer](super::PortcullisLayer) around the handler renders it like
/// those of its policies. Unlike those, the request counts towards the limits. Without a layer, it is a problem (RFC
/// 9457).
///
/// ```
/// use portcullis::{Caller, Denial, model::Access};
///
/// async fn order(caller: Caller) -> Result<String, Denial> {
///     if caller.scopes().allow("orders", Access::Read, Some("7")) { Ok("order 7".into()) } else { Err(Denial::NotFound) }
/// }
/// ```
impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        let mut response = problem::render(&self, &Problem, &Admission::default()).map(Into::into);
        response.extensions_mut().insert(Unrendered(self));
        response
    }
}

/// Returns the admission of a request, or a 500 if there is none.
fn admission(parts: &Parts) -> Result<&Admission, Denial> {
    parts.extensions.get().ok_or_else(|| {
        let denial = Denial::internal("there is no PortcullisLayer around this handler");
        // No layer logs it.
        problem::log(&denial);
        denial
    })
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Denial;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denial> {
        Self::from_admission(admission(parts)?).ok_or_else(missing_credential)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Denial;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Denial> {
        admission(parts).map(Self::from_admission)
    }
}

/// A scope that a handler requires, as a type for [`Scoped`].
pub trait RequiredScope {
    /// The kind of resource, such as `orders`.
    const RESOURCE: &'static str;
    /// The access to all resources of the kind.
    const ACCESS: Access;
}

/// Extractor of a caller whose credential has a scope. Otherwise the request is denied with 403.
///
/// ```
/// use portcullis::{model::Access, tower::{RequiredScope, Scoped}};
///
/// struct WriteOrders;
///
/// impl RequiredScope for WriteOrders {
///     const RESOURCE: &str = "orders";
///     const ACCESS: Access = Access::Write;
/// }
///
/// async fn create(caller: Scoped<WriteOrders>) -> String {
///     format!("an order of {}", caller.name())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Scoped<S> {
    caller: Caller,
    scope: PhantomData<fn() -> S>,
}

impl<S> Scoped<S> {
    /// Returns the caller.
    #[must_use]
    pub fn into_caller(self) -> Caller {
        self.caller
    }
}

impl<S> std::ops::Deref for Scoped<S> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl<T: Sync, S: RequiredScope> FromRequestParts<T> for Scoped<S> {
    type Rejection = Denial;

    async fn from_request_parts(parts: &mut Parts, state: &T) -> Result<Self, Denial> {
        let caller = <Caller as FromRequestParts<T>>::from_request_parts(parts, state).await?;
        if caller.allows(S::RESOURCE, S::ACCESS) {
            return Ok(Self { caller, scope: PhantomData });
        }
        Err(Denial::Forbidden(Forbidden::Scope { resource: S::RESOURCE.into(), access: S::ACCESS }))
    }
}

/// Extractor of the media type that [`Accept`](crate::policy::Accept) has negotiated for the response. It is `None` if
/// no policy negotiates.
///
/// ```
/// use axum::response::{IntoResponse, Response};
/// use portcullis::tower::Negotiated;
///
/// async fn orders(Negotiated(media_type): Negotiated) -> Response {
///     match media_type.as_ref().map(|it| it.as_str()) {
///         Some("text/csv") => ([("content-type", "text/csv")], "id\n7\n").into_response(),
///         _ => ([("content-type", "application/json")], "[{\"id\":7}]").into_response(),
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Negotiated(pub Option<MediaType>);

impl<S: Sync> FromRequestParts<S> for Negotiated {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get().and_then(Admission::media_type).cloned()))
    }
}
