//! Operations on throttling policies.

pub(super) mod bindings;
mod fields;
mod show;
pub(super) mod specials;

pub(super) use bindings::{apis_of_throttle, bind, other_apis, throttles_of_api, unbind, unbind_all};
pub(super) use specials::{create_special, delete_special, list_specials, modify_special};

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;

use super::{
    Apig, ApigError,
    call_context::{CallContext, MAX_ATTEMPTS, repeated, too_many_conflicts},
    openapi::Errors,
    query::{self, PageQuery, page_of},
    response::show,
};
use crate::read_body;
use fields::{ThrottleBody, ThrottleFields, ThrottlesQuery};
use portcullis::{
    model::{Access, Actor, Tenant, Throttle, ThrottleId},
    registry::{CreateThrottle, DeleteThrottle, Operation, RegistryError, RegistryExt, UpdateThrottle},
};
use show::{ThrottleInfo, ThrottleList};

/// Creates a throttling policy.
#[utoipa::path(
    post,
    path = "/throttles",
    tag = "throttles",
    operation_id = "create_throttle",
    request_body(content = ThrottleBody),
    responses((status = 201, description = "The throttling policy", body = ThrottleInfo), Errors),
)]
pub(in super::super) async fn create(
    State(surface): State<Arc<Apig>>,
    request: Request,
) -> Result<Response, ApigError> {
    let asked = CallContext::extract(&request)?;
    let tenant = surface.gateway_for(&asked, Access::Write).await?;
    let fields = ThrottleFields::read(&read_body(request.into_body()).await?, asked.version)?;
    let actor = asked.subscriber(&tenant)?;
    let throttle = fields.throttle(&tenant.id, surface.clock.now().time)?;
    let create = CreateThrottle { throttle, most: Some(surface.throttles) };
    let made = surface.registry.run(create, &actor).await;
    let made = made.map_err(|fault| match fault {
        RegistryError::LimitReached(_) => ApigError::FullOfThrottles,
        RegistryError::NameTaken => ApigError::ThrottleTaken,
        fault => surface.refuse(fault, asked.no_instance()),
    })?;
    show(StatusCode::CREATED, &ThrottleInfo::of(asked.version, &made))
}

/// Lists throttling policies, newest first.
#[utoipa::path(
    get,
    path = "/throttles",
    tag = "throttles",
    operation_id = "list_throttles",
    params(PageQuery, ThrottlesQuery),
    responses((status = 200, description = "A page of throttling policies", body = ThrottleList), Errors),
)]
pub(in super::super) async fn list(
    State(surface): State<Arc<Apig>>,
    request: Request,
) -> Result<Response, ApigError> {
    let asked = CallContext::extract(&request)?;
    let tenant = surface.gateway_for(&asked, Access::Read).await?;
    let page = query::read::<PageQuery>(&request)?.page(asked.version)?;
    let wanted = query::read::<ThrottlesQuery>(&request)?.filter(&asked)?;
    let mut all = surface.all_throttles(&asked, &tenant).await?;
    all.retain(wanted);
    let throttles: Vec<_> =
        page_of(&all, page).iter().map(|throttle| ThrottleInfo::of(asked.version, throttle)).collect();
    show(StatusCode::OK, &ThrottleList { total: all.len(), size: throttles.len(), throttles })
}

/// Returns a throttling policy.
#[utoipa::path(
    get,
    path = "/throttles/{throttle_id}",
    tag = "throttles",
    operation_id = "show_throttle",
    responses((status = 200, description = "The throttling policy", body = ThrottleInfo), Errors),
)]
pub(in super::super) async fn read(
    State(surface): State<Arc<Apig>>,
    request: Request,
) -> Result<Response, ApigError> {
    let asked = CallContext::extract(&request)?;
    let tenant = surface.gateway_for(&asked, Access::Read).await?;
    let throttle = surface.find_throttle(&asked, &tenant, asked.segment(1)).await?;
    show(StatusCode::OK, &ThrottleInfo::of(asked.version, &throttle))
}

