//! Requests about authorizations.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{call_context::CallContext, error::ApigError, query::is_searchable};
use crate::openapi::schemas;
use portcullis::{
    model::{EnvironmentId, RouteName, TenantId},
    registry::GrantFilter,
};

/// The request to authorize each of the apps for each of the APIs.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "env_id": "DEFAULT_ENVIRONMENT_RELEASE_ID",
    "app_ids": ["14b399ac-967f-4115-bb62-c0346b4537e9"],
    "api_ids": ["orders"],
}))]
pub(super) struct AuthsBody {
    /// The id of the environment: `DEFAULT_ENVIRONMENT_RELEASE_ID`.
    #[serde(default)]
    #[schema(value_type = String, required = true, pattern = "^DEFAULT_ENVIRONMENT_RELEASE_ID$")]
    pub(super) env_id: Option<String>,
    /// The ids of the apps.
    #[serde(default)]
    #[schema(value_type = Vec<schemas::Id>, required = true, min_items = 1, max_items = 500)]
    pub(super) app_ids: Option<Vec<String>>,
    /// The ids of the APIs.
    #[serde(default)]
    #[schema(value_type = Vec<String>, required = true, min_items = 1, max_items = 500)]
    pub(super) api_ids: Option<Vec<String>>,
}

/// The filters of lists of APIs that an app is, or is not, authorized for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ApisQuery {
    /// The id of the app. Mandatory.
    #[param(value_type = schemas::Id, required = true)]
    app_id: Option<String>,
    /// Only the API with this id.
    #[param(value_type = schemas::MaybeId, required = false)]
    api_id: Option<String>,
    /// Only APIs with this text in their name.
    #[param(value_type = schemas::Text, required = false)]
    api_name: Option<String>,
    /// Only APIs of this group. There are no groups: with a value, the list is empty.
    #[param(value_type = String, required = false)]
    group_id: Option<String>,
    /// Only APIs of groups with this text in their name. There are no groups: with a value, the list is empty.
    #[param(value_type = String, required = false)]
    group_name: Option<String>,
    /// Only this environment. Mandatory for the list of APIs that the app is not authorized for.
    #[param(ignore)]
    env_id: Option<String>,
}

/// The filters of a list of apps that are authorized for an API.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AppsOfQuery {
    /// Only the API with this id.
    #[param(value_type = schemas::MaybeId, required = false)]
    api_id: Option<String>,
    /// Only apps with this text in their name.
    #[param(value_type = schemas::Text, required = false)]
    app_name: Option<String>,
    /// Only the app with this id.
    #[param(value_type = schemas::MaybeId, required = false)]
    app_id: Option<String>,
    /// Only authorizations in this environment.
    #[param(value_type = schemas::MaybeId, required = false)]
    env_id: Option<String>,
}

/// Returns a parameter that has a value; an empty value counts as absent.
pub(super) fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// Returns a text to search names for.
pub(super) fn plain(text: Option<&String>, name: &'static str) -> Result<Option<String>, ApigError> {
    match given(text) {
        Some(text) if !is_searchable(text) => Err(ApigError::NotSupported(name)),
        text => Ok(text.map(String::from)),
    }
}

fn parsed<I: std::str::FromStr>(text: Option<&String>, name: &'static str) -> Result<Option<I>, ApigError> {
    given(text).map(str::parse).transpose().map_err(|_| ApigError::NotSupported(name))
}

impl ApisQuery {
    pub(super) fn app_id(&self) -> Result<&str, ApigError> {
        given(self.app_id.as_ref()).ok_or(ApigError::Missing("app_id"))
    }

    pub(super) fn environment(&self) -> Option<&str> {
        given(self.env_id.as_ref())
    }

    /// Returns the filter for the grants, of any app; `None` if no grant can match.
    pub(super) fn grants(&self, tenant: &TenantId) -> Result<Option<GrantFilter>, ApigError> {
        let grants = GrantFilter {
            tenant: Some(tenant.clone()),
            route: parsed::<RouteName>(self.api_id.as_ref(), "api_id")?,
            route_contains: plain(self.api_name.as_ref(), "api_name")?,
            environment: parsed::<EnvironmentId>(self.env_id.as_ref(), "env_id")?,
            ..GrantFilter::default()
        };
        let grouped = given(self.group_id.as_ref()).or_else(|| given(self.group_name.as_ref())).is_some();
        Ok((!grouped).then_some(grants))
    }
}

impl AppsOfQuery {
    /// Returns the filter for the grants, of apps that the token may read.
    pub(super) fn grants(&self, call: &CallContext, tenant: &TenantId) -> Result<GrantFilter, ApigError> {
        let mut callers = call.visible_apps();
        if let Some(id) = given(self.app_id.as_ref()) {
            let id = call.parse_id(id).ok_or(ApigError::NotSupported("app_id"))?;
            let sees = callers.is_none_or(|callers| callers.contains(&id));
            callers = Some(if sees { vec![id] } else { Vec::new() });
        }
        Ok(GrantFilter {
            tenant: Some(tenant.clone()),
            callers,
            caller_contains: plain(self.app_name.as_ref(), "app_name")?,
            route: parsed::<RouteName>(self.api_id.as_ref(), "api_id")?,
            environment: parsed::<EnvironmentId>(self.env_id.as_ref(), "env_id")?,
            ..GrantFilter::default()
        })
    }
}
