//! HTTP/1.1: one request at a time.

use std::time::Instant;

use crate::connection::{Answer, Request};

const END: &[u8] = b"\r\n\r\n";

/// Returns the headers of every request, for both protocols.
pub fn fields(key: Option<&str>, body: usize) -> Vec<(&'static str, String)> {
    let mut fields = vec![("user-agent", "load".into()), ("accept", "application/json".into())];
    fields.extend(key.map(|key| ("x-api-key", key.into())));
    if body > 0 {
        fields.push(("content-type", "application/json".into()));
        fields.push(("content-length", body.to_string()));
    }
    fields
}

pub fn head(path: &str, fields: &[(&str, String)], post: bool) -> Vec<u8> {
    let method = if post { "POST" } else { "GET" };
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: api.example\r\n");
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    (head + "\r\n").into_bytes()
}

#[derive(Default)]
pub struct Http1 {
    due: Option<Instant>,
}

impl Http1 {
    pub fn begin(&mut self, request: &Request, due: Instant, output: &mut Vec<u8>) {
        self.due = Some(due);
        output.extend_from_slice(&request.head);
        output.extend_from_slice(&request.body);
    }

    pub fn running(&self) -> usize {
        usize::from(self.due.is_some())
    }

    pub fn read(&mut self, input: &mut Vec<u8>, answers: &mut Vec<Answer>) -> bool {
        let Some((status, head, content)) = answer(input) else { return true };
        input.drain(..head + content);
        answers.extend(self.due.take().map(|due| Answer { status, due, content: content as u64 }));
        true
    }
}

/// Returns status, length of the head and length of the body, once all of it has arrived. A status of 0 means that
/// the bytes are not HTTP.
fn answer(input: &[u8]) -> Option<(u16, usize, usize)> {
    let head = input.windows(END.len()).position(|it| it == END)? + END.len();
    let text = std::str::from_utf8(&input[..head]).unwrap_or_default();
    let status = text.get(9..12).and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut content = 0;
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            content = value.trim().parse().unwrap_or(0);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            // The responses are small and well-formed, so chunks are not parsed.
            content = input[head..].windows(5).position(|it| it == b"0\r\n\r\n")? + 5;
        }
    }
    (input.len() >= head + content).then_some((status, head, content))
}
