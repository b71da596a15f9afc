//! Messages of the TOML parser and of serde, in the words of this file's reader.

/// A syntax error.
pub(super) fn syntax(message: &str) -> String {
    const UNQUOTED: [&str; 4] = [
        "invalid float, expected nothing",
        "string values must be quoted, expected literal string",
        "invalid float, expected `nan`",
        "unexpected leading zero, expected nothing",
    ];
    let message = message.trim();
    if UNQUOTED.contains(&message) {
        return "this is not a value: text is written in quotes, such as \"127.0.0.1:8080\" or \"10s\""
            .into();
    }
    message.strip_suffix(", expected nothing").unwrap_or(message).replace('\n', " ")
}

/// The field that a message says is missing.
pub(super) fn missing_field(message: &str) -> Option<&str> {
    message.trim().strip_prefix("missing field `")?.strip_suffix('`')
}

/// A value of another type or form than its field takes.
pub(super) fn value(message: &str) -> String {
    let message = message.trim();
    if let Some(name) = missing_field(message) {
        return format!("the field `{name}` is missing");
    }
    match message {
        "invalid socket address syntax" => {
            "an address is an IP address and a port, such as \"127.0.0.1:9000\"; host names are not resolved"
                .into()
        }
        "invalid IP address syntax" => {
            "a network is an address and the length of its prefix, such as \"10.0.0.0/8\"".into()
        }
        _ => match message.split_once("expected struct ") {
            Some((before, _)) => format!("{before}expected a table"),
            None => message.replace('\n', " "),
        },
    }
}
