//! `portcullis sign`: every step of a signature, and the diagnosis of a wrong signature.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

const KEY: [&str; 2] = ["--key", "apikey-test-0001"];
const SECRET: &str = "secret-test-0001";
const DATE: [&str; 2] = ["--date", "20260102T030405Z"];

/// The first vector of tests/data/signing.json with a URL of its own.
const SIGNATURE: &str = "4a6fe257a55d8a1b380bd7f3f2214acb33195819a077e0fe0cb7bdd7c0ab22d1";
const URL: [&str; 2] = ["GET", "https://gw.example.com/orders/42"];

fn command(words: &[&[&str]]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg("sign").args(words.concat()).env_remove("PORTCULLIS_SECRET").stdin(Stdio::null());
    command
}

fn signed(words: &[&[&str]]) -> Output {
    command(words).env("PORTCULLIS_SECRET", SECRET).output().unwrap()
}

fn text_of(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn explain_shows_every_step() {
    let text = text_of(&signed(&[&KEY, &DATE, &URL]));
    let expected = format!(
        "--- canonical request
GET
/orders/42/

host:gw.example.com
x-sdk-date:20260102T030405Z

host;x-sdk-date
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
--- string to sign
SDK-HMAC-SHA256
20260102T030405Z
b954087e7caba390e3e7dec90eaa3e02c3c0100289a5cabcecf9fff5bac7b187
--- headers
X-Sdk-Date: 20260102T030405Z
Authorization: SDK-HMAC-SHA256 Access=apikey-test-0001, SignedHeaders=host;x-sdk-date, Signature={SIGNATURE}
--- curl
curl -i -X GET https://gw.example.com/orders/42 -H 'X-Sdk-Date: 20260102T030405Z' -H \
'Authorization: SDK-HMAC-SHA256 Access=apikey-test-0001, SignedHeaders=host;x-sdk-date, Signature={SIGNATURE}'
"
    );
    assert_eq!(text, expected.replace("\\\n", ""));
}

#[test]
fn secret_is_never_read_from_an_argument() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\r\n")).unwrap();
    let file = file.to_str().unwrap();
    let all = [&KEY[..], &DATE, &URL];
    let from_file = command(&[&all.concat(), &["--secret-file", file]]).output().unwrap();
    assert!(text_of(&from_file).contains(SIGNATURE));

    let mut asked = command(&all).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    asked.stdin.take().unwrap().write_all(format!("{SECRET}\nmore\n").as_bytes()).unwrap();
    let from_input = asked.wait_with_output().unwrap();
    assert!(text_of(&from_input).contains(SIGNATURE));
    assert!(!text_of(&from_input).contains(SECRET));

    let nothing = command(&all).output().unwrap();
    assert_eq!(nothing.status.code(), Some(1));
    let argument = command(&[&all.concat(), &["--secret", SECRET]]).output().unwrap();
    assert_eq!(argument.status.code(), Some(2));
}

#[test]
fn headers_and_content_are_signed_and_printed_in_the_command() {
    let json = [&KEY[..], &DATE, &["--json"], &["-H", "Content-Type: application/json"]].concat();
    let content = r#"{"sku":"A-1","qty":2}"#;
    let post = ["--data", content, "post", "https://gw.example.com:443/orders"];
    let document: Value = serde_json::from_str(&text_of(&signed(&[&json, &post]))).unwrap();
    let signature = "f87878d839709e0135e778cc3e9b44e61ddd89d2b65b94c467bd8376a1ff3cda";
    assert_eq!(document["signature"], signature);
    assert_eq!(document["headers"][0][0], "X-Sdk-Date");
    let curl = document["curl"].as_str().unwrap();
    assert!(curl.ends_with(&format!("--data-raw '{content}'")) && curl.contains(signature), "{curl}");
    assert!(curl.contains("-H 'host: gw.example.com'"), "{curl}");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, content).unwrap();
    let from = ["--body-file", file.path().to_str().unwrap(), "POST", "https://gw.example.com/orders"];
    let of_file: Value = serde_json::from_str(&text_of(&signed(&[&json, &from]))).unwrap();
    assert_eq!(of_file["signature"], signature);

    let unsigned =
        ["--unsigned-payload", "--data", r#"{"large":"body"}"#, "POST", "https://gw.example.com/upload"];
    let document: Value = serde_json::from_str(&text_of(&signed(&[&json, &unsigned]))).unwrap();
    assert_eq!(document["signature"], "d5e24675a8aad8044c020179f1bae295c5bad73c0ef96e52719c7db64118eb5d");
    assert_eq!(document["headers"][1], serde_json::json!(["X-Sdk-Content-Sha256", "UNSIGNED-PAYLOAD"]));
}

