//! Extractors: what a handler takes from a request, checked before the handler runs.
//!
//! The checks run in one order: the scopes of the key, the role, the header `Lock-Token`, the body, the query.

use std::marker::PhantomData;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
};

use super::{call_context::CallContext, page::Query, response::ErrorResponse, roles::RequiredRole};

/// The names of the query parameters of an operation. Any other parameter is 400.
pub(super) trait Parameters: Send {
    const KNOWN: &'static [&'static str];
}

/// No query parameters.
pub(super) struct NoParameters;

impl Parameters for NoParameters {
    const KNOWN: &'static [&'static str] = &[];
}

/// The query parameters that select a page of a list.
pub(super) struct PageParameters;

impl Parameters for PageParameters {
    const KNOWN: &'static [&'static str] = &["limit", "after"];
}

/// A request with its body, for an operation that requires the role `R` and has the query parameters `P`.
pub(super) struct Authorized<R, P = NoParameters> {
    pub(super) call: CallContext,
    pub(super) query: Query,
    required: PhantomData<(R, P)>,
}

impl<R: RequiredRole, P: Parameters, S: Sync> FromRequest<S> for Authorized<R, P> {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, ErrorResponse> {
        let needed = R::needed(&request);
        let call = CallContext::extract(request, needed).await?;
        let query = Query::new(&call.uri, P::KNOWN)?;
        Ok(Self { call, query, required: PhantomData })
    }
}

/// A request whose body is not read yet, for an operation that requires the role `R` and has the query parameters `P`.
pub(super) struct Upload<R, P = NoParameters> {
    pub(super) call: CallContext,
    pub(super) query: Query,
    pub(super) body: Body,
    required: PhantomData<(R, P)>,
}

impl<R: RequiredRole, P: Parameters, S: Sync> FromRequest<S> for Upload<R, P> {
    type Rejection = ErrorResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, ErrorResponse> {
        let needed = R::needed(&request);
        let (call, body) = CallContext::extract_head(request, needed)?;
        let query = Query::new(&call.uri, P::KNOWN)?;
        Ok(Self { call, query, body, required: PhantomData })
    }
}
