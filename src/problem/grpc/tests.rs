use std::{error::Error, time::Duration};

use http::Method;
use tonic_types::ErrorDetails;

use super::*;
use crate::{
    denial::{FieldError, Forbidden, SignatureError, Unauthenticated},
    limit::{LimitExceeded, LimitedBy},
    model::{Access, LockTarget, LockedRequests, Period, TimeUnit},
    problem::{self, DenialCode, Problem, ResponseForm},
    test_support::{self, Fixture},
};

fn answer(denial: &Denial) -> Response<Bytes> {
    problem::render_for(denial, &Problem, &Admission::default(), ResponseForm::Grpc)
}

/// Returns the status as a client reads it.
fn received(denial: &Denial) -> (Status, ErrorDetails) {
    let response = answer(denial);
    assert_eq!((response.status().as_u16(), response.body().len()), (200, 0), "{denial:?}");
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.extensions().get(), Some(&DenialCode(denial.code())));
    let status = Status::from_header_map(response.headers()).unwrap();
    let details = status.check_error_details().unwrap();
    (status, details)
}

fn unauthenticated(cause: Unauthenticated) -> Denial {
    Denial::Unauthenticated { cause, challenge: HeaderValue::from_static("ApiKey") }
}

fn locked() -> Denial {
    let world = Fixture::new();
    let target = LockTarget::Resource("/orders".parse().unwrap());
    let lock = world.lock(target, LockedRequests::Writes, Duration::from_secs(30));
    Denial::Locked { lock: lock.into(), now: world.now() }
}

fn throttled(by: LimitedBy) -> Denial {
    let period = Period { interval: 1.try_into().unwrap(), unit: TimeUnit::Minute };
    Denial::Exhausted(LimitExceeded { by, limit: 5, period, retry_after: 7 })
}

fn wrong(pointer: &str, line: Option<u64>) -> FieldError {
    FieldError { pointer: pointer.into(), line, detail: "too small".into() }
}

#[test]
fn media_type_decides_about_grpc_and_only_for_post() {
    for (media_type, is_grpc) in [
        ("application/grpc", true),
        ("Application/gRPC", true),
        ("application/grpc+proto", true),
        ("application/grpc+json;charset=utf-8", true),
        ("application/grpc ; a=b", true),
        ("application/grpc-web", false),
        ("application/grpc-web+proto", false),
        ("application/grpcs", false),
        ("application/grp", false),
        ("application/json", false),
        ("application/json, application/grpc", false),
        ("", false),
    ] {
        for (method, decides) in [("POST", true), ("GET", false), ("HEAD", false), ("PUT", false)] {
            let request = test_support::request(method, "/", &[("content-type", media_type)]);
            let forms = [
                ResponseForm::from_head(&test_support::head(&request)),
                ResponseForm::from_headers(request.method(), request.headers()),
            ];
            for form in forms {
                assert_eq!(form == ResponseForm::Grpc, is_grpc && decides, "{method} {media_type}");
            }
        }
    }
    assert_eq!(ResponseForm::from_headers(&Method::POST, &HeaderMap::new()), ResponseForm::WithBody);
}

