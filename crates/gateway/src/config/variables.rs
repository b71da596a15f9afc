//! Detection of shell and template variables in values. The configuration file expands none.

/// Returns the first variable in a text: `${NAME}`, `$(command)`, `{{ name }}`, or `$NAME` at the start of a part.
pub(super) fn unexpanded(text: &str) -> Option<&str> {
    let closed = |open: &str, close: &str| {
        text.match_indices(open).find_map(|(start, _)| {
            let end = text[start..].find(close).map_or(text.len(), |length| start + length + close.len());
            let variable = text.get(start..end)?;
            // `${1}` is a group of a regular expression.
            let digits = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
            let is_group =
                variable.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).is_some_and(digits);
            (!is_group).then_some(variable)
        })
    };
    closed("${", "}").or_else(|| closed("$(", ")")).or_else(|| closed("{{", "}}")).or_else(|| named(text))
}

/// Returns the first `$NAME` in capitals, as environment variables are written. `$metadata`, for example, is part of a
/// path.
fn named(text: &str) -> Option<&str> {
    text.match_indices('$').find_map(|(at, _)| {
        let starts_part = text[..at].chars().next_back().is_none_or(|before| "/:@,=".contains(before));
        let name = &text[at + 1..];
        let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
        let name = &name[..end];
        let is_capital = |c: char| c.is_ascii_uppercase() || c == '_';
        let variable = name.starts_with(is_capital) && !name.contains(|c: char| c.is_ascii_lowercase());
        (starts_part && variable).then(|| &text[at..=at + end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_differ_from_names_with_a_dollar_sign() {
        for (text, found) in [
            ("${HOST}:80", Some("${HOST}")),
            ("127.0.0.1:${PORT", Some("${PORT")),
            ("$HOME/store.db", Some("$HOME")),
            ("/srv/$NAME", Some("$NAME")),
            ("$(hostname)", Some("$(hostname)")),
            ("{{ .Values.port }}", Some("{{ .Values.port }}")),
            ("/odata/$metadata", None),
            ("/${1}-${HOST}", Some("${HOST}")),
            ("/${1}a${23}", None),
            ("/a$B", None),
            ("/100$", None),
            ("plain", None),
        ] {
            assert_eq!(unexpanded(text), found, "{text}");
        }
    }
}
