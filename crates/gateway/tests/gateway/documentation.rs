//! The README and the pages in `docs/`: every fence of TOML is loaded as a configuration, and every code of a denial is
//! documented.
//!
//! A fence is a whole configuration or a part of one. The test completes a part: it adds `store`, `secrets`, `listeners`
//! and every upstream that a route names, as far as the fence has none. A comment directly before the fence can say
//! more:
//!
//! * `<!-- toml: skip -->`: the fence is no configuration of the gateway.
//! * `<!-- toml:` with lines up to `-->`: lines to put before the fence, such as `[[routes]]` and its `path`, for a fence
//!   that shows only some settings of a route.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use portcullis_gateway::config::{Config, Review, Severity};

const FENCE: &str = "```toml";
const COMMENT: &str = "<!-- toml:";

/// The required tables and a value for each.
const HEAD: [(&str, &str); 3] = [
    ("store", "store.path = \"data/portcullis.db\""),
    ("secrets", "secrets.file = \"data/secrets.toml\""),
    ("listeners", "listeners = [{ address = \"127.0.0.1:8080\" }]"),
];

/// A fence: the number of its first line, the lines to put before it, and its text.
#[derive(Debug, PartialEq)]
struct Fence {
    line: usize,
    before: String,
    text: String,
}

/// Returns the fences of a page that are configurations.
fn fences(page: &str) -> Vec<Fence> {
    let (mut found, mut before) = (Vec::new(), Some(String::new()));
    let mut lines = page.lines().enumerate();
    while let Some((_, line)) = lines.next() {
        if let Some(comment) = line.strip_prefix(COMMENT) {
            before = match comment.trim() {
                "skip -->" => None,
                first => {
                    let mut text = vec![first];
                    if !first.ends_with("-->") {
                        text.extend(lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "-->"));
                    }
                    Some(text.join("\n").trim_end_matches("-->").trim().to_owned())
                }
            };
        } else if line == FENCE {
            let mut text = Vec::new();
            let mut start = 0;
            for (at, line) in lines.by_ref().take_while(|(_, line)| *line != "```") {
                start = if text.is_empty() { at + 1 } else { start };
                text.push(line);
            }
            found.extend(before.take().map(|before| Fence { line: start, before, text: text.join("\n") }));
            before = Some(String::new());
        } else if !line.is_empty() {
            before = Some(String::new());
        }
    }
    found
}

/// Returns a fence as a whole configuration.
fn completed(fence: &Fence) -> Result<String, toml::de::Error> {
    let text = format!("{}\n{}", fence.before, fence.text);
    let table: toml::Table = text.parse()?;
    let missing = HEAD.iter().filter(|(name, _)| !table.contains_key(*name));
    let mut lines: Vec<String> = missing.map(|(_, line)| (*line).to_owned()).collect();
    lines.push(text);
    let routes = table.get("routes").and_then(toml::Value::as_array).into_iter().flatten();
    let mut names: Vec<_> = routes.filter_map(|route| route.get("upstream")?.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let defined = |name: &str| table.get("upstreams").is_some_and(|upstreams| upstreams.get(name).is_some());
    let undefined = names.into_iter().filter(|name| !defined(name));
    lines.extend(undefined.map(|name| format!("[upstreams.{name}]\naddress = \"127.0.0.1:9000\"")));
    Ok(lines.join("\n"))
}

/// Returns the errors of a fence.
fn errors(fence: &Fence) -> Vec<String> {
    let whole = match completed(fence) {
        Ok(whole) => whole,
        Err(error) => return vec![error.to_string()],
    };
    let findings = Review::of_text(&whole).findings();
    let errors = findings.iter().filter(|finding| finding.severity() == Severity::Error);
    errors.map(|error| format!("{error}\nin:\n{whole}")).collect()
}

/// Returns the root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the codes of all denials. They are read from the source of `code()`, because a list here could miss a new one.
fn denial_codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for file in ["src/denial.rs", "src/denial/signature_error.rs"] {
        let source = fs::read_to_string(root().join(file)).unwrap();
        let (_, body) = source.split_once("pub fn code(&self) -> &'static str {").unwrap();
        let (body, _) = body.split_once("\n    }\n").unwrap();
        // Every second part between quotation marks is a string literal.
        codes.extend(body.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    codes
}

#[test]
fn every_documented_configuration_loads() {
    let root = root();
    let mut pages = vec![root.join("README.md")];
    pages.extend(fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    let mut wrong = Vec::new();
    for page in &pages {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        for fence in fences(&fs::read_to_string(page).unwrap()) {
            wrong.extend(errors(&fence).into_iter().map(|error| format!("{name}:{}: {error}", fence.line)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_denial_code_is_documented() {
    let codes = denial_codes();
    // `code()` has one part in each file.
    assert!(codes.contains("credential-missing") && codes.contains("signature-expired"), "{codes:?}");
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    // The headings of other sections begin with a capital letter.
    let is_code = |heading: &&str| heading.starts_with(|first: char| first.is_ascii_lowercase());
    let headings = page.lines().filter_map(|line| line.strip_prefix("## ")).filter(is_code);
    let sections: Vec<String> = headings.map(str::to_owned).collect();
    let distinct: BTreeSet<String> = sections.iter().cloned().collect();
    assert_eq!(distinct, codes);
    assert_eq!(distinct.len(), sections.len(), "the anchor of a repeated heading differs: {sections:?}");
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for code in &codes {
        assert!(page.contains(&format!("[{code}](#{code})")), "{code} is not in the table of contents");
        assert!(readme.contains(&format!("`{code}`")), "{code} is not in the README");
    }
}

#[test]
fn fence_is_completed_as_its_comment_says() {
    let page = "text\n<!-- toml: skip -->\n```toml\naxum = 1\n```\n<!-- toml:\n[[routes]]\npath = \"/\"\n-->\n\n\
                ```toml\nupstream = \"a\"\n```\n<!-- toml: skip -->\ntext\n```toml\nlisteners = []\nx = 1\n```\n";
    let found = fences(page);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].line, found[1].line), (12, 17));
    let whole = completed(&found[0]).unwrap();
    let config = Config::parse(&whole).unwrap();
    assert_eq!((config.routes.len(), config.upstreams.len()), (1, 1), "{whole}");
    let errors = errors(&found[1]).join("\n");
    assert!(errors.contains("unknown field `x`"), "{errors}");
}
