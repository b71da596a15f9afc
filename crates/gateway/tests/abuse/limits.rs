//! Cases of resource limits: slow, many and huge requests, and information that the gateway discloses.

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    case,
    http2::{HELD, memory},
    process::Gateway,
    raw_http::{self, Exchange, Wire},
    setup::{Setup, access},
};

/// The interval at which a slow client sends a byte.
const DRIP: Duration = Duration::from_millis(50);

/// Sends a head, and then single bytes until the gateway closes the connection.
fn drip(gateway: &Gateway, head: &[u8], response_timeout: Duration) -> Exchange {
    let mut wire = Wire::new(gateway.address);
    wire.stream.write_all(head).unwrap();
    let mut exchange = Exchange::default();
    let deadline = Instant::now() + response_timeout;
    while Instant::now() < deadline {
        match wire.read(DRIP) {
            Some(true) => exchange.answers.extend(wire.next()),
            Some(false) => {
                exchange.closed = true;
                break;
            }
            None => {}
        }
        if wire.stream.write_all(b"x").is_err() {
            exchange.closed = true;
            break;
        }
    }
    exchange
}

#[test]
fn dripped_head_is_cut() {
    let case = case::case("RES-01");
    let setup = Setup::with("head_timeout = \"500ms\"", "", "");
    let gateway = setup.start();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    let start = Instant::now();
                    let head = b"GET /v1/public HTTP/1.1\r\nHost: a\r\nX-A: ";
                    (drip(&gateway, head, raw_http::TIMEOUT), start.elapsed())
                })
            })
            .collect();
        let mut good = Wire::new(gateway.address);
        assert_eq!(good.ask(&setup.good()).status(), 200, "others are served");
        for client in clients {
            let (exchange, took) = client.join().unwrap();
            case.check_status(exchange.status());
            assert!(exchange.closed && took < raw_http::TIMEOUT, "{}: {took:?} {exchange:?}", case.id);
        }
    });
}

#[test]
fn dripped_content_is_cut() {
    let case = case::case("RES-02");
    let limits = "body_timeout = \"500ms\"\nmin_data_rate = 1000";
    let setup = Setup::with(limits, "", "read_timeout = \"300ms\"");
    let head = format!(
        "POST /v1/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Length: 1000000\r\n\r\n",
        setup.keys[0]
    );
    let gateway = setup.start();
    let exchange = drip(&gateway, head.as_bytes(), raw_http::TIMEOUT / 2);
    case.check_status(exchange.status());
    assert_eq!(exchange.closed, case.checked().connection.as_deref() == Some("close"), "{}", case.id);
    let exchange = raw_http::exchange(gateway.address, head.as_bytes());
    case.check_status(exchange.status());
    assert!(exchange.closed, "{}", case.id);
}

/// Bytes that arrived quickly buy no time for later ones.
#[test]
fn content_that_slows_to_a_drip_is_cut() {
    let setup = Setup::with("body_timeout = \"500ms\"\nmin_data_rate = 1000", "", "");
    let gateway = setup.start();
    let mut request = format!(
        "POST /v1/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Length: 9000000\r\n\r\n",
        setup.keys[0]
    )
    .into_bytes();
    request.resize(request.len() + 8_000_000, b'x');
    let exchange = drip(&gateway, &request, 2 * raw_http::TIMEOUT);
    assert!(exchange.closed && exchange.status() == 408, "{exchange:?}");
}

#[test]
fn head_size_is_limited() {
    let setup = Setup::new();
    let long = "a".repeat(900 * 1024);
    let field = format!("GET /v1/echo HTTP/1.1\r\nHost: a\r\nX-A: {long}\r\n\r\n");
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..64 * 1024]);
    for (id, head) in [("RES-04", field), ("RES-05", target)] {
        let case = case::case(id);
        let run = setup.send(head.as_bytes());
        case.check_status(run.exchange.status());
        assert_eq!(Some(run.requests().len()), case.checked().upstream_requests, "{id}");
        assert!(run.exchange.closed, "{id}");
    }
}

