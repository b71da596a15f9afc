//! Extractors: the parts of a request that handlers take as arguments.
//!
//! They run in the order of the arguments, and so do their checks: first the token and its project, then its scopes, the
//! gateway and the app, then the query, and the body last.

use std::{marker::PhantomData, sync::Arc};

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{call_context::CallContext, error::ApigError, query::PageQuery, state::Apig};
use crate::{access::RequiredAccess, parse_object, read_body};
use portcullis::{
    Denial,
    model::{Caller, CallerId, Tenant},
};

pub(super) use crate::access::{Read, Write};

impl<S: Sync> FromRequestParts<S> for CallContext {
    type Rejection = ApigError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApigError> {
        Self::extract(parts)
    }
}

/// The context of a request whose path may name a project other than the token's own.
pub(super) struct AnyProject(pub(super) CallContext);

impl<S: Sync> FromRequestParts<S> for AnyProject {
    type Rejection = ApigError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApigError> {
        CallContext::extract_any_project(parts).map(Self)
    }
}

/// The gateway that the path names. The handler checks the token's scopes for each app.
pub(super) struct Gateway {
    pub(super) call: CallContext,
    pub(super) tenant: Tenant,
}

impl FromRequestParts<Arc<Apig>> for Gateway {
    type Rejection = ApigError;

    async fn from_request_parts(parts: &mut Parts, surface: &Arc<Apig>) -> Result<Self, ApigError> {
        let call = CallContext::extract(parts)?;
        let tenant = surface.gateway(&call).await?;
        Ok(Self { call, tenant })
    }
}

/// The gateway that the path names, for a token with the access to all of its apps.
pub(super) struct WholeGateway<A> {
    pub(super) call: CallContext,
    pub(super) tenant: Tenant,
    access: PhantomData<A>,
}

impl<A: RequiredAccess> FromRequestParts<Arc<Apig>> for WholeGateway<A> {
    type Rejection = ApigError;

    async fn from_request_parts(parts: &mut Parts, surface: &Arc<Apig>) -> Result<Self, ApigError> {
        let call = CallContext::extract(parts)?;
        call.require_full_access(A::ACCESS)?;
        let tenant = surface.gateway(&call).await?;
        Ok(Self { call, tenant, access: PhantomData })
    }
}

/// The id of an app in the path segment `AT`, for a token with the access to this app. The app may not exist.
pub(super) struct NamedApp<A, const AT: usize = 1> {
    pub(super) call: CallContext,
    pub(super) tenant: Tenant,
    pub(super) id: CallerId,
    access: PhantomData<A>,
}

impl<A: RequiredAccess, const AT: usize> FromRequestParts<Arc<Apig>> for NamedApp<A, AT> {
    type Rejection = ApigError;

    async fn from_request_parts(parts: &mut Parts, surface: &Arc<Apig>) -> Result<Self, ApigError> {
        let call = CallContext::extract(parts)?;
        let id = call.app(AT)?;
        call.require_access(A::ACCESS, &id)?;
        let tenant = surface.gateway(&call).await?;
        Ok(Self { call, tenant, id, access: PhantomData })
    }
}

/// The app that the path names, for a token with the access to this app.
pub(super) struct ExistingApp<A> {
    pub(super) call: CallContext,
    pub(super) tenant: Tenant,
    pub(super) app: Caller,
    access: PhantomData<A>,
}

impl<A: RequiredAccess> FromRequestParts<Arc<Apig>> for ExistingApp<A> {
    type Rejection = ApigError;

    async fn from_request_parts(parts: &mut Parts, surface: &Arc<Apig>) -> Result<Self, ApigError> {
        let NamedApp { call, tenant, id, access } = NamedApp::<A>::from_request_parts(parts, surface).await?;
        let app = surface.find(&tenant, &id, &call).await?;
        Ok(Self { call, tenant, app, access })
    }
}

/// The known parameters of a query; unknown parameters are ignored. A known parameter that is repeated is 400.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApigError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApigError> {
        let read = Query::<T>::try_from_uri(&parts.uri).map(|Query(query)| Self(query));
        read.map_err(|error| {
            // Serde names a field of `T` in this error, never a value of the request.
            let text = error.body_text();
            let name = text.split('`').nth(1).unwrap_or("(unknown)");
            Denial::bad_request(format!("The query parameter {name} is repeated.")).into()
        })
    }
}

/// The page of a list: the number of items to skip, and the maximum number of items to return.
pub(super) struct Page(pub(super) (u64, u32));

impl<S: Sync> FromRequestParts<S> for Page {
    type Rejection = ApigError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApigError> {
        let Params(page) = Params::<PageQuery>::from_request_parts(parts, state).await?;
        page.page(CallContext::version_of(parts)?).map(Self)
    }
}

/// The body of a request.
pub(super) struct Content(pub(super) Bytes);

impl<S: Sync> FromRequest<S> for Content {
    type Rejection = ApigError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApigError> {
        Ok(Self(read_body(request.into_body()).await?))
    }
}

/// The body of a request, parsed as an object of the contract.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = ApigError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApigError> {
        let Content(content) = Content::from_request(request, state).await?;
        Ok(Self(parse_object(&content)?))
    }
}
