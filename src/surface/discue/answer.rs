//! What the surface answers: an api client with its links, or a refusal.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde::Serialize;

use crate::{
    Admission, Denial,
    app::Caller,
    problem::{self, Form},
};

/// A denial in the contract's form.
///
/// Boxed, as it is the error of every step on the way to an answer.
pub(super) struct Refused(Box<Denial>);

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Self(Box::new(denial))
    }
}

impl IntoResponse for Refused {
    /// The guard around the surface adds what it knows of the admission.
    fn into_response(self) -> Response {
        problem::answer(&self.0, Form::Discue, &Admission::default()).map(Body::from)
    }
}

#[derive(Serialize)]
struct Document<'a> {
    api_client: Client<'a>,
    #[serde(rename = "_links")]
    links: Links,
}

#[derive(Serialize)]
struct Client<'a> {
    id: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct Links {
    #[serde(rename = "self")]
    own: Link,
}

#[derive(Serialize)]
struct Link {
    href: String,
}

/// An api client, 200.
pub(super) fn show(caller: &Caller, base_url: &str, pretty: bool) -> Result<Response, Refused> {
    let id = caller.id.as_str();
    let href = format!("{}/api_clients/{id}", base_url.trim_end_matches('/'));
    let document =
        Document { api_client: Client { id, name: &caller.name }, links: Links { own: Link { href } } };
    let write = if pretty { serde_json::to_vec_pretty } else { serde_json::to_vec };
    let body = write(&document).map_err(|error| Denial::internal(error.to_string()))?;
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")),
        (
            header::ETAG,
            HeaderValue::try_from(etag(caller)).map_err(|error| Denial::internal(error.to_string()))?,
        ),
    ];
    Ok((fields, body).into_response())
}

/// The strong entity tag of a caller as it is.
pub(super) fn etag(caller: &Caller) -> String {
    format!("\"{}\"", caller.revision)
}
