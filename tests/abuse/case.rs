//! The cases, as they are written.

use serde::Deserialize;

/// What cannot be seen in an answer: the connection, or the stream, ended without one.
pub const NO_ANSWER: u16 = 0;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    pub id: String,
    pub class: String,
    pub raw: Option<String>,
    expected: Expected,
    /// What the gateway does instead, and why that is.
    ours: Option<Expected>,
    why: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Expected {
    /// Any of these; nothing is any status. [`NO_ANSWER`] is none.
    pub status: Vec<u16>,
    pub upstream_requests: Option<usize>,
    pub connection: Option<String>,
    pub invariant: Option<String>,
}

impl Case {
    /// What is checked: what is expected of anybody, or what we do instead.
    pub fn checked(&self) -> &Expected {
        assert_eq!(self.ours.is_some(), self.why.is_some(), "{}: what is ours has its reason", self.id);
        self.ours.as_ref().unwrap_or(&self.expected)
    }

    pub fn is_ours(&self) -> bool {
        self.ours.is_some()
    }

    /// Its bytes, with what the placeholders stand for.
    pub fn bytes(&self, host: &str, [a, b]: [&str; 2]) -> Vec<u8> {
        let raw = self.raw.as_ref().expect("a case with bytes");
        let text = raw.replace("{HOST}", host).replace("{KEY_A}", a).replace("{KEY_B}", b);
        assert!(!text.contains('{'), "{}: a placeholder is left", self.id);
        text.chars().map(|c| u8::try_from(u32::from(c)).expect("latin-1")).collect()
    }

    pub fn check_status(&self, status: u16) {
        let allowed = &self.checked().status;
        assert!(allowed.is_empty() || allowed.contains(&status), "{}: {status}, not {allowed:?}", self.id);
    }
}

pub fn all() -> Vec<Case> {
    let file: File = serde_json::from_str(include_str!("../data/abuse.json")).unwrap();
    file.cases
}

/// The cases of a class that are bytes of HTTP/1.1.
pub fn heads(class: &str) -> Vec<Case> {
    let of_class = |case: &Case| case.class == class && case.raw.is_some();
    all().into_iter().filter(of_class).collect()
}

/// A case by its id.
pub fn case(id: &str) -> Case {
    all().into_iter().find(|case| case.id == id).unwrap_or_else(|| panic!("{id} is not among the cases"))
}
