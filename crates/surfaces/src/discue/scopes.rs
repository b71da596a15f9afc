//! Scopes in the contract's form, and the rule for scopes that a key may grant.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{call_context::unprocessable, openapi, response::ErrorResponse, validation::resource_id};
use crate::openapi::schemas;
use portcullis::{
    Denial,
    denial::Forbidden,
    model::{Access, CredentialId, Scope, Scopes},
};

/// Resources of scopes that can be granted through the API.
const OPEN: [&str; 6] = ["events", "queues", "listeners", "messages", "schemas", "stats"];
/// Resources of scopes that cannot be granted through the API.
const PROTECTED: [&str; 3] = ["api_clients", "api_keys", "subscriptions"];
/// The target that means all resources of a kind.
const ALL: &str = "*";

/// A scope.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Scope)]
pub(super) struct ScopeJson {
    /// The kind of resource. `api_clients`, `api_keys` and `subscriptions` appear in reads but cannot be granted.
    #[schema(value_type = openapi::Resource)]
    resource: String,
    /// The access; `write` includes `read`.
    #[schema(value_type = schemas::Access)]
    access: Access,
    /// The targets: all resources of the kind, or at least one id.
    #[schema(value_type = openapi::Targets)]
    targets: Targets,
}

/// `"*"`, `["*"]`, or ids.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Targets {
    All(String),
    Listed(Vec<String>),
}

impl Targets {
    /// Returns the validated ids; `None` means all resources.
    fn ids(self) -> Option<Result<Vec<Box<str>>, ErrorResponse>> {
        let is_id = |text: &String| resource_id::<CredentialId>(text).is_some();
        match self {
            Self::All(text) if text == ALL => None,
            Self::Listed(list) if list == [ALL] => None,
            Self::Listed(list) if !list.is_empty() && list.iter().all(is_id) => {
                Some(Ok(list.into_iter().map(Into::into).collect()))
            }
            Self::All(_) | Self::Listed(_) => {
                Some(Err(unprocessable(r#"The targets must be "*", ["*"], or at least one id."#)))
            }
        }
    }
}

/// Returns the scopes that a request grants to a key.
///
/// # Errors
/// 422 for an invalid or protected scope; 403 for a scope that the calling key does not have.
pub(super) fn parse_scopes(
    wanted: impl Iterator<Item = ScopeJson>,
    own: &Scopes,
) -> Result<Scopes, ErrorResponse> {
    let mut scopes = Vec::new();
    for ScopeJson { resource, access, targets } in wanted {
        if PROTECTED.contains(&&*resource) {
            return Err(unprocessable(
                "Scopes for api_clients, api_keys and subscriptions cannot be granted.",
            ));
        }
        if !OPEN.contains(&&*resource) {
            return Err(unprocessable("The resource of a scope is unknown."));
        }
        let targets = targets.ids().transpose()?;
        let has = match &targets {
            None => own.allow(&resource, access, None),
            Some(ids) => ids.iter().all(|id| own.allow(&resource, access, Some(id))),
        };
        if !has {
            return Err(Denial::Forbidden(Forbidden::Scope { resource: resource.into(), access }).into());
        }
        scopes.push(Scope { resource: resource.into(), access, targets });
    }
    Ok(Scopes::Listed(scopes))
}

/// Returns the default scopes of a new key: all scopes of the calling key that it may grant.
pub(super) fn default_scopes(own: &Scopes) -> Scopes {
    Scopes::Listed(match own {
        Scopes::All => OPEN.iter().map(|resource| whole(resource)).collect(),
        Scopes::Listed(list) => {
            list.iter().filter(|scope| !PROTECTED.contains(&&*scope.resource)).cloned().collect()
        }
    })
}

fn whole(resource: &str) -> Scope {
    Scope { resource: resource.into(), access: Access::Write, targets: None }
}

/// Converts the scopes of a key to the contract's form.
pub(super) fn shown(scopes: &Scopes) -> Vec<ScopeJson> {
    let wire = |scope: Scope| ScopeJson {
        resource: scope.resource.into(),
        access: scope.access,
        targets: match scope.targets {
            None => Targets::All(ALL.into()),
            Some(ids) => Targets::Listed(ids.into_iter().map(Into::into).collect()),
        },
    };
    match scopes {
        Scopes::All => OPEN.iter().chain(&PROTECTED).map(|resource| wire(whole(resource))).collect(),
        Scopes::Listed(list) => list.iter().cloned().map(wire).collect(),
    }
}
