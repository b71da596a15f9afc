//! Clearer wording for messages of the TOML parser and of serde.

use std::borrow::Cow;

/// Rewords a syntax error.
pub(super) fn syntax(message: &str) -> String {
    const UNQUOTED: [&str; 4] = [
        "invalid float, expected nothing",
        "string values must be quoted, expected literal string",
        "invalid float, expected `nan`",
        "unexpected leading zero, expected nothing",
    ];
    let message = message.trim();
    if UNQUOTED.contains(&message) {
        return "this is not a value: text must be in quotes, such as \"127.0.0.1:8080\" or \"10s\"".into();
    }
    message.strip_suffix(", expected nothing").unwrap_or(message).replace('\n', " ")
}

/// Returns the missing field that a message names.
pub(super) fn missing_field(message: &str) -> Option<&str> {
    message.trim().strip_prefix("missing field `")?.strip_suffix('`')
}

/// Rewords an error about a value of the wrong type or form.
pub(super) fn value(message: &str) -> String {
    let message = message.trim();
    if let Some(name) = missing_field(message) {
        return format!("the field `{name}` is missing");
    }
    match message {
        "invalid socket address syntax" => {
            "an address must be an IP address and a port, such as \"127.0.0.1:9000\"; host names are not resolved"
                .into()
        }
        "invalid IP address syntax" => {
            "a network must be an address and a prefix length, such as \"10.0.0.0/8\"".into()
        }
        _ => mismatch(message).unwrap_or_else(|| {
            let message = message.replace('\n', " ");
            match message.strip_prefix("unknown variant ") {
                Some(rest) => format!("unknown value {rest}"),
                None => message,
            }
        }),
    }
}

/// Rewords serde's error about a value of the wrong type or out of range, which names types of Rust.
fn mismatch(message: &str) -> Option<String> {
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, wanted) = rest.rsplit_once(", expected ")?;
    Some(format!(
        "expected {}, found {}",
        expected(wanted).replace('\n', " "),
        found_value(found).replace('\n', " ")
    ))
}

/// Describes the values that a setting accepts.
fn expected(wanted: &str) -> Cow<'_, str> {
    let (least, number) = match wanted.strip_prefix("a nonzero ") {
        Some(number) => (1, number),
        None => (0, wanted),
    };
    match number {
        "u8" => format!("a whole number from {least} to {}", u8::MAX).into(),
        "u16" => format!("a whole number from {least} to {}", u16::MAX).into(),
        "u32" => format!("a whole number from {least} to {}", u32::MAX).into(),
        "u64" | "usize" => format!("a whole number of at least {least}").into(),
        "a boolean" => "true or false".into(),
        "a string" => "text in quotes".into(),
        "path string" => "a path in quotes".into(),
        "socket address" => "an address and port in quotes".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        _ if number.starts_with("struct ") => "a table".into(),
        _ => wanted.into(),
    }
}

/// Describes the value in the file.
fn found_value(value: &str) -> Cow<'_, str> {
    match value {
        "sequence" => "a list".into(),
        "map" => "a table".into(),
        _ => match value.split_once(' ') {
            Some(("string", text)) => text.into(),
            Some(("integer" | "boolean", text)) => text.trim_matches('`').into(),
            Some(("floating", text)) => text.trim_start_matches("point ").trim_matches('`').into(),
            _ => value.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_type_is_described_without_types_of_rust() {
        for (message, expected) in [
            (
                "invalid type: string \"x\", expected u64",
                "expected a whole number of at least 0, found \"x\"",
            ),
            (
                "invalid value: integer `0`, expected a nonzero u32",
                "expected a whole number from 1 to 4294967295, found 0",
            ),
            ("invalid value: integer `-1`, expected u8", "expected a whole number from 0 to 255, found -1"),
            ("invalid type: floating point `1.5`, expected a boolean", "expected true or false, found 1.5"),
            ("invalid type: boolean `true`, expected a string", "expected text in quotes, found true"),
            ("invalid type: map, expected a sequence", "expected a list, found a table"),
            ("invalid type: sequence, expected struct Store", "expected a table, found a list"),
            (
                "invalid type: string \"a, expected b\", expected path string",
                "expected a path in quotes, found \"a, expected b\"",
            ),
            ("unknown variant `x`, expected `y` or `z`", "unknown value `x`, expected `y` or `z`"),
            ("unknown field `x`, expected `y`", "unknown field `x`, expected `y`"),
        ] {
            assert_eq!(value(message), expected);
        }
    }
}
