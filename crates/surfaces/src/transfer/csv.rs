//! A strict reader of CSV (RFC 4180) that rejects ambiguous input.

/// The first line of a record and its fields, or the line of an error and its description.
pub(super) type Record = Result<(u64, Vec<String>), (u64, &'static str)>;

/// Returns the records of a text, without empty lines. Ends after the first error.
pub(super) fn records(text: &str) -> impl Iterator<Item = Record> {
    let (mut rest, mut line, mut failed) = (text, 1, false);
    std::iter::from_fn(move || {
        loop {
            if failed || rest.is_empty() {
                return None;
            }
            let start = line;
            match record(&mut rest, &mut line) {
                Ok(fields) if fields.iter().all(String::is_empty) && fields.len() == 1 => {}
                Ok(fields) => return Some(Ok((start, fields))),
                Err(what) => {
                    failed = true;
                    return Some(Err((line, what)));
                }
            }
        }
    })
}

/// Removes a record with its line end from the start of a text.
fn record(rest: &mut &str, line: &mut u64) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    loop {
        fields.push(match rest.strip_prefix('"') {
            Some(quoted) => {
                *rest = quoted;
                within_quotes(rest, line)?
            }
            None => plain(rest)?,
        });
        if let Some(next) = rest.strip_prefix(',') {
            *rest = next;
            continue;
        }
        let next = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n'));
        match next {
            Some(next) => (*rest, *line) = (next, *line + 1),
            None if rest.is_empty() => {}
            None => return Err("text follows a closing quote, or a line ends with CR alone"),
        }
        return Ok(fields);
    }
}

fn plain(rest: &mut &str) -> Result<String, &'static str> {
    let (field, next) = rest.split_at(rest.find([',', '\r', '\n']).unwrap_or(rest.len()));
    *rest = next;
    if field.contains('"') {
        Err("a field without quotes around it contains a quote")
    } else {
        Ok(field.to_owned())
    }
}

fn within_quotes(rest: &mut &str, line: &mut u64) -> Result<String, &'static str> {
    let mut field = String::new();
    loop {
        let (part, next) = rest.split_once('"').ok_or("a quoted field has no closing quote")?;
        field.push_str(part);
        *line += part.matches('\n').count() as u64;
        let Some(more) = next.strip_prefix('"') else {
            *rest = next;
            return Ok(field);
        };
        field.push('"');
        *rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Record> {
        records(text).collect()
    }

    fn all(records: &[(u64, &[&str])]) -> Vec<Record> {
        let owned = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect();
        records.iter().map(|(line, fields)| Ok((*line, owned(fields)))).collect()
    }

    #[test]
    fn fields_are_separated_by_commas_outside_quotes() {
        assert_eq!(read(""), []);
        assert_eq!(read("a,b\n"), all(&[(1, &["a", "b"])]));
        assert_eq!(read("a,b\r\n\r\n\nc, d ,"), all(&[(1, &["a", "b"]), (4, &["c", " d ", ""])]));
        let text = "\"a \"\"b\"\", c\",\"\"\n\"two\nlines\",x\ny,é";
        let expected = all(&[(1, &["a \"b\", c", ""]), (2, &["two\nlines", "x"]), (4, &["y", "é"])]);
        assert_eq!(read(text), expected);
    }

    #[test]
    fn ambiguous_csv_is_rejected_with_its_line() {
        for (text, line) in [
            ("a,\"b\"c\n", 1),
            ("a\nb\"c\n", 2),
            ("a\n\"b", 2),
            ("\"a\n\nb", 1),
            ("a\rb\n", 1),
            ("\"a\" ,b", 1),
        ] {
            let last = read(text).pop().unwrap();
            assert!(matches!(last, Err((at, _)) if at == line), "{text:?}: {last:?}");
        }
    }
}