/// Returns the exit status and the diagnosis of a signature.
fn checked(authorization: &str, words: &[&[&str]]) -> (Option<i32>, String) {
    let output = signed(&[&KEY, &DATE, &["--verify", authorization], &words.concat()]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn authorization(names: &str, signature: &str) -> String {
    format!("SDK-HMAC-SHA256 Access=apikey-test-0001, SignedHeaders={names}, Signature={signature}")
}

#[test]
fn valid_signature_is_reported_as_valid() {
    let value = authorization("host;x-sdk-date", SIGNATURE);
    let headers = ["-H", "Accept: application/json"];
    for value in [&value, &format!("Authorization: {value}")] {
        let (code, says) = checked(value, &[&headers, &URL]);
        assert_eq!(code, Some(0), "{says}");
        assert!(
            says.contains("--- check\nvalid\n") && says.contains("more than 15 minutes from now"),
            "{says}"
        );
    }
}

#[test]
fn diagnosis_names_the_signature_error() {
    let names = "host;x-sdk-date";
    let well = authorization(names, SIGNATURE);
    let port = ["GET", "https://gw.example.com:8443/orders/42"];
    for (value, words, why) in [
        ("Bearer x", &URL[..], "Authorization: the request has no header"),
        (&*well.replace("Access=", "Credential="), &URL, "sign with Access="),
        (
            &authorization("host;x-note;x-sdk-date", SIGNATURE),
            &URL,
            "signed headers: x-note is signed but missing",
        ),
        (&authorization("host", SIGNATURE), &URL, "signed headers: SignedHeaders does not name x-sdk-date"),
        (&authorization("x-sdk-date;host", SIGNATURE), &URL, "sorted"),
        (
            &well.replace("0001", "0002"),
            &URL,
            "access key: expected apikey-test-0001, found apikey-test-0002",
        ),
        (&authorization(names, &SIGNATURE.to_ascii_uppercase()), &URL, "in upper case"),
        (&authorization(names, &SIGNATURE.replace('4', "5")), &URL, "no common mistake explains it"),
        (&well, &port, "the host was signed without its port"),
        (&well, &["--data", "x", "GET", URL[1]], "the body was left out"),
        (&well, &["GET", "https://gw.example.com/orders/42?a=b"], "the query was left out"),
    ] {
        let (code, says) = checked(value, &[words]);
        assert_eq!(code, Some(1), "{why}: {says}");
        assert!(says.contains(why), "{why}: {says}");
    }
}

/// Tests mistakes that real signers make, here by telling a correct signer to sign another request.
#[test]
fn diagnosis_names_common_mistakes_and_pairs_of_them() {
    let url = |rest: &str| format!("https://gw.example.com{rest}");
    for (signed_url, content, url_sent, content_sent, whys) in [
        ("/s?q=a%20b", "", "/s?q=a+b", "", &["a + in the query was signed as a space"][..]),
        ("/%2541", "", "/%41b/", "", &[]),
        ("/a%25C3%25A9", "", "/a%C3%A9", "", &["the path was encoded twice"]),
        (":443/s", "", ":8443/s", "", &["the host was signed without its port"]),
        ("/s", "", "/s", "{}", &["the body was left out"]),
        ("/s", "{}\n", "/s?a=1", "{}", &["the query was left out", "with a line break at its end"]),
        ("/s", "{}", "/s?a=1", "{}\n", &["the query was left out", "without the line break at its end"]),
    ] {
        let (signed_url, url_sent) = (url(signed_url), url(url_sent));
        let wrong = signed(&[&KEY, &DATE, &["--json", "--data", content, "POST", &signed_url]]);
        let wrong: Value = serde_json::from_str(&text_of(&wrong)).unwrap();
        let value = authorization("host;x-sdk-date", wrong["signature"].as_str().unwrap());
        let (code, says) = checked(&value, &[&["--data", content_sent, "POST", &url_sent]]);
        assert_eq!(code, Some(1));
        let named = says.lines().filter(|line| line.starts_with("* signature")).count();
        assert_eq!(named, whys.len().max(1), "{says}");
        let whys = if whys.is_empty() { &["no common mistake"] } else { whys };
        assert!(whys.iter().all(|why| says.contains(why)), "{whys:?}: {says}");
    }
}
