//! Excluded configurations: whose limit of a throttling policy is another one.

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::{Access, CallerId, Special, SpecialId, SpecialOf, Tenant, Throttle},
    registry::Callers,
    surface::{
        apig::{
            Apig, Refusal, Version,
            auth_query::{given, plain},
            call::{Asked, in_good_standing},
            fields::count,
            query::{self, PageQuery, contains, page_of},
            show::show,
            spec::Errors,
        },
        content, object,
        spec::words,
        whole,
    },
};

/// The most of each sort that a throttling policy has.
const MOST: usize = 30;

/// The body of a creation; the versions name its members differently.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SpecialBody {
    /// How often it may call in each period.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = words::Count, required = true)]
    call_limits: Option<i64>,
    /// V2: the app's id, or the user's: its project's.
    #[serde(default)]
    #[schema(value_type = words::Id, required = true)]
    object_id: Option<String>,
    /// V2: `APP` or `USER`.
    #[serde(default)]
    #[schema(value_type = words::SpecialOf, required = true)]
    object_type: Option<String>,
    /// V1: as `object_id`.
    #[serde(default)]
    #[schema(value_type = words::Id, required = true)]
    instance_id: Option<String>,
    /// V1: as `object_type`.
    #[serde(default)]
    #[schema(value_type = words::SpecialOf, required = true)]
    instance_type: Option<String>,
    /// V1: the throttling policy.
    #[serde(default)]
    #[schema(value_type = words::Id, required = true)]
    strategy_id: Option<String>,
}

/// The body of a modification.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LimitBody {
    /// How often it may call in each period.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = words::Count, required = true)]
    call_limits: Option<i64>,
}

/// The filters of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SpecialsQuery {
    /// Only `APP`, or only `USER`.
    #[param(value_type = String, required = false, pattern = "^(APP|USER)?$")]
    object_type: Option<String>,
    /// The same in V1.
    #[param(value_type = String, required = false, pattern = "^(APP|USER)?$")]
    instance_type: Option<String>,
    /// Only apps whose name holds this.
    #[param(value_type = words::Text, required = false)]
    app_name: Option<String>,
    /// Only users whose name holds this.
    #[param(value_type = words::Text, required = false)]
    user: Option<String>,
}

/// Members that the versions name differently.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = SpecialObject)]
#[allow(clippy::struct_field_names, reason = "they are the contract's")]
enum Object<'a> {
    /// V1.
    One {
        #[schema(value_type = String)]
        instance_id: Cow<'a, str>,
        #[schema(value_type = words::SpecialOf)]
        instance_type: &'static str,
        #[schema(value_type = String)]
        strategy_id: Cow<'a, str>,
    },
    /// V2.
    Two {
        #[schema(value_type = String)]
        object_id: Cow<'a, str>,
        #[schema(value_type = words::SpecialOf)]
        object_type: &'static str,
        #[schema(value_type = String)]
        throttle_id: Cow<'a, str>,
    },
}

/// An excluded configuration.
#[derive(Serialize, ToSchema)]
struct SpecialInfo<'a> {
    /// Its id.
    #[schema(value_type = String)]
    id: Cow<'a, str>,
    /// How often it may call in each period.
    call_limits: u32,
    /// When it was made.
    apply_time: Timestamp,
    /// The app, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    app_id: Option<Cow<'a, str>>,
    /// The app's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    app_name: Option<&'a str>,
    /// The app's name, or the user's: its id.
    object_name: &'a str,
    #[serde(flatten)]
    object: Object<'a>,
}

/// A page of excluded configurations.
#[derive(Serialize, ToSchema)]
struct SpecialList<'a> {
    /// How many there are on all pages together.
    total: usize,
    /// How many there are on this one.
    size: usize,
    /// These.
    throttle_specials: Vec<SpecialInfo<'a>>,
}

/// A special with the name of its object.
type Named = (Special, String);

fn show_one<'a>(version: Version, throttle: &'a Throttle, (special, name): &'a Named) -> SpecialInfo<'a> {
    let (id, kind) = match &special.of {
        SpecialOf::App(id) => (version.shown(id.as_str()), "APP"),
        SpecialOf::User(id) => (id.into(), "USER"),
    };
    let app = matches!(special.of, SpecialOf::App(_));
    let throttle = version.shown(throttle.id.as_str());
    SpecialInfo {
        id: version.shown(special.id.as_str()),
        call_limits: special.limit.get(),
        apply_time: special.created_at,
        app_id: app.then(|| id.clone()),
        app_name: app.then_some(name.as_str()),
        object_name: name,
        object: match version {
            Version::One => Object::One { instance_id: id, instance_type: kind, strategy_id: throttle },
            Version::Two => Object::Two { object_id: id, object_type: kind, throttle_id: throttle },
        },
    }
}

