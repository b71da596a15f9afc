//! Scopes as the contract writes them, and which of them a key may give another.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{response::ErrorResponse, call_context::unprocessable, validation::resource_id, openapi};
use crate::{
    Denial,
    model::{Access, CredentialId, Scope, Scopes},
    denial::Forbidden,
    surface::openapi::schemas,
};

/// What scopes that are given through the API may name.
const OPEN: [&str; 6] = ["events", "queues", "listeners", "messages", "schemas", "stats"];
/// What is given otherwise.
const PROTECTED: [&str; 3] = ["api_clients", "api_keys", "subscriptions"];
/// All resources of a kind.
const ALL: &str = "*";

/// A scope.
#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Scope)]
pub(super) struct ScopeJson {
    /// The kind of resource; `api_clients`, `api_keys` and `subscriptions` are shown, and cannot be given.
    #[schema(value_type = openapi::Resource)]
    resource: String,
    /// How deep; writing includes reading.
    #[schema(value_type = schemas::Access)]
    access: Access,
    /// Which of the kind: all of them, or at least one.
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
    /// The ids; `None` is all.
    fn ids(self) -> Option<Result<Vec<Box<str>>, ErrorResponse>> {
        let is_id = |text: &String| resource_id::<CredentialId>(text).is_some();
        match self {
            Self::All(text) if text == ALL => None,
            Self::Listed(list) if list == [ALL] => None,
            Self::Listed(list) if !list.is_empty() && list.iter().all(is_id) => {
                Some(Ok(list.into_iter().map(Into::into).collect()))
            }
            Self::All(_) | Self::Listed(_) => {
                Some(Err(unprocessable(r#"Targets are "*", ["*"], or at least one id."#)))
            }
        }
    }
}

/// The scopes that a request gives a key.
///
/// # Errors
/// 422 for what is none, or protected; 403 for what the asking key has not itself.
pub(super) fn parse_scopes(wanted: impl Iterator<Item = ScopeJson>, own: &Scopes) -> Result<Scopes, ErrorResponse> {
    let mut scopes = Vec::new();
    for ScopeJson { resource, access, targets } in wanted {
        if PROTECTED.contains(&&*resource) {
            return Err(unprocessable(
                "api_clients, api_keys and subscriptions are not given through the API.",
            ));
        }
        if !OPEN.contains(&&*resource) {
            return Err(unprocessable("There is no such resource for a scope."));
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

/// What a new key may do when nobody says: all that its maker may and can give.
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

/// A key's scopes as they are shown.
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
