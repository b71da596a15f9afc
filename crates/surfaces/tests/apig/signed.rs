//! Operators that sign requests (AK/SK, SDK-HMAC-SHA256) instead of sending a token.

use std::{fmt::Write, time::Duration};

use jiff::Timestamp;
use portcullis::{
    model::{CallerKind, Status},
    registry::{Registry, RegistryExt},
    signature::{Parts, Signer, UNSIGNED_PAYLOAD, format_date, hash},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{APP, ApigApi, INSTANCE, KEY, PROJECT, all, gateway, one, refused};
use crate::management::{Answer, actor};

const BODY: &str = r#"{"name":"app_001"}"#;
const NOT_PERMITTED: &str = "No permissions to request this method";

/// A request to sign, with its signing key.
#[derive(Clone, Copy)]
struct Sign<'a> {
    access: &'a str,
    secret: &'a str,
    method: &'a str,
    target: &'a str,
    content: &'a str,
    at: Timestamp,
    /// The value of `X-Sdk-Content-Sha256`, if the request has this header.
    content_sha256: Option<&'a str>,
}

impl<'a> Sign<'a> {
    fn new(
        api: &ApigApi,
        key: &'a (String, String),
        method: &'a str,
        target: &'a str,
        content: &'a str,
    ) -> Self {
        let (access, secret) = key;
        Self { access, secret, method, target, content, at: api.world.now(), content_sha256: None }
    }

    /// Returns the headers of the signed request, except `Host`.
    fn fields(self, api: &ApigApi) -> Vec<(&'static str, String)> {
        let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
        let mut fields =
            vec![("x-sdk-date", format_date(self.at)), ("content-type", "application/json".into())];
        fields.extend(
            self.content_sha256.map(|content_sha256| ("x-sdk-content-sha256", content_sha256.to_owned())),
        );
        let mut headers = http::HeaderMap::new();
        headers.insert("host", api.server.address.to_string().parse().unwrap());
        for (name, value) in &fields {
            headers.insert(*name, value.parse().unwrap());
        }
        let names = match self.content_sha256 {
            Some(_) => "content-type;host;x-sdk-content-sha256;x-sdk-date",
            None => "content-type;host;x-sdk-date",
        };
        let parts = Parts { method: self.method, path, query, authority: None, headers: &headers };
        let of_content = hash(self.content.as_bytes());
        let payload = self.content_sha256.unwrap_or(of_content.as_str());
        let signer = Signer::new(self.access, self.secret.as_bytes());
        fields.push(("authorization", signer.sign(parts, names, payload).unwrap().authorization()));
        fields
    }

    /// Sends the signed request.
    async fn send(self, api: &ApigApi) -> Answer {
        self.send_with(api, self.content, &[]).await
    }

    /// Sends the signed request with another body and additional headers.
    async fn send_with(self, api: &ApigApi, content: &str, more: &[(&str, &str)]) -> Answer {
        let fields = self.fields(api);
        let mut all = borrowed(&fields);
        all.extend(more);
        let body = (!content.is_empty()).then(|| content.as_bytes().to_vec());
        api.server.send(self.method, self.target, &all, body).await
    }