/// Excludes an app or a user: it has another limit.
///
/// In the second version the path names the throttling policy, in the first the body.
#[utoipa::path(
    post,
    path = "/throttles/{throttle_id}/throttle-specials",
    tag = "throttles",
    operation_id = "create_throttle_special",
    request_body(content = SpecialBody),
    responses((status = 201, description = "The excluded configuration", body = SpecialInfo), Errors),
)]
pub(in super::super::super) async fn create_special(
    State(surface): State<Arc<Apig>>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = Asked::of(&request)?;
    asked.may_all(Access::Write)?;
    let tenant = surface.gateway(&asked).await?;
    let body: SpecialBody = object(&content(request.into_body()).await?)?;
    let of_other = match asked.version {
        Version::One => body.object_id.is_some() || body.object_type.is_some(),
        Version::Two => {
            body.instance_id.is_some() || body.instance_type.is_some() || body.strategy_id.is_some()
        }
    };
    if of_other {
        return Err(crate::Denial::bad_request("Serialization error: a member of the other version").into());
    }
    let (id, kind, throttle) = match asked.version {
        Version::One => {
            let throttle = text(body.strategy_id, "strategy_id")?;
            (text(body.instance_id, "instance_id")?, text(body.instance_type, "instance_type")?, throttle)
        }
        Version::Two => {
            let throttle = asked.segment(1).to_owned();
            (text(body.object_id, "object_id")?, text(body.object_type, "object_type")?, throttle)
        }
    };
    let limit = count(body.call_limits.ok_or(Refusal::Absent("call_limits"))?, "call_limits")?;
    in_good_standing(&tenant)?;
    surface.find_throttle(&asked, &tenant, &throttle).await?;
    let (of, name) = surface.object(&asked, &tenant, &id, &kind).await?;
    let special = Special { id: SpecialId::random(), of, limit, created_at: surface.clock.now().time };
    let after = surface.edit_throttle(&asked, &tenant, &throttle, |throttle| add(throttle, &special)).await?;
    show(StatusCode::CREATED, &show_one(asked.version, &after, &(special, name)))
}

fn add(throttle: &mut Throttle, special: &Special) -> Result<(), Refusal> {
    if throttle.specials.iter().any(|other| other.of == special.of) {
        return Err(Refusal::SpecialTaken);
    }
    let alike = |other: &&Special| is_app(other) == is_app(special);
    if throttle.specials.iter().filter(alike).count() >= MOST {
        return Err(Refusal::FullOfThese);
    }
    throttle.specials.push(special.clone());
    Ok(())
}

fn is_app(special: &Special) -> bool {
    matches!(special.of, SpecialOf::App(_))
}

/// A mandatory member that is a text.
fn text(text: Option<String>, member: &'static str) -> Result<String, Refusal> {
    text.filter(|text| !text.is_empty()).ok_or(Refusal::Absent(member))
}

/// Lists the excluded configurations of a throttling policy.
#[utoipa::path(
    get,
    path = "/throttles/{throttle_id}/throttle-specials",
    tag = "throttles",
    operation_id = "list_throttle_specials",
    params(PageQuery, SpecialsQuery),
    responses((status = 200, description = "A page of them", body = SpecialList), Errors),
)]
pub(in super::super::super) async fn list_specials(
    State(surface): State<Arc<Apig>>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = Asked::of(&request)?;
    asked.may_all(Access::Read)?;
    let tenant = surface.gateway(&asked).await?;
    let page = query::read::<PageQuery>(&request)?.page(asked.version)?;
    let query = query::read::<SpecialsQuery>(&request)?;
    let throttle = surface.find_throttle(&asked, &tenant, asked.segment(1)).await?;
    let kind = given(query.object_type.as_ref()).or_else(|| given(query.instance_type.as_ref()));
    if kind.is_some_and(|kind| kind != "APP" && kind != "USER") {
        return Err(Refusal::NotTaken("object_type"));
    }
    let app_name = plain(query.app_name.as_ref(), "app_name")?;
    let user = plain(query.user.as_ref(), "user")?;
    let named = surface.named(&asked, &tenant, &throttle).await?;
    let wanted = |(special, name): &&Named| {
        let app = is_app(special);
        kind.is_none_or(|kind| (kind == "APP") == app)
            && app_name.as_ref().is_none_or(|text| app && contains(name, text))
            && user.as_ref().is_none_or(|text| !app && contains(name, text))
    };
    let found: Vec<_> = named.iter().rev().filter(wanted).collect();
    let throttle_specials: Vec<_> =
        page_of(&found, page).iter().map(|named| show_one(asked.version, &throttle, named)).collect();
    show(
        StatusCode::OK,
        &SpecialList { total: found.len(), size: throttle_specials.len(), throttle_specials },
    )
}

