//! Text output for people: a table for a list, lines for a single entry.

use std::io::{self, Write};

use serde_json::Value;

use portcullis::model::text::{escaped, escaped_json};

/// A column: its heading and the JSON pointer of its value in each row.
pub type Column = (&'static str, &'static str);

/// Formats a value on one line.
pub fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => escaped(text).into_owned(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.into(),
        Some(Value::Array(all)) if all.iter().all(|one| !one.is_object() && !one.is_array()) => {
            if all.is_empty() {
                "-".into()
            } else {
                all.iter().map(|one| text(Some(one))).collect::<Vec<_>>().join(",")
            }
        }
        Some(other) => escaped_json(&other.to_string()).into_owned(),
    }
}

/// Writes rows under headings. Each column is as wide as its widest cell.
///
/// # Errors
/// If `out` cannot be written.
pub fn table(out: &mut dyn Write, columns: &[Column], rows: &[Value], headings: bool) -> io::Result<()> {
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|(_, place)| text(row.pointer(place))).collect()).collect();
    let width = |at: usize| {
        let heading = columns[at].0.chars().count();
        cells.iter().map(|row| row[at].chars().count()).max().unwrap_or_default().max(heading)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut line = |cells: &[&str]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    if headings {
        line(&columns.iter().map(|(heading, _)| *heading).collect::<Vec<_>>())?;
    }
    cells.iter().try_for_each(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// Writes the members of an entry, one line for each. Nested members are named by their path.
///
/// # Errors
/// If `out` cannot be written.
pub fn lines(out: &mut dyn Write, thing: &Value) -> io::Result<()> {
    let mut all = Vec::new();
    flatten("", thing, &mut all);
    let width = all.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    all.iter().try_for_each(|(name, value)| writeln!(out, "{name:<width$}  {value}"))
}

fn flatten(name: &str, value: &Value, into: &mut Vec<(String, String)>) {
    let below = |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(part, value)| flatten(&below(part), value, into));
        }
        Value::Array(all) if all.iter().any(|one| one.is_object() || one.is_array()) => {
            all.iter().enumerate().for_each(|(at, value)| flatten(&below(&at.to_string()), value, into));
        }
        value => into.push((escaped(name).into_owned(), text(Some(value)))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_fit_their_widest_cell() {
        let rows = [json!({"id": "a", "at": {"x": 1}}), json!({"id": "long one", "at": {"x": null}})];
        let columns = [("ID", "/id"), ("X", "/at/x"), ("NONE", "/none")];
        let text = written(|out| table(out, &columns, &rows, true));
        assert_eq!(text, "ID        X  NONE\na         1  -\nlong one  -  -\n");
    }

    #[test]
    fn single_object_is_printed_by_member() {
        let thing = json!({"id": "a", "limits": [{"quota": 5}], "tags": ["x", "y"], "none": [], "on": true});
        let text = written(|out| lines(out, &thing));
        assert_eq!(
            text,
            "id              a\nlimits.0.quota  5\nnone            -\non              yes\ntags            x,y\n"
        );
    }

    /// A client that may name a thing must not control the terminal of an operator that lists it.
    #[test]
    fn invisible_characters_are_escaped() {
        assert_eq!(text(Some(&json!("a\u{1b}[31m\n"))), r"a\u{1b}[31m\u{a}");
        assert_eq!(text(Some(&json!(["a\u{202e}"]))), r"a\u{202e}");
        assert_eq!(text(Some(&json!([{ "a": "\u{9b}" }]))), r#"[{"a":"\u009b"}]"#);
        let shown = written(|out| lines(out, &json!({ "a\u{202e}": { "b": "\u{200b}" } })));
        assert_eq!(shown, "a\\u{202e}.b  \\u{200b}\n");
    }
}