#[test]
fn every_denial_has_its_status_code_and_reason() {
    let text = || "text".into();
    let challenge = HeaderValue::from_static("x/y");
    let signature = |why| unauthenticated(Unauthenticated::Signature(Box::new(why)));
    let scope = Forbidden::Scope { resource: "orders".into(), access: Access::Write };
    for (denial, code, reason) in [
        (Denial::BadRequest { detail: text() }, Code::InvalidArgument, "BAD_REQUEST"),
        (Denial::InvalidShape { wrong: Box::new([]) }, Code::InvalidArgument, "INVALID_SHAPE"),
        (unauthenticated(Unauthenticated::Missing), Code::Unauthenticated, "CREDENTIAL_MISSING"),
        (unauthenticated(Unauthenticated::Malformed), Code::Unauthenticated, "CREDENTIAL_MALFORMED"),
        (unauthenticated(Unauthenticated::Unknown), Code::Unauthenticated, "CREDENTIAL_UNKNOWN"),
        (unauthenticated(Unauthenticated::Expired), Code::Unauthenticated, "CREDENTIAL_EXPIRED"),
        (signature(SignatureError::Mismatch("GET".into())), Code::Unauthenticated, "SIGNATURE_MISMATCH"),
        (Denial::content_mismatch(), Code::Unauthenticated, "CONTENT_MISMATCH"),
        (Denial::PaymentRequired { detail: text() }, Code::FailedPrecondition, "PAYMENT_REQUIRED"),
        (Denial::Forbidden(scope), Code::PermissionDenied, "INSUFFICIENT_SCOPE"),
        (Denial::Forbidden(Forbidden::Lockout { retry_after: 9 }), Code::PermissionDenied, "LOCKOUT"),
        (Denial::Forbidden(Forbidden::NoGrant), Code::PermissionDenied, "NOT_GRANTED"),
        (Denial::NotFound, Code::Unimplemented, "NOT_FOUND"),
        (Denial::MethodNotAllowed { allow: challenge.clone() }, Code::Unimplemented, "METHOD_NOT_ALLOWED"),
        (Denial::NotAcceptable { available: [].into() }, Code::Unimplemented, "NOT_ACCEPTABLE"),
        (Denial::RequestTimeout, Code::DeadlineExceeded, "REQUEST_TIMEOUT"),
        (Denial::Conflict { detail: text() }, Code::Aborted, "CONFLICT"),
        (Denial::PreconditionFailed { detail: text() }, Code::FailedPrecondition, "PRECONDITION_FAILED"),
        (Denial::ContentTooLarge { limit: 1 }, Code::ResourceExhausted, "CONTENT_TOO_LARGE"),
        (Denial::TargetTooLong { limit: 1 }, Code::ResourceExhausted, "TARGET_TOO_LONG"),
        (
            Denial::UnsupportedMediaType { taken: challenge.clone(), method: Method::POST },
            Code::Unimplemented,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (Denial::UnsupportedCoding { taken: challenge }, Code::Unimplemented, "UNSUPPORTED_CODING"),
        (Denial::Misdirected { detail: text() }, Code::Unimplemented, "MISDIRECTED"),
        (Denial::Unprocessable { detail: text() }, Code::InvalidArgument, "UNPROCESSABLE"),
        (Denial::InvalidValues { wrong: Box::new([]) }, Code::InvalidArgument, "INVALID_VALUES"),
        (locked(), Code::FailedPrecondition, "LOCKED"),
        (Denial::HeadTooLarge { limit: 1 }, Code::ResourceExhausted, "HEAD_TOO_LARGE"),
        (Denial::PreconditionRequired { detail: text() }, Code::FailedPrecondition, "PRECONDITION_REQUIRED"),
        (
            Denial::RateLimited { violated: ["a".into()].into_iter().collect(), retry_after: 3 },
            Code::ResourceExhausted,
            "RATE_LIMITED",
        ),
        (throttled(LimitedBy::Api), Code::ResourceExhausted, "THROTTLED"),
        (throttled(LimitedBy::Quota), Code::ResourceExhausted, "QUOTA_EXHAUSTED"),
        (Denial::internal("secret"), Code::Internal, "INTERNAL"),
        (Denial::NotImplemented { detail: text() }, Code::Unimplemented, "NOT_IMPLEMENTED"),
        (Denial::BadGateway { inside: "secret".into() }, Code::Unavailable, "BAD_GATEWAY"),
        (Denial::unavailable("text", 5), Code::Unavailable, "UNAVAILABLE"),
        (
            Denial::Maintenance { is_locked: true, detail: "text".into(), retry_after: 5 },
            Code::Unavailable,
            "MAINTENANCE",
        ),
        (Denial::GatewayTimeout { inside: "secret".into() }, Code::DeadlineExceeded, "GATEWAY_TIMEOUT"),
    ] {
        let (status, details) = received(&denial);
        assert_eq!((status.code(), status.message()), (code, &*denial.detail()), "{denial:?}");
        assert!(!format!("{status:?} {details:?}").contains("secret"), "{denial:?}");
        let info = details.error_info().unwrap();
        assert_eq!((&*info.reason, &*info.domain), (reason, "portcullis"), "{denial:?}");
        let delay = details.retry_info().map(|retry| retry.retry_delay.unwrap().as_secs());
        assert_eq!(delay, denial.retry_after(), "{denial:?}");
        let header = answer(&denial)
            .headers()
            .get("retry-after")
            .map(|value| value.to_str().unwrap().parse().unwrap());
        assert_eq!(header, delay, "{denial:?}");
    }
}

#[test]
fn details_name_limits_owners_and_fields() {
    let names = ["second", "minute"].map(Into::into);
    let (_, limited) =
        received(&Denial::RateLimited { violated: names.into_iter().collect(), retry_after: 3 });
    let subjects = limited.quota_failure().unwrap().violations.iter().map(|violation| &*violation.subject);
    assert_eq!(subjects.collect::<Vec<_>>(), ["second", "minute"]);

    let (_, throttled) = received(&throttled(LimitedBy::Quota));
    assert_eq!(throttled.quota_failure().unwrap().violations[0].subject, "quota");

    let (_, locked) = received(&locked());
    let lock = &locked.precondition_failure().unwrap().violations[0];
    assert_eq!((&*lock.r#type, &*lock.subject), ("LOCK", "owner"));
    assert!(lock.description.contains("reason"), "{lock:?}");

    let all = Box::new([wrong("#/limits/0", None), wrong("#/name", Some(7))]);
    for denial in [Denial::InvalidShape { wrong: all.clone() }, Denial::InvalidValues { wrong: all }] {
        let (_, invalid) = received(&denial);
        let fields = invalid.bad_request().unwrap().field_violations.iter();
        let fields: Vec<_> = fields.map(|field| (&*field.field, &*field.description)).collect();
        assert_eq!(fields, [("#/limits/0", "too small"), ("#/name", "Line 7: too small")]);
    }
}

#[test]
fn headers_of_the_denial_stay() {
    let response = answer(&unauthenticated(Unauthenticated::Missing));
    assert_eq!(response.headers()["www-authenticate"], "ApiKey");
    let response = answer(&Denial::UnsupportedCoding { taken: HeaderValue::from_static("gzip") });
    assert_eq!(response.headers()["accept-encoding"], "gzip");
}

#[test]
fn message_is_percent_encoded_and_details_have_no_padding() {
    for detail in ["100 % of “é”\r\nx: y", "a", "ab", "abc"] {
        let denial = Denial::bad_request(detail);
        let headers = answer(&denial).headers().clone();
        let (message, encoded) = (&headers["grpc-message"], &headers["grpc-status-details-bin"]);
        assert!(message.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)), "{message:?}");
        assert!(!encoded.as_bytes().contains(&b'='), "{encoded:?}");
        assert_eq!(received(&denial).0.message(), detail);
    }
}

#[test]
fn headers_fit_into_8_kib_however_long_the_denial_is() {
    let long = "ö".repeat(5000);
    let fields = (0..1000).map(|at| wrong(&format!("#/limits/{at}"), Some(at))).collect();
    for denial in [
        Denial::bad_request(long.clone()),
        Denial::bad_request(format!("a{long}")),
        Denial::InvalidValues { wrong: fields },
        Denial::InvalidValues { wrong: Box::new([wrong(&long, None)]) },
    ] {
        let length: usize = answer(&denial)
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum();
        assert!(length < 8192, "{length}");
        let (status, details) = received(&denial);
        assert!(status.message().ends_with('…') || details.bad_request().is_some(), "{status:?}");
    }
}

#[test]
fn denial_of_a_method_keeps_its_source_and_metadata() {
    let status = Status::from(Denial::NotFound);
    assert_eq!(status.code(), Code::NotFound);
    let denial = Denial::unavailable("text", 5);
    let status = Status::from(denial.clone());
    assert_eq!(status.metadata().get("retry-after").unwrap(), "5");
    assert_eq!(status.source().and_then(|source| source.downcast_ref()), Some(&denial));
}