/// Updates a throttling policy.
#[utoipa::path(
    put,
    path = "/throttles/{throttle_id}",
    tag = "throttles",
    operation_id = "update_throttle",
    request_body(content = ThrottleBody),
    responses((status = 200, description = "The throttling policy", body = ThrottleInfo), Errors),
)]
pub(in super::super) async fn modify(
    State(surface): State<Arc<Apig>>,
    request: Request,
) -> Result<Response, ApigError> {
    let asked = CallContext::extract(&request)?;
    let tenant = surface.gateway_for(&asked, Access::Write).await?;
    let fields = ThrottleFields::read(&read_body(request.into_body()).await?, asked.version)?;
    let actor = asked.subscriber(&tenant)?;
    let edit = |throttle: &mut Throttle| fields.edit(throttle);
    let after = surface.edit_throttle(&asked, &actor, &tenant, asked.segment(1), edit).await?;
    show(StatusCode::OK, &ThrottleInfo::of(asked.version, &after))
}

/// Deletes a throttling policy. It must not be bound to an API.
#[utoipa::path(
    delete,
    path = "/throttles/{throttle_id}",
    tag = "throttles",
    operation_id = "delete_throttle",
    responses((status = 204, description = "Deleted"), Errors),
)]
pub(in super::super) async fn delete(
    State(surface): State<Arc<Apig>>,
    request: Request,
) -> Result<Response, ApigError> {
    let asked = CallContext::extract(&request)?;
    let tenant = surface.gateway_for(&asked, Access::Write).await?;
    let missing = || unknown(&asked, asked.segment(1));
    let id = asked.parse_id(asked.segment(1)).ok_or_else(missing)?;
    let delete = DeleteThrottle { tenant: tenant.id, id, expected: None };
    let gone = surface.registry.run(delete, asked.revoker()).await;
    gone.map_err(|fault| match fault {
        RegistryError::InUse => ApigError::ThrottleBound,
        fault => surface.refuse(fault, missing()),
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn unknown(asked: &CallContext, id: &str) -> ApigError {
    ApigError::UnknownThrottle(repeated(&asked.version.shown(id)))
}

impl Apig {
    async fn all_throttles(&self, asked: &CallContext, tenant: &Tenant) -> Result<Vec<Throttle>, ApigError> {
        let all = self.registry.throttles(&tenant.id).await;
        all.map_err(|fault| self.refuse(fault, asked.no_instance()))
    }

    async fn find_throttle(
        &self,
        asked: &CallContext,
        tenant: &Tenant,
        id: &str,
    ) -> Result<Throttle, ApigError> {
        let missing = || unknown(asked, id);
        let kept: ThrottleId = asked.parse_id(id).ok_or_else(missing)?;
        let found = self.registry.throttle(&tenant.id, &kept).await;
        found.map_err(|fault| self.refuse(fault, missing()))
    }

    /// Applies an edit to the current state of a throttling policy, and returns the updated policy.
    async fn edit_throttle(
        &self,
        asked: &CallContext,
        actor: &Actor,
        tenant: &Tenant,
        id: &str,
        edit: impl Fn(&mut Throttle) -> Result<(), ApigError>,
    ) -> Result<Throttle, ApigError> {
        for _ in 0..MAX_ATTEMPTS {
            let mut throttle = self.find_throttle(asked, tenant, id).await?;
            edit(&mut throttle)?;
            let last = throttle.id.clone();
            if let Some(after) = self.put_throttles(asked, actor, &last, UpdateThrottle(throttle)).await? {
                return Ok(after);
            }
        }
        Err(too_many_conflicts())
    }

    /// Stores edited throttling policies, of which `last` is one, and returns them as stored; `None` if one of them was
    /// changed concurrently.
    async fn put_throttles<O: Operation>(
        &self,
        asked: &CallContext,
        actor: &Actor,
        last: &ThrottleId,
        updates: O,
    ) -> Result<Option<O::Output>, ApigError> {
        match self.registry.run(updates, actor).await {
            Ok(after) => Ok(Some(after)),
            Err(RegistryError::Conflict) => Ok(None),
            Err(RegistryError::NameTaken) => Err(ApigError::ThrottleTaken),
            Err(fault) => Err(self.refuse(fault, unknown(asked, last.as_str()))),
        }
    }
}
