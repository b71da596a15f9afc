//! A file that is not a complete export changes nothing.

use portcullis_surfaces::transfer::ImportError;
use serde_json::{Value, json};

use crate::test_registry::{TestRegistry, file, lines, written};

/// A file with its lines.
struct Sample {
    text: Vec<u8>,
    lines: Vec<Value>,
}

impl Sample {
    async fn new() -> Self {
        let text = TestRegistry::filled().await[0].export().await;
        Self { lines: lines(&text), text }
    }

    fn text(&self) -> String {
        String::from_utf8(self.text.clone()).unwrap()
    }

    /// Returns the index of the line of an entity.
    fn at(&self, kind: &str, id: &str) -> usize {
        self.lines.iter().position(|line| line[kind]["id"] == id).unwrap()
    }

    /// Returns the file after an edit, with a matching trailer.
    fn with(&self, edit: impl FnOnce(&mut Vec<Value>)) -> Vec<u8> {
        let mut lines = self.lines.clone();
        edit(&mut lines);
        file(lines)
    }
}

#[tokio::test]
async fn truncated_file_is_rejected() {
    let sample = Sample::new().await;
    for to in TestRegistry::each().await {
        let before = to.content().await;
        for length in (0..sample.text.len()).rev().step_by(97).chain([sample.text.len() - 1, 0]) {
            let cut = &sample.text[..length];
            let line = cut.split(|byte| *byte == b'\n').count() as u64;
            to.refuses(cut, line, "", "was cut off").await;
        }
        // Cut off at a line end, too: only the trailer proves that the file is complete.
        let mut text = sample.text.clone();
        text.pop();
        let end = text.iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        to.refuses(&text[..end], sample.lines.len() as u64, "", "was cut off").await;
        assert_eq!(to.content().await, before);
    }
}

#[tokio::test]
async fn file_with_a_flipped_byte_is_rejected() {
    let sample = Sample::new().await;
    let [memory, _] = TestRegistry::each().await;
    let before = memory.content().await;
    for at in (0..sample.text.len()).step_by(2) {
        let mut text = sample.text.clone();
        text[at] ^= [0x01, 0x20, 0x80][at / 2 % 3];
        let refused = memory.add(&text).await;
        assert!(matches!(refused, Err(ImportError::Mistakes(_))), "byte {at}: {refused:?}");
    }
    assert_eq!(memory.content().await, before);
    let [_, sqlite] = TestRegistry::each().await;
    for at in (0..sample.text.len()).step_by(101) {
        let mut text = sample.text.clone();
        text[at] ^= 0x04;
        assert!(sqlite.add(&text).await.is_err(), "byte {at}");
    }
    assert_eq!(sqlite.content().await, before);
}

#[tokio::test]
async fn header_of_another_kind_or_version_is_rejected() {
    let sample = Sample::new().await;
    let head = |edit: fn(&mut Value)| sample.with(|all| edit(&mut all[0]["head"]));
    for to in TestRegistry::each().await {
        for (text, member, what) in [
            (head(|it| it["version"] = 2.into()), "head.version", "another format version"),
            // Other differences of a later version are not considered.
            (
                head(|it| *it = json!({ "format": it["format"], "version": 2 })),
                "head.version",
                "another format version",
            ),
            (head(|it| it["format"] = "csv".into()), "", "not the first line"),
            (head(|it| it["later"] = 1.into()), "head.later", "is invalid or unknown"),
            (head(|it| it["seq"] = "x".into()), "head.seq", "is invalid or unknown"),
            (sample.with(|all| drop(all.remove(0))), "", "not the first line"),
            (b"tenant,caller,name\n".to_vec(), "", "not the first line"),
        ] {
            to.refuses(&text, 1, member, what).await;
        }
    }
}

#[tokio::test]
async fn malformed_or_misplaced_lines_are_rejected() {
    let sample = Sample::new().await;
    let moved = |from: usize, to: usize| {
        sample.with(|all| {
            let line = all.remove(from);
            all.insert(to, line);
        })
    };
    let used = sample.lines.len() - 2;
    for to in TestRegistry::each().await {
        for (text, line, member, what) in [
            (sample.with(|all| all.insert(1, all[0].clone())), 2, "", "does not know"),
            (sample.with(|all| all[1] = json!({ "robot": {} })), 2, "", "does not know"),
            (sample.with(|all| all[1] = json!([])), 2, "", "not a line of an export"),
            (moved(1, 4), 5, "tenant", "come before"),
            (moved(sample.at("credential", "scoped"), used), used as u64 + 1, "credential", "come before"),
            (moved(used, 2), 3, "use.credential", "does not exist"),
            ([&*sample.text, b"\n"].concat(), used as u64 + 3, "", "follows the last line"),
            (sample.text.repeat(2), used as u64 + 3, "", "follows the last line"),
        ] {
            to.refuses(&text, line, member, what).await;
        }
    }
}