/// Changes an excluded configuration.
#[utoipa::path(
    put,
    path = "/throttles/{throttle_id}/throttle-specials/{special_id}",
    tag = "throttles",
    operation_id = "update_throttle_special",
    request_body(content = LimitBody),
    responses((status = 200, description = "The excluded configuration", body = SpecialInfo), Errors),
)]
pub(in super::super::super) async fn modify_special(
    State(surface): State<Arc<Apig>>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = Asked::of(&request)?;
    asked.may_all(Access::Write)?;
    let tenant = surface.gateway(&asked).await?;
    let LimitBody { call_limits } = object(&content(request.into_body()).await?)?;
    let limit = count(call_limits.ok_or(Refusal::Absent("call_limits"))?, "call_limits")?;
    in_good_standing(&tenant)?;
    let id: SpecialId = asked.kept(asked.segment(3)).ok_or(Refusal::UnknownSpecial)?;
    let edit = |throttle: &mut Throttle| {
        let special = throttle.specials.iter_mut().find(|special| special.id == id);
        special.ok_or(Refusal::UnknownSpecial)?.limit = limit;
        Ok(())
    };
    let after = surface.edit_throttle(&asked, &tenant, asked.segment(1), edit).await?;
    let named = surface.named(&asked, &tenant, &after).await?;
    let named = named.iter().find(|(special, _)| special.id == id).ok_or(Refusal::UnknownSpecial)?;
    show(StatusCode::OK, &show_one(asked.version, &after, named))
}

/// Deletes an excluded configuration.
#[utoipa::path(
    delete,
    path = "/throttles/{throttle_id}/throttle-specials/{special_id}",
    tag = "throttles",
    operation_id = "delete_throttle_special",
    responses((status = 204, description = "It is gone"), Errors),
)]
pub(in super::super::super) async fn delete_special(
    State(surface): State<Arc<Apig>>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = Asked::of(&request)?;
    asked.may_all(Access::Write)?;
    let tenant = surface.gateway(&asked).await?;
    let id: SpecialId = asked.kept(asked.segment(3)).ok_or(Refusal::UnknownSpecial)?;
    let edit = |throttle: &mut Throttle| {
        let before = throttle.specials.len();
        throttle.specials.retain(|special| special.id != id);
        if throttle.specials.len() < before { Ok(()) } else { Err(Refusal::UnknownSpecial) }
    };
    surface.edit_throttle(&asked, &tenant, asked.segment(1), edit).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Apig {
    /// What a body names, with its name: an app of the gateway, or its one user.
    async fn object(
        &self,
        asked: &Asked,
        tenant: &Tenant,
        id: &str,
        kind: &str,
    ) -> Result<(SpecialOf, String), Refusal> {
        let (id_member, kind_member) = match asked.version {
            Version::One => ("instance_id", "instance_type"),
            Version::Two => ("object_id", "object_type"),
        };
        match kind {
            "APP" => {
                let app: CallerId = asked.kept(id).ok_or_else(|| asked.no_app(id))?;
                let caller = self.find(tenant, &app, asked).await?;
                Ok((SpecialOf::App(app), caller.name))
            }
            "USER" if id == asked.project => Ok((SpecialOf::User(id.to_owned()), id.to_owned())),
            "USER" => Err(Refusal::NotTaken(id_member)),
            _ => Err(Refusal::NoneOfThese(kind_member)),
        }
    }

    /// All of a throttling policy's, each with the name of its object.
    async fn named(
        &self,
        asked: &Asked,
        tenant: &Tenant,
        throttle: &Throttle,
    ) -> Result<Vec<Named>, Refusal> {
        let app = |special: &Special| match &special.of {
            SpecialOf::App(id) => Some(id.clone()),
            SpecialOf::User(_) => None,
        };
        let among: Vec<_> = throttle.specials.iter().filter_map(app).collect();
        let limit = u32::try_from(among.len()).unwrap_or(u32::MAX);
        let apps = Callers { among: Some(among), limit, ..query::apps(&tenant.id) };
        let apps = self.registry.callers(&apps).await;
        let apps = apps.map_err(|fault| self.refuse(fault, asked.no_instance()))?;
        let name = |special: &Special| match &special.of {
            SpecialOf::App(id) => apps.iter().find(|app| app.id == *id).map(|app| app.name.clone()),
            SpecialOf::User(id) => Some(id.clone()),
        };
        // One whose app was deleted meanwhile is left out.
        let specials = throttle.specials.iter();
        Ok(specials.filter_map(|special| Some((special.clone(), name(special)?))).collect())
    }
}
