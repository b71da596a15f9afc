//! Sends the cases through the Tower layer, which must deny the same requests as the gateway.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Version};
use http_body_util::Full;
use portcullis::{
    policy::{ApiKey, StrictHttp},
    tower::PortcullisLayer,
};
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    case::{self, Case},
    raw_http,
    setup::Setup,
};
use portcullis_test::directory::DirectoryFixture;

/// Heads that the `http` crate cannot represent, so that no layer ever receives them.
const NO_REQUEST: [&str; 6] = ["SMG-16", "SMG-27", "HDR-07", "HDR-11", "PTH-14", "PTH-11"];
/// Cases in which hyper changes the head before a layer sees it, or in which the body is invalid.
const NOT_THE_HEAD: [&str; 8] =
    ["SMG-01", "SMG-02", "SMG-05", "SMG-24", "SMG-25", "SMG-26", "SMG-28", "SMG-29"];

/// Converts a head to a request, if the `http` crate can represent it.
fn request(bytes: &[u8]) -> Option<Request<Full<Bytes>>> {
    let end = raw_http::find(bytes, b"\r\n\r\n")?;
    let mut lines =
        bytes[..end].split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let start: Vec<&[u8]> = lines.next()?.split(|byte| *byte == b' ').collect();
    let [method, target, version] = start[..] else { return None };
    // The crate would remove a fragment.
    if target.contains(&b'#') {
        return None;
    }
    let version = if version == b"HTTP/1.0" { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut request = Request::builder().method(method).uri(target).version(version);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request = request.header(name, value);
    }
    request.body(Full::from(bytes[end + 4..].to_vec())).ok()
}

async fn status(world: &DirectoryFixture, request: Request<Full<Bytes>>) -> u16 {
    let guarded = !request.uri().path().starts_with("/v1/public");
    let key = guarded.then(|| ApiKey::new(world.directory.clone()));
    let layer = PortcullisLayer::new((StrictHttp::new(), key)).clock(world.clock.clone());
    let inner = service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    layer.layer(inner).oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn tower_layer_rejects_the_same_heads_as_the_gateway() {
    let setup = tokio::task::spawn_blocking(Setup::new).await.unwrap();
    let gateway = setup.start();
    let world = DirectoryFixture::new();
    let keys = [world.key(), world.key()];
    let cases: Vec<Case> = case::all().into_iter().filter(|case| case.raw.is_some()).collect();
    let (mut unsaid, mut routed, mut compared, mut apart) = (Vec::new(), Vec::new(), 0, Vec::new());
    for case in &cases {
        let Some(request) = request(&case.bytes("gateway.example", [&keys[0], &keys[1]])) else {
            unsaid.push(case.id.as_str());
            continue;
        };
        if NOT_THE_HEAD.contains(&&*case.id) {
            continue;
        }
        let layer = status(&world, request).await;
        let gateway = raw_http::exchange(gateway.address, &setup.bytes(case)).status();
        if layer == 200 && [403, 404].contains(&gateway) {
            // The layer has no routes.
            routed.push(case.id.as_str());
            continue;
        }
        compared += 1;
        if (layer >= 400) != (gateway >= 400) {
            apart.push(format!("{}: {layer} in process, {gateway} from the gateway", case.id));
        }
    }
    assert!(apart.is_empty(), "{apart:#?}");
    unsaid.sort_unstable();
    let mut expected = NO_REQUEST.to_vec();
    expected.sort_unstable();
    assert_eq!(unsaid, expected, "what the http crate cannot say");
    assert_eq!(routed, ["PTH-09", "PTH-13"]);
    assert_eq!(compared + routed.len() + unsaid.len() + NOT_THE_HEAD.len(), cases.len());
}
