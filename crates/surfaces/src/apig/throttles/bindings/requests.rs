//! Requests about bindings of throttling policies.

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    apig::{
        auth_request::{given, plain},
        error::ApigError,
        extract::Params,
        query::contains,
    },
    openapi::schemas,
};
use portcullis::model::{EnvironmentId, RouteName};

/// The request to bind a throttling policy to APIs.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({ "strategy_id": "none", "publish_ids": ["orders"] }))]
pub(in crate::apig) struct BindBody {
    /// The id of the throttling policy.
    #[serde(default)]
    #[schema(value_type = schemas::Id, required = true)]
    pub(super) strategy_id: Option<String>,
    /// The ids of the APIs' publications, which are the ids of the APIs.
    #[serde(default)]
    #[schema(value_type = Vec<schemas::Id>, required = true, min_items = 1, max_items = 500)]
    pub(super) publish_ids: Option<Vec<String>>,
}

/// The request to unbind many APIs.
#[derive(Deserialize, ToSchema)]
pub(in crate::apig) struct UnbindBody {
    /// The ids of the bindings to remove.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>, required = false, max_items = 500)]
    pub(super) throttle_bindings: Option<Vec<String>>,
}

/// The action on many bindings.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ActionQuery {
    /// The action. Mandatory, always `delete`.
    #[param(value_type = String, required = true, pattern = "^delete$")]
    action: Option<String>,
}

/// The action `delete` in the query. It is checked before the body.
pub(in crate::apig) struct Delete;

impl<S: Sync> FromRequestParts<S> for Delete {
    type Rejection = ApigError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApigError> {
        let Params(query) = Params::<ActionQuery>::from_request_parts(parts, state).await?;
        match given(query.action.as_ref()) {
            None => Err(ApigError::Missing("action")),
            Some("delete") => Ok(Self),
            Some(_) => Err(ApigError::Invalid("action")),
        }
    }
}

/// The filters of lists of APIs that a throttling policy is, or is not, bound to.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::apig) struct ApisQuery {
    /// The id of the throttling policy. Mandatory.
    #[param(value_type = schemas::Id, required = true)]
    throttle_id: Option<String>,
    /// Only bindings in this environment.
    #[param(value_type = String, required = false)]
    env_id: Option<String>,
    /// Only APIs of this group. There are no groups: with a value, the list is empty.
    #[param(value_type = String, required = false)]
    group_id: Option<String>,
    /// Only the API with this id.
    #[param(value_type = schemas::Text, required = false)]
    api_id: Option<String>,
    /// Only APIs with this text in their name.
    #[param(value_type = schemas::Text, required = false)]
    api_name: Option<String>,
}

/// The filters of a list of throttling policies that are bound to an API.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::apig) struct ThrottlesOfQuery {
    /// The id of the API. Mandatory.
    #[param(value_type = schemas::Id, required = true)]
    pub(super) api_id: Option<String>,
    /// Only the throttling policy with this id.
    #[param(value_type = schemas::MaybeId, required = false)]
    pub(super) throttle_id: Option<String>,
    /// Only throttling policies with this text in their name.
    #[param(value_type = schemas::Text, required = false)]
    pub(super) throttle_name: Option<String>,
    /// Only bindings in this environment.
    #[param(value_type = String, required = false)]
    pub(super) env_id: Option<String>,
}

impl ApisQuery {
    pub(super) fn throttle_id(&self) -> Result<&str, ApigError> {
        given(self.throttle_id.as_ref()).ok_or(ApigError::Missing("throttle_id"))
    }

    /// Returns the test for the APIs of the list.
    pub(super) fn filter(&self) -> Result<impl Fn(&RouteName) -> bool, ApigError> {
        let name = plain(self.api_name.as_ref(), "api_name")?;
        let id = plain(self.api_id.as_ref(), "api_id")?;
        let none = given(self.group_id.as_ref()).is_some() || !released(self.env_id.as_ref());
        Ok(move |api: &RouteName| {
            !none
                && id.as_ref().is_none_or(|id| api.as_str() == id)
                && name.as_ref().is_none_or(|text| contains(api.as_str(), text))
        })
    }
}

/// Returns `true` if a parameter names the only environment, or none.
pub(super) fn released(environment: Option<&String>) -> bool {
    given(environment).is_none_or(|id| id == EnvironmentId::RELEASE)
}