#[test]
fn rejected_head_names_the_part_that_is_too_large() {
    let setup = Setup::with("target_bytes = 100\nhead_bytes = 1000", "", "");
    let gateway = setup.start();
    let mut wire = Wire::new(gateway.address);
    for (target, field, status, code) in [
        (10, 10, 404, "not-found"),
        (100, 10, 414, "target-too-long"),
        (10, 1_000, 431, "head-too-large"),
        (70_000, 10, 414, "target-too-long"),
    ] {
        let [target, field] = [target, field].map(|length| "a".repeat(length));
        let head = format!("GET /{target} HTTP/1.1\r\nHost: a\r\nX-A: {field}\r\n\r\n");
        let answer = wire.ask(head.as_bytes());
        assert_eq!(answer.status(), status, "{answer:?}");
        // A response by hyper itself has no body.
        assert!(answer.body.is_empty() || answer.text().contains(code), "{answer:?}");
        assert_eq!(answer.body.is_empty(), target.len() > 65_534);
    }
    let log = gateway.end();
    let last = &access(&log)[3];
    assert_eq!((&last["status"], &last["code"]), (&414.into(), &"target-too-long".into()), "{log:#?}");
}

/// A request with a given key, to send several on one connection.
fn with_key(key: &str) -> Vec<u8> {
    format!("GET /v1/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n").into_bytes()
}

#[test]
fn guessed_keys_do_not_accumulate_memory() {
    let case = case::case("RES-07");
    let setup = Setup::new();
    let gateway = setup.start();
    let mut wire = Wire::new(gateway.address);
    assert_eq!(wire.ask(&setup.good()).status(), 200);
    let before = memory(&gateway);
    for _ in 0..5_000 {
        let guess = portcullis::model::GeneratedKey::generate(&portcullis::model::KeyPrefix::default());
        case.check_status(wire.ask(&with_key(guess.expose())).status());
    }
    assert!(memory(&gateway).saturating_sub(before) < HELD, "{}", case.id);
    let answer = wire.ask(&setup.good());
    assert_eq!(answer.values("ratelimit").len(), 1, "{}: known keys keep their state: {answer:?}", case.id);
}

