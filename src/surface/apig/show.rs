//! An app as the contract shows it.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;

use super::Refusal;
use crate::{
    Denial,
    app::{Caller, Creator, Status},
};

/// What stands for every secret.
const STARS: &str = "******";

#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    name: &'a str,
    status: u8,
    app_key: &'a str,
    app_secret: &'static str,
    creator: Creator,
    remark: &'a str,
    register_time: Timestamp,
    update_time: Timestamp,
    app_type: &'static str,
}

/// An app, in answer to a request that succeeded.
pub(super) fn show(status: StatusCode, caller: &Caller) -> Result<Response, Refusal> {
    let app = caller.app().ok_or_else(|| Denial::internal("a caller that is no app was to be shown"))?;
    let shown = Shown {
        id: caller.id.as_str(),
        name: &caller.name,
        status: if caller.status == Status::Enabled { 1 } else { 2 },
        app_key: &app.key,
        app_secret: STARS,
        creator: app.creator,
        remark: &app.remark,
        register_time: caller.created_at,
        update_time: caller.updated_at,
        app_type: "apig",
    };
    let body = serde_json::to_vec(&shown).map_err(|error| Denial::internal(error.to_string()))?;
    let media_type = HeaderValue::from_static("application/json");
    Ok((status, [(header::CONTENT_TYPE, media_type)], body).into_response())
}
