//! The error format of discue.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use portcullis::{
    Denial,
    problem::{RenderDenial, RenderedDenial},
};

static JSON_IN_UTF_8: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// The error format of discue: `{"title","status"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorFormat {
    /// On one line.
    #[default]
    Compact,
    /// On several lines: for a request with `?pretty=true`.
    Pretty,
}

impl RenderDenial for ErrorFormat {
    fn render(&self, denial: &Denial) -> RenderedDenial {
        // Responses about management are not stored, including denials before a surface.
        RenderedDenial::new(JSON_IN_UTF_8.clone(), self.body(denial.status())).no_store()
    }
}

impl ErrorFormat {
    /// Returns the body of an error, which depends on the status alone.
    pub(super) fn body(self, status: StatusCode) -> Bytes {
        let title = status.canonical_reason().unwrap_or_default();
        let error = ErrorBody { title, status: status.as_u16() };
        let body = match self {
            Self::Compact => serde_json::to_vec(&error),
            Self::Pretty => serde_json::to_vec_pretty(&error),
        };
        // Serializing these two members cannot fail.
        body.unwrap_or_default().into()
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    title: &'a str,
    status: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis::{Admission, problem};

    #[test]
    fn body_has_title_and_status_on_one_line_or_several() {
        for (format, body) in [
            (ErrorFormat::Compact, r#"{"title":"Not Found","status":404}"#),
            (ErrorFormat::Pretty, "{\n  \"title\": \"Not Found\",\n  \"status\": 404\n}"),
        ] {
            let response = problem::render(&Denial::NotFound, &format, &Admission::default());
            assert_eq!((response.status().as_u16(), &**response.body()), (404, body.as_bytes()));
            assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
            assert_eq!(response.headers()["cache-control"], "no-store");
        }
    }
}