/// Returns the processor time of a process, in hundredths of a second.
fn processor(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn gateway_recovers_from_few_file_descriptors() {
    let case = case::case("RES-13");
    let setup = Setup::new();
    let plain = setup.installation.command("serve");
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(plain.get_args());
    limited.current_dir(setup.installation.folder.path()).env_remove("RUST_LOG").process_group(0);
    let gateway = setup.installation.start_by(limited);
    let mut clients: Vec<Wire> = (0..1_000).map(|_| Wire::new(gateway.address)).collect();
    assert_eq!(clients[999].read(raw_http::TIMEOUT), Some(false), "{}: the last one has no place", case.id);
    let open = fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count();
    assert!(open < 256, "{}: {open} descriptors are open, and none is left for anything else", case.id);
    // The gateway must not use processor time for retries while it is full.
    let (before, mut waiting) = (processor(gateway.pid()), Wire::new(gateway.address));
    let window = Duration::from_secs(1);
    let start = Instant::now();
    while let Some(left) = window.checked_sub(start.elapsed()) {
        waiting.read(left);
    }
    let spent = processor(gateway.pid()) - before;
    drop(clients);
    let mut good = Wire::new(gateway.address);
    assert_eq!(good.ask(&setup.good()).status(), 200, "{}: it recovers", case.id);
    assert!(spent < 50, "{}: {spent} hundredths of a second in one second", case.id);
}

/// A request to the management of API clients, with the key that `init` created.
fn manage(setup: &Setup, method: &str, path: &str, fields: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} /v1/api_clients{path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{fields}\r\n",
        setup.installation.api_key,
        content.len()
    )
    .into_bytes();
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn management_reads_no_more_than_its_limit() {
    let setup = Setup::new();
    let gateway = setup.start();
    let before = memory(&gateway);
    let name = |name: &str| format!("{{\"name\":\"{name}\"}}").into_bytes();
    let huge = name(&"a".repeat(1 << 20));
    for (id, fields, content) in [
        ("BDY-01", "Content-Encoding: gzip\r\n", vec![0x1f; 1 << 20]),
        ("BDY-03", "Content-Encoding: gzip, gzip, gzip, gzip\r\n", b"{}".to_vec()),
        ("BDY-10", "", huge),
        ("BDY-11", "", name("a\\u0000b.example")),
    ] {
        let case = case::case(id);
        let exchange = raw_http::exchange(gateway.address, &manage(&setup, "POST", "", fields, &content));
        case.check_status(exchange.status());
        if exchange.status() == 415 {
            assert_eq!(exchange.first().values("accept-encoding").len(), 1, "{id}: {exchange:?}");
        }
    }
    assert!(memory(&gateway).saturating_sub(before) < HELD);
}

#[test]
fn content_size_is_limited() {
    let case = case::case("BDY-08");
    let setup = Setup::new();
    let mut bytes = format!(
        "POST /v1/echo HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        setup.keys[0]
    )
    .into_bytes();
    for _ in 0..11 {
        bytes.extend_from_slice(b"100000\r\n");
        bytes.resize(bytes.len() + (1 << 20), b'x');
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let run = setup.send(&bytes);
    setup.check_admitted(&run.seen, &run.log);
    case.check_status(run.exchange.status());
    if case.checked().connection.is_some() {
        assert!(run.exchange.closed, "{}", case.id);
    }
}

#[test]
fn ids_and_keys_are_case_sensitive_ascii() {
    let case = case::case("UNI-04");
    let setup = Setup::new();
    let gateway = setup.start();
    // Unicode case folding maps the Kelvin sign to k and the dotless i to i. The gateway must not, in names, ids and
    // keys.
    for name in ["\u{212a}.example", "\u{131}.example", "\u{df}.example", "K.example"] {
        let content = format!("{{\"name\":\"{name}\"}}");
        let answer = raw_http::exchange(gateway.address, &manage(&setup, "POST", "", "", content.as_bytes()));
        assert_eq!(answer.status(), 422, "{}: {name}", case.id);
    }
    let upper = "/5BC2BE68-7498-4853-AA64-4BE0CA62934E";
    assert_eq!(raw_http::exchange(gateway.address, &manage(&setup, "GET", upper, "", b"")).status(), 404);
    let key = setup.keys[0].to_uppercase();
    assert_eq!(raw_http::exchange(gateway.address, &with_key(&key)).status(), 401, "{}", case.id);
}

#[test]
fn responses_reveal_nothing_of_other_tenants() {
    let setup = Setup::new();
    let gateway = setup.start();
    let ask = |path: &str| {
        let exchange = raw_http::exchange(gateway.address, &manage(&setup, "GET", path, "", b""));
        let mut answer = exchange.first().clone();
        let of_this_request =
            |name: &str| name == "date" || name == "x-request-id" || name.starts_with("x-ratelimit");
        answer.fields.retain(|(name, _)| !of_this_request(name));
        answer
    };
    let case = case::case("ORC-01");
    // The id of the second caller, which belongs to another tenant, and an id that does not exist.
    let (foreign, missing) = (ask(&format!("/{}", crate::setup::FOREIGN)), ask("/-nobody-has-this-id--"));
    case.check_status(foreign.status());
    assert_eq!(foreign, missing, "{}", case.id);

    let case = case::case("ORC-04");
    let guess = portcullis::model::GeneratedKey::generate(&portcullis::model::KeyPrefix::default());
    for key in [guess.expose(), "junk", ""] {
        let exchange = raw_http::exchange(gateway.address, &with_key(key));
        case.check_status(exchange.status());
        let has_rate_limit = exchange.first().fields.iter().any(|(name, _)| name.contains("ratelimit"));
        assert!(!has_rate_limit, "{}: {exchange:?}", case.id);
    }
}

/// LOG-02: all log levels are enabled.
#[test]
fn log_contains_no_secret_at_any_level() {
    let case = case::case("LOG-02");
    let setup = Setup::with("", "h2c = true", "");
    let mut command = setup.installation.command("serve");
    command.env("RUST_LOG", "trace");
    let gateway = setup.installation.start_by(command);
    for head in case::all().iter().filter(|case| case.raw.is_some()) {
        raw_http::exchange(gateway.address, &setup.bytes(head));
    }
    let created =
        raw_http::exchange(gateway.address, &manage(&setup, "POST", "", "", b"{\"name\":\"b.example\"}"));
    assert_eq!(created.status(), 200, "{created:?}");
    let content =
        b"{\"name\":\"app_002\",\"app_key\":\"an-app-key-of-ours\",\"app_secret\":\"an-app-secret-of-ours\"}";
    let path = "/v1/demo-project/apigw/instances/demo-instance/apps/14b399ac-967f-4115-bb62-c0346b4537e9";
    let mut bytes = format!(
        "PUT {path} HTTP/1.1\r\nHost: a\r\nX-Auth-Token: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        setup.installation.operator_token,
        content.len()
    )
    .into_bytes();
    bytes.extend_from_slice(content);
    let exchange = raw_http::exchange(gateway.address, &bytes);
    assert_eq!(exchange.status(), 200, "{exchange:?}");
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/v1/echo"),
        ("x-api-key", &*setup.keys[1]),
    ];
    let mut http2 = crate::h2::Connection::new(gateway.address);
    http2.request(1, &fields, None);
    assert_eq!(http2.outcome(1).status(), 200);
    drop(http2);

    let log = gateway.end();
    assert!(log.iter().any(|line| line.contains("\"TRACE\"")), "all is logged");
    let mut secrets = setup.secrets();
    secrets.push("an-app-secret-of-ours");
    let shown: Vec<_> =
        log.iter().filter(|line| secrets.iter().any(|secret| line.contains(secret))).collect();
    assert!(shown.is_empty(), "{}: {shown:#?}", case.id);
    assert!(!access(&log).is_empty());
}

/// LOG-05: a key is not forwarded, wherever the request has it.
#[test]
fn key_is_not_forwarded() {
    let setup = Setup::new();
    for field in ["X-API-Key: ", "Authorization: Bearer ", "Authorization: ApiKey "] {
        let head = format!("GET /v1/echo HTTP/1.1\r\nHost: a\r\n{field}{}\r\n\r\n", setup.keys[0]);
        let run = setup.send(head.as_bytes());
        assert_eq!(run.exchange.status(), 200, "LOG-05: {field}");
        assert_eq!(run.only_request().values("x-consumer-id"), ["caller-a"], "LOG-05");
        setup.check_admitted(&run.seen, &run.log);
    }
}

/// IPX-03: the address that a trusted proxy reports is the client's. Entries by the client itself are not trusted.
#[test]
fn trusted_proxy_names_the_client() {
    let mut setup = Setup::new();
    let trusting = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]";
    setup.installation.rewrite(|text| text.replace("[server]", trusting));
    let gateway = setup.start();
    let head = b"GET /v1/public HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.2\r\n\
        X-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n\r\n";
    assert_eq!(raw_http::exchange(gateway.address, head).status(), 200);
    let log = gateway.end();
    assert_eq!(access(&log)[0]["peer"], "192.0.2.2", "IPX-03");
    let seen = setup.upstream.take();
    let request = &seen[0].requests[0];
    assert_eq!(request.values("x-forwarded-for"), ["192.0.2.2"], "IPX-03");
    assert_eq!(request.values("x-forwarded-proto"), ["https"], "IPX-03");
    assert!(request.values("forwarded").is_empty(), "IPX-03");
}