#[tokio::test]
async fn wrong_trailer_is_rejected() {
    let sample = Sample::new().await;
    let last = sample.lines.len() - 1;
    let end = |edit: fn(&mut Value)| {
        let mut all = sample.lines.clone();
        let text: String = sample.text();
        let before = text.lines().take(last).map(|line| [line, "\n"].concat()).collect::<String>();
        edit(&mut all[last]["end"]);
        [before.into_bytes(), written(&all[last..])].concat()
    };
    for to in TestRegistry::each().await {
        for (text, member) in [
            (end(|it| it["counts"]["tenant"] = 9.into()), "end.counts"),
            (end(|it| drop(it["counts"].as_object_mut().unwrap().remove("lock"))), "end.counts"),
            (end(|it| it["peppers"] = json!([2])), "end.peppers"),
            (end(|it| it["seal_keys"] = json!([])), "end.seal_keys"),
            (end(|it| it["sha256"] = "0".repeat(64).into()), "end.sha256"),
            (end(|it| it["sha256"] = it["sha256"].as_str().unwrap().to_uppercase().into()), "end.sha256"),
            // The lines are altered consistently, so that only the trailer detects it.
            (sample.text().replacen("\"seq\":", "\"seq\":1", 1).into_bytes(), "end.sha256"),
            (sample.text().replacen("stocktaking", "something else", 1).into_bytes(), "end.sha256"),
            (sample.text().replacen("{\"end\":{", "{\"end\": {", 1).into_bytes(), "end"),
        ] {
            to.refuses(&text, last as u64 + 1, member, "does not match the lines before it").await;
        }
        to.refuses(&end(|it| it["later"] = 1.into()), last as u64 + 1, "end.later", "is invalid").await;
    }
}

#[tokio::test]
async fn duplicate_is_named() {
    let sample = Sample::new().await;
    let plain = &sample.lines[sample.at("credential", "plain")]["credential"]["digest"];
    for to in TestRegistry::each().await {
        for (kind, id, edits, member) in [
            ("tenant", "t", json!({}), "tenant.id"),
            ("tenant", "g", json!({ "id": "h" }), "tenant.gateway"),
            ("plan", "p", json!({ "limits": [] }), "plan.id"),
            ("caller", "app", json!({}), "caller.id"),
            ("caller", "client", json!({ "id": "c" }), "caller.name"),
            ("caller", "app", json!({ "id": "c", "name": "c" }), "caller.kind.app.key"),
            ("credential", "plain", json!({}), "credential.id"),
            ("credential", "plain", json!({ "id": "x" }), "credential.digest"),
            ("credential", "scoped", json!({ "id": "x", "digest": plain }), "credential.digest"),
            ("lock", "held", json!({}), "lock.id"),
        ] {
            let at = sample.at(kind, id);
            let text = sample.with(|all| {
                let mut second = all[at].clone();
                for (member, value) in edits.as_object().unwrap() {
                    second[kind][member] = value.clone();
                }
                all.insert(at + 1, second);
            });
            to.refuses(&text, at as u64 + 2, member, "is taken").await;
        }
    }
}

#[tokio::test]
async fn dangling_or_invalid_member_is_named_and_not_quoted() {
    let sample = Sample::new().await;
    for to in TestRegistry::each().await {
        for (kind, id, member, value, what) in [
            ("caller", "client", "tenant", json!("nowhere"), "does not exist"),
            ("caller", "client", "plan", json!("none"), "does not exist"),
            ("credential", "plain", "caller", json!("nobody"), "does not exist"),
            ("tenant", "t", "revision", json!(0), "has an impossible value"),
            ("credential", "plain", "revision", json!(u64::MAX), "has an impossible value"),
            ("credential", "plain", "digest", json!("hunter2"), "is invalid or unknown"),
            ("credential", "plain", "status", json!("hunter2"), "is invalid or unknown"),
            ("tenant", "t", "max_callers", json!(-1), "is invalid or unknown"),
            ("tenant", "t", "later", json!("hunter2"), "is not known to this version"),
            ("credential", "plain", "later", json!(null), "is not known to this version"),
        ] {
            let at = sample.at(kind, id);
            let text = sample.with(|all| all[at][kind][member] = value);
            to.refuses(&text, at as u64 + 1, &format!("{kind}.{member}"), what).await;
        }
        // The caller belongs to another tenant.
        let at = sample.at("credential", "plain");
        let text = sample.with(|all| all[at]["credential"]["tenant"] = "g".into());
        to.refuses(&text, at as u64 + 1, "credential.caller", "does not exist").await;
        let used = sample.lines.len() - 2;
        let text = sample.with(|all| all[used]["use"]["credential"] = "nobody".into());
        to.refuses(&text, used as u64 + 1, "use.credential", "does not exist").await;
    }
}

#[tokio::test]
async fn endless_line_is_not_read_to_its_end() {
    let [memory, _] = TestRegistry::each().await;
    let sample = Sample::new().await;
    let head = sample.text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut text = sample.text[..head].to_vec();
    text.extend(std::iter::repeat_n(b'x', 17 << 20));
    memory.refuses(&text, 2, "", "exceeds the maximum length").await;
}
