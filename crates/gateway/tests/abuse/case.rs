//! The cases of `tests/data/abuse.json`.

use serde::Deserialize;

/// The status of a case in which the connection, or the stream, ends without a response.
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
    /// The behaviour of the gateway if it differs, and the reason for it.
    ours: Option<Expected>,
    why: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Expected {
    /// The allowed status codes. An empty list allows all. [`NO_ANSWER`] stands for no response.
    pub status: Vec<u16>,
    pub upstream_requests: Option<usize>,
    pub connection: Option<String>,
    pub invariant: Option<String>,
}

impl Case {
    /// Returns the expectation to check: that of the gateway if there is one, or else the general one.
    pub fn checked(&self) -> &Expected {
        assert_eq!(self.ours.is_some(), self.why.is_some(), "{}: what is ours has its reason", self.id);
        self.ours.as_ref().unwrap_or(&self.expected)
    }

    pub fn is_ours(&self) -> bool {
        self.ours.is_some()
    }

    /// Returns the bytes of the case, with the placeholders replaced.
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
    let file: File = serde_json::from_str(include_str!("../../../../tests/data/abuse.json")).unwrap();
    file.cases
}

/// Returns the cases of a class that are bytes of HTTP/1.1.
pub fn heads(class: &str) -> Vec<Case> {
    let of_class = |case: &Case| case.class == class && case.raw.is_some();
    all().into_iter().filter(of_class).collect()
}

/// Returns the case with the given id.
pub fn case(id: &str) -> Case {
    all().into_iter().find(|case| case.id == id).unwrap_or_else(|| panic!("{id} is not among the cases"))
}