/// Returns the lines of the metrics without their values.
fn series(address: std::net::SocketAddr) -> Vec<String> {
    let answer = Wire::new(address).ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status(), 200);
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

/// LOG-04: data from clients never becomes a label.
#[test]
fn metric_series_are_bounded() {
    let mut setup = Setup::new();
    let address = crate::process::free_address();
    setup.installation.rewrite(|text| format!("{text}\n[metrics]\naddress = \"{address}\"\n"));
    let gateway = setup.start();
    let mut wire = Wire::new(gateway.address);
    let mut ask = |number: u32| {
        for (path, key) in [("echo", "x"), ("public", "x"), ("echo", &*setup.keys[0])] {
            let head = format!(
                "GET /v1/{path}/{number} HTTP/1.1\r\nHost: {number}.example\r\nX-API-Key: {key}\r\n\
                 User-Agent: {number}\r\n\r\n"
            );
            wire.ask(head.as_bytes());
        }
    };
    ask(0);
    let before = series(address);
    (1..500).for_each(ask);
    assert_eq!(series(address), before, "LOG-04");
}

/// IPX-05: the forwarded address is that of the connection, in its shortest form.
#[test]
fn client_address_is_the_peer_address() {
    let mut setup = Setup::new();
    let port = crate::process::free_address().port();
    setup.installation.rewrite(|text| format!("{text}\n[[listeners]]\naddress = \"[::]:{port}\"\n"));
    setup.installation.address = ([127, 0, 0, 1], port).into();
    let gateway = setup.start();
    let head = b"GET /v1/public HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n\r\n";
    let exchange = raw_http::exchange(gateway.address, head);
    assert_eq!(exchange.status(), 200);
    let log = gateway.end();
    assert_eq!(access(&log)[0]["peer"], "127.0.0.1", "IPX-05");
    let seen = setup.upstream.take();
    assert_eq!(seen[0].requests[0].values("x-forwarded-for"), ["127.0.0.1"], "IPX-05");
}
