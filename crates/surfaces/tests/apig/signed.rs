//! Operators that sign requests (AK/SK, SDK-HMAC-SHA256) instead of sending a token.

use std::{fmt::Write, time::Duration};

use jiff::Timestamp;
use portcullis::{
    model::{CallerKind, Status},
    registry::Registry,
    signature::{Parts, Signer, UNSIGNED_PAYLOAD, format_date, hash},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{APP, INSTANCE, KEY, PROJECT, Site, all, gateway, one, refused};
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
    told: Option<&'a str>,
}

impl<'a> Sign<'a> {
    fn new(
        site: &Site,
        key: &'a (String, String),
        method: &'a str,
        target: &'a str,
        content: &'a str,
    ) -> Self {
        let (access, secret) = key;
        Self { access, secret, method, target, content, at: site.world.now(), told: None }
    }

    /// Returns the headers of the signed request, except `Host`.
    fn fields(self, site: &Site) -> Vec<(&'static str, String)> {
        let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
        let mut fields =
            vec![("x-sdk-date", format_date(self.at)), ("content-type", "application/json".into())];
        fields.extend(self.told.map(|told| ("x-sdk-content-sha256", told.to_owned())));
        let mut headers = http::HeaderMap::new();
        headers.insert("host", site.server.address.to_string().parse().unwrap());
        for (name, value) in &fields {
            headers.insert(*name, value.parse().unwrap());
        }
        let names = match self.told {
            Some(_) => "content-type;host;x-sdk-content-sha256;x-sdk-date",
            None => "content-type;host;x-sdk-date",
        };
        let parts = Parts { method: self.method, path, query, authority: None, headers: &headers };
        let of_content = hash(self.content.as_bytes());
        let payload = self.told.unwrap_or(of_content.as_str());
        let signer = Signer::new(self.access, self.secret.as_bytes());
        fields.push(("authorization", signer.sign(parts, names, payload).unwrap().authorization()));
        fields
    }

    /// Sends the signed request.
    async fn send(self, site: &Site) -> Answer {
        self.send_with(site, self.content, &[]).await
    }

    /// Sends the signed request with another body and additional headers.
    async fn send_with(self, site: &Site, content: &str, more: &[(&str, &str)]) -> Answer {
        let fields = self.fields(site);
        let mut all = borrowed(&fields);
        all.extend(more);
        let body = (!content.is_empty()).then(|| content.as_bytes().to_vec());
        site.server.send(self.method, self.target, &all, body).await
    }