    /// Sends the signed request with a chunked body, without a length. Returns the status and the response after its
    /// head.
    async fn send_chunked(self, api: &ApigApi, chunks: &[&str]) -> (u16, String) {
        let mut text =
            format!("{} {} HTTP/1.1\r\nhost: {}\r\n", self.method, self.target, api.server.address);
        for (name, value) in self.fields(api) {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        text.push_str("transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
        for chunk in chunks.iter().chain([&""]) {
            write!(text, "{:x}\r\n{chunk}\r\n", chunk.len()).unwrap();
        }
        let mut stream = TcpStream::connect(api.server.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

fn borrowed<'a>(fields: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, &**value)).collect()
}

fn second(id: &str) -> String {
    format!("/v2/{PROJECT}/apigw/instances/{INSTANCE}/apps{id}")
}

/// Checks an error response about the signature whose text starts with `text`.
#[track_caller]
fn unproved(answer: &Answer, text: &str) {
    let (code, message) = (answer.json()["error_code"].clone(), answer.json()["error_msg"].clone());
    assert_eq!((answer.status.as_u16(), code.as_str()), (401, Some("APIG.0301")), "{answer:?}");
    let expected = format!("Incorrect IAM authentication information: {text}");
    assert!(message.as_str().unwrap().starts_with(&expected), "{message}");
    let challenge = r#"ApiKey realm="apig", header="x-auth-token", SDK-HMAC-SHA256 realm="apig""#;
    assert_eq!(answer.field("www-authenticate"), [challenge]);
}

#[tokio::test]
async fn five_failures_lock_only_that_address_for_five_minutes() {
    let api = ApigApi::locking_out_after(5).await;
    let key = api.world.signing("gateway", "operator", |_| {}).await;
    let target = one(APP);
    let right = Sign::new(&api, &key, "GET", &target, "");
    let (right, guess) = (right.fields(&api), Sign { secret: "guessed", ..right }.fields(&api));
    let (right, guess) = (borrowed(&right), borrowed(&guess));
    let guessing = api.server.at("127.0.0.7");
    let from_there = async |fields: &[(&str, &str)]| guessing.send("GET", &target, fields, None).await;
    // Signatures and tokens are counted together.
    for fields in [&guess, &vec![("x-auth-token", "MIIDkgYJKoZI")], &guess, &guess, &guess] {
        assert_eq!(from_there(fields).await.status, 401);
    }
    let token = vec![("x-auth-token", &*api.token)];
    let locked_out = format!("{NOT_PERMITTED}: This address sent too many bad credentials. Retry in 300 s.");
    let wrong = vec![("x-auth-token", "MIIDkgYJKoZI")];
    for fields in [&guess, &wrong] {
        let answer = from_there(fields).await;
        refused(&answer, 403, "APIG.1005", &locked_out);
        assert_eq!(answer.field("retry-after"), ["300"]);
    }
    // Valid credentials are accepted from this address, too.
    for fields in [&right, &token] {
        assert_eq!(from_there(fields).await.status, 200);
    }
    assert_eq!(api.server.send("GET", &target, &wrong, None).await.status, 401, "from elsewhere");
    api.world.clock.advance(Duration::from_secs(300));
    assert_eq!(from_there(&wrong).await.status, 401);
}

#[tokio::test]
async fn signing_operator_manages_apps_in_both_versions() {
    let api = ApigApi::new().await;
    let key = api.world.signing("gateway", "operator", |_| {}).await;
    let (first, other) = (all(), second(""));
    for (target, name) in [(&*first, "app_001"), (&other, "app_002")] {
        let body = format!(r#"{{"name":"{name}"}}"#);
        let made = Sign::new(&api, &key, "POST", target, &body).send(&api).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.json()["id"].as_str().unwrap().to_owned();
        let target = format!("{target}/{id}");
        let edit = r#"{"name":"another","remark":"ö"}"#;
        let sha256 = hash(edit.as_bytes());
        let put = Sign::new(&api, &key, "PUT", &target, edit);
        let put = Sign { content_sha256: Some(sha256.as_str()), ..put };
        assert_eq!(put.send(&api).await.json()["name"], "another");
        assert_eq!(Sign::new(&api, &key, "DELETE", &target, "").send(&api).await.status, 204);
    }
    let list = format!("{first}?name=app%5F000&limit=5&offset=0");
    for target in [&list, &other] {
        let listed = Sign::new(&api, &key, "GET", target, "").send(&api).await;
        assert_eq!((listed.status.as_u16(), &listed.json()["total"]), (200, &1.into()), "{listed:?}");
    }
    let changes = api.world.memory.changes(0, 100).await.unwrap();
    assert_eq!(changes.last().unwrap().actor.as_str(), "apig:operator from 127.0.0.1");
}

#[tokio::test]
async fn signing_operator_reaches_no_other_project() {
    let api = ApigApi::new().await;
    api.world.tenant("other", Some(gateway("another", INSTANCE, true)), 4).await;
    api.world.caller("other", "stranger", "stranger", CallerKind::Operator).await;
    let key = api.world.signing("other", "stranger", |_| {}).await;
    for (method, content) in [("GET", ""), ("PUT", BODY)] {
        let target = one(APP);
        let answer = Sign::new(&api, &key, method, &target, content).send(&api).await;
        refused(&answer, 403, "APIG.1005", NOT_PERMITTED);
    }
    assert_eq!(api.stored(APP).await.name, "app_000");
}

#[tokio::test]
async fn altered_signed_request_is_denied_and_writes_nothing() {
    let api = ApigApi::new().await;
    let key = api.world.signing("gateway", "operator", |_| {}).await;
    let (target, seq) = (one(APP), api.world.memory.changes(0, 1000).await.unwrap().len());
    let well = Sign::new(&api, &key, "PUT", &target, BODY);
    let hashed = hash(BODY.as_bytes());
    let with_hash = Sign { content_sha256: Some(hashed.as_str()), ..well };
    let mismatch = "verify signature fail, canonicalRequest:PUT|";

    unproved(&Sign { secret: "guessed", ..well }.send(&api).await, mismatch);
    unproved(&Sign { access: "nobody", ..well }.send(&api).await, "access key nobody not found");
    let altered = r#"{"name":"app_666"}"#;
    unproved(&well.send_with(&api, altered, &[]).await, mismatch);
    let answer = with_hash.send_with(&api, altered, &[]).await;
    let text = "Incorrect IAM authentication information: the body does not match the signed SHA-256";
    refused(&answer, 401, "APIG.0301", text);
    for (sign, says) in [(well, mismatch), (with_hash, "the body does not match the signed SHA-256")] {
        for chunks in [&[altered][..], &[&altered[..7], &altered[7..]], &[BODY, " "], &[&BODY[..9]]] {
            let (status, body) = sign.send_chunked(&api, chunks).await;
            assert_eq!(status, 401, "{body}");
            assert!(body.contains("APIG.0301") && body.contains(says), "{body}");
        }
    }
    let quarter = Duration::from_secs(15 * 60 + 1);
    for at in [api.world.now() - quarter, api.world.now() + quarter] {
        unproved(&Sign { at, ..well }.send(&api).await, "signature expired, signature time:");
    }
    let unsigned = Sign { content_sha256: Some(UNSIGNED_PAYLOAD), ..well };
    unproved(&unsigned.send(&api).await, "UNSIGNED-PAYLOAD is not accepted here");
    let token = [("x-auth-token", &*api.token)];
    let message = "Parameter error: The request has more than one credential.";
    refused(&well.send_with(&api, BODY, &token).await, 400, "APIG.2000", message);
    let large = format!(r#"{{"name":"app_001","remark":"{}"}}"#, "x".repeat(70_000));
    let large = Sign { content: &large, ..well };
    let message = "Parameter error: The body exceeds the limit of 65536 bytes.";
    refused(&large.send(&api).await, 400, "APIG.2000", message);

    assert_eq!(api.world.memory.changes(0, 1000).await.unwrap().len(), seq, "nothing was written");
    // Without the faults above, these requests succeed.
    let (status, body) = with_hash.send_chunked(&api, &[&BODY[..5], &BODY[5..]]).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(well.send(&api).await.status, 200);
}

#[tokio::test]
async fn access_key_must_be_active_and_of_an_operator() {
    let api = ApigApi::new().await;
    let (target, now) = (one(APP), api.world.now());
    let disabled = api.world.signing("gateway", "operator", |key| key.status = Status::Disabled).await;
    let expired = api.world.signing("gateway", "operator", |key| key.not_after = Some(now)).await;
    let deleted = api.world.signing("gateway", "operator", |_| {}).await;
    let of_app = api.world.signing("gateway", APP, |_| {}).await;
    let apps_own = (KEY.to_owned(), "the first secret".to_owned());
    let send = |key: (String, String)| {
        let (api, target) = (&api, &target);
        async move { Sign::new(api, &key, "PUT", target, BODY).send(api).await }
    };
    assert_eq!(send(deleted.clone()).await.status, 200);
    let id = deleted.0.parse().unwrap();
    let tenant = "gateway".parse().unwrap();
    api.world.memory.delete_credential(&tenant, &id, None, &actor()).await.unwrap();
    api.world.settle().await;
    let before = api.stored(APP).await.revision;
    unproved(&send(deleted.clone()).await, &format!("access key {} not found", deleted.0));
    for key in [disabled, of_app, apps_own] {
        refused(&send(key).await, 403, "APIG.1005", NOT_PERMITTED);
    }
    let message = "Session expired. Please try again later.";
    refused(&send(expired).await, 401, "APIG.1001", message);
    assert_eq!(api.stored(APP).await.revision, before);

    // An access key identifies the signer but does not authenticate it.
    let live = api.world.signing("gateway", "operator", |_| {}).await;
    let answer = api.server.send("GET", &target, &[("x-auth-token", &*live.0)], None).await;
    refused(&answer, 401, "APIG.1002", "Incorrect token or token resolution failed.");
}
