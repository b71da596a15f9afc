//! Clearer wording for messages of the TOML parser and of serde.

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
        _ => match message.split_once("expected struct ") {
            Some((before, _)) => format!("{before}expected a table"),
            None => message.replace('\n', " "),
        },
    }
}