    /// Sends the signed request with a chunked body, without a length. Returns the status and the response after its
    /// head.
    async fn send_chunked(self, site: &Site, chunks: &[&str]) -> (u16, String) {
        let mut text =
            format!("{} {} HTTP/1.1\r\nhost: {}\r\n", self.method, self.target, site.server.address);
        for (name, value) in self.fields(site) {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        text.push_str("transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
        for chunk in chunks.iter().chain([&""]) {
            write!(text, "{:x}\r\n{chunk}\r\n", chunk.len()).unwrap();
        }
        let mut stream = TcpStream::connect(site.server.address).await.unwrap();
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
    let site = Site::locking_out_after(5).await;
    let key = site.world.signing("gateway", "operator", |_| {}).await;
    let target = one(APP);
    let right = Sign::new(&site, &key, "GET", &target, "");
    let (right, guess) = (right.fields(&site), Sign { secret: "guessed", ..right }.fields(&site));
    let (right, guess) = (borrowed(&right), borrowed(&guess));
    let guessing = site.server.at("127.0.0.7");
    let from_there = async |fields: &[(&str, &str)]| guessing.send("GET", &target, fields, None).await;
    // Signatures and tokens are counted together.
    for fields in [&guess, &vec![("x-auth-token", "MIIDkgYJKoZI")], &guess, &guess, &guess] {
        assert_eq!(from_there(fields).await.status, 401);
    }
    let token = vec![("x-auth-token", &*site.token)];
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
    assert_eq!(site.server.send("GET", &target, &wrong, None).await.status, 401, "from elsewhere");
    site.world.clock.advance(Duration::from_secs(300));
    assert_eq!(from_there(&wrong).await.status, 401);
}

#[tokio::test]
async fn signing_operator_manages_apps_in_both_versions() {
    let site = Site::new().await;
    let key = site.world.signing("gateway", "operator", |_| {}).await;
    let (first, other) = (all(), second(""));
    for (target, name) in [(&*first, "app_001"), (&other, "app_002")] {
        let body = format!(r#"{{"name":"{name}"}}"#);
        let made = Sign::new(&site, &key, "POST", target, &body).send(&site).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.json()["id"].as_str().unwrap().to_owned();
        let target = format!("{target}/{id}");
        let edit = r#"{"name":"another","remark":"ö"}"#;
        let told = hash(edit.as_bytes());
        let put = Sign::new(&site, &key, "PUT", &target, edit);
        let put = Sign { told: Some(told.as_str()), ..put };
        assert_eq!(put.send(&site).await.json()["name"], "another");
        assert_eq!(Sign::new(&site, &key, "DELETE", &target, "").send(&site).await.status, 204);
    }
    let list = format!("{first}?name=app%5F000&limit=5&offset=0");
    for target in [&list, &other] {
        let listed = Sign::new(&site, &key, "GET", target, "").send(&site).await;
        assert_eq!((listed.status.as_u16(), &listed.json()["total"]), (200, &1.into()), "{listed:?}");
    }
    let changes = site.world.memory.changes(0, 100).await.unwrap();
    assert_eq!(changes.last().unwrap().actor.as_str(), "apig:operator from 127.0.0.1");
}

#[tokio::test]
async fn signing_operator_reaches_no_other_project() {
    let site = Site::new().await;
    site.world.tenant("other", Some(gateway("another", INSTANCE, true)), 4).await;
    site.world.caller("other", "stranger", "stranger", CallerKind::Operator).await;
    let key = site.world.signing("other", "stranger", |_| {}).await;
    for (method, content) in [("GET", ""), ("PUT", BODY)] {
        let target = one(APP);
        let answer = Sign::new(&site, &key, method, &target, content).send(&site).await;
        refused(&answer, 403, "APIG.1005", NOT_PERMITTED);
    }
    assert_eq!(site.stored(APP).await.name, "app_000");
}

#[tokio::test]
async fn altered_signed_request_is_denied_and_writes_nothing() {
    let site = Site::new().await;
    let key = site.world.signing("gateway", "operator", |_| {}).await;
    let (target, seq) = (one(APP), site.world.memory.changes(0, 1000).await.unwrap().len());
    let well = Sign::new(&site, &key, "PUT", &target, BODY);
    let hashed = hash(BODY.as_bytes());
    let told = Sign { told: Some(hashed.as_str()), ..well };
    let mismatch = "verify signature fail, canonicalRequest:PUT|";

    unproved(&Sign { secret: "guessed", ..well }.send(&site).await, mismatch);
    unproved(&Sign { access: "nobody", ..well }.send(&site).await, "access key nobody not found");
    let altered = r#"{"name":"app_666"}"#;
    unproved(&well.send_with(&site, altered, &[]).await, mismatch);
    let answer = told.send_with(&site, altered, &[]).await;
    let text = "Incorrect IAM authentication information: the body does not match the signed SHA-256";
    refused(&answer, 401, "APIG.0301", text);
    for (sign, says) in [(well, mismatch), (told, "the body does not match the signed SHA-256")] {
        for chunks in [&[altered][..], &[&altered[..7], &altered[7..]], &[BODY, " "], &[&BODY[..9]]] {
            let (status, body) = sign.send_chunked(&site, chunks).await;
            assert_eq!(status, 401, "{body}");
            assert!(body.contains("APIG.0301") && body.contains(says), "{body}");
        }
    }
    let quarter = Duration::from_secs(15 * 60 + 1);
    for at in [site.world.now() - quarter, site.world.now() + quarter] {
        unproved(&Sign { at, ..well }.send(&site).await, "signature expired, signature time:");
    }
    let unsigned = Sign { told: Some(UNSIGNED_PAYLOAD), ..well };
    unproved(&unsigned.send(&site).await, "UNSIGNED-PAYLOAD is not accepted here");
    let token = [("x-auth-token", &*site.token)];
    let message = "Parameter error: The request has more than one credential.";
    refused(&well.send_with(&site, BODY, &token).await, 400, "APIG.2000", message);
    let large = format!(r#"{{"name":"app_001","remark":"{}"}}"#, "x".repeat(70_000));
    let large = Sign { content: &large, ..well };
    let message = "Parameter error: The body exceeds the limit of 65536 bytes.";
    refused(&large.send(&site).await, 400, "APIG.2000", message);

    assert_eq!(site.world.memory.changes(0, 1000).await.unwrap().len(), seq, "nothing was written");
    // Without the faults above, these requests succeed.
    let (status, body) = told.send_chunked(&site, &[&BODY[..5], &BODY[5..]]).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(well.send(&site).await.status, 200);
}

#[tokio::test]
async fn access_key_must_be_active_and_of_an_operator() {
    let site = Site::new().await;
    let (target, now) = (one(APP), site.world.now());
    let disabled = site.world.signing("gateway", "operator", |key| key.status = Status::Disabled).await;
    let expired = site.world.signing("gateway", "operator", |key| key.not_after = Some(now)).await;
    let deleted = site.world.signing("gateway", "operator", |_| {}).await;
    let of_app = site.world.signing("gateway", APP, |_| {}).await;
    let apps_own = (KEY.to_owned(), "the first secret".to_owned());
    let send = |key: (String, String)| {
        let (site, target) = (&site, &target);
        async move { Sign::new(site, &key, "PUT", target, BODY).send(site).await }
    };
    assert_eq!(send(deleted.clone()).await.status, 200);
    let id = deleted.0.parse().unwrap();
    let tenant = "gateway".parse().unwrap();
    site.world.memory.delete_credential(&tenant, &id, None, &actor()).await.unwrap();
    site.world.settle().await;
    let before = site.stored(APP).await.revision;
    unproved(&send(deleted.clone()).await, &format!("access key {} not found", deleted.0));
    for key in [disabled, of_app, apps_own] {
        refused(&send(key).await, 403, "APIG.1005", NOT_PERMITTED);
    }
    let message = "Session expired. Please try again later.";
    refused(&send(expired).await, 401, "APIG.1001", message);
    assert_eq!(site.stored(APP).await.revision, before);

    // An access key identifies the signer but does not authenticate it.
    let live = site.world.signing("gateway", "operator", |_| {}).await;
    let answer = site.server.send("GET", &target, &[("x-auth-token", &*live.0)], None).await;
    refused(&answer, 401, "APIG.1002", "Incorrect token or token resolution failed.");
}
