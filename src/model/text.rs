//! Texts that people read: names, remarks, reasons.

use std::{borrow::Cow, fmt::Write, ops::RangeInclusive};

/// Returns `true` if a character may be part of a name, a remark or a reason.
///
/// Control characters, line and paragraph separators, noncharacters, and characters without a glyph are excluded:
/// those that Unicode calls default-ignorable, such as zero-width and bidirectional formatting characters, other
/// formatting characters, and blanks that are no white space. They would make two names look alike, or change how a
/// terminal or a page displays the text around them.
///
/// ```
/// use portcullis::model::text::is_displayable;
///
/// assert!("Straße 应用 😀".chars().all(is_displayable));
/// assert!(!['\n', '\u{202e}', '\u{200b}', '\u{2028}'].into_iter().any(is_displayable));
/// ```
#[must_use]
pub fn is_displayable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}')
        && !is_ignorable(c)
        && !is_shapeless(c)
}

/// Returns `true` for formatting characters that are not default-ignorable (Unicode's category `Cf`), the blanks of
/// Braille and musical notation, and noncharacters.
fn is_shapeless(c: char) -> bool {
    matches!(
        c,
        '\u{600}'..='\u{605}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{2800}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1d159}'
            | '\u{fdd0}'..='\u{fdef}'
    ) || u32::from(c) & 0xfffe == 0xfffe
}

/// Returns `true` for Unicode's property `Default_Ignorable_Code_Point`. Its ranges are reserved for such
/// characters, assigned or not.
fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Returns `true` if the number of characters is within `length` and all of them are [displayable](is_displayable).
/// A text that must not be empty must also contain more than white space.
#[must_use]
pub fn is_label(text: &str, length: RangeInclusive<usize>) -> bool {
    let is_blank = *length.start() > 0 && text.trim().is_empty();
    length.contains(&text.chars().count()) && !is_blank && text.chars().all(is_displayable)
}

/// Escapes each character that is not [displayable](is_displayable) as `\u{…}`, so that the text is safe to write
/// to a terminal.
///
/// ```
/// use portcullis::model::text::escaped;
///
/// assert_eq!(escaped("a\u{1b}[2J"), r"a\u{1b}[2J");
/// ```
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_displayable) {
        return text.into();
    }
    let escape = |c: char| -> Cow<'static, str> {
        if is_displayable(c) { c.to_string().into() } else { c.escape_unicode().to_string().into() }
    };
    text.chars().map(escape).collect::<String>().into()
}

/// Escapes each line of a text like [`escaped`]. Line feeds stay.
#[must_use]
pub fn escaped_lines(text: &str) -> String {
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// Escapes each character that is not [displayable](is_displayable) in JSON text as `\uXXXX`. The result is
/// equivalent JSON that is safe to write to a terminal. Such characters occur only within strings; line feeds
/// between values stay.
#[must_use]
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    let stays = |c: char| is_displayable(c) || c == '\n';
    if json.chars().all(stays) {
        return json.into();
    }
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if stays(c) {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_displayable_and_invisible_characters_are_not() {
        for c in [
            '\0',
            '\t',
            '\n',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{fffa}',
            '\u{e0041}',
            '\u{600}',
            '\u{2800}',
            '\u{13430}',
            '\u{1d159}',
            '\u{fdd0}',
            '\u{fffe}',
            '\u{10ffff}',
        ] {
            assert!(!is_displayable(c), "{c:?}");
        }
        for c in ['a', ' ', '\u{a0}', 'é', '应', 'ق', '\u{301}', '😀', '\u{fffd}'] {
            assert!(is_displayable(c), "{c:?}");
        }
    }

    #[test]
    fn label_is_counted_in_characters() {
        assert!(is_label("ééé", 1..=3));
        assert!(!is_label("éééé", 1..=3));
        assert!(!is_label("", 1..=3));
        assert!(!is_label(" \u{3000}", 1..=3));
        assert!(is_label("", 0..=3));
        assert!(!is_label("a\u{202e}", 1..=3));
    }

    #[test]
    fn escaped_json_is_equivalent() {
        let value = serde_json::json!({ "a": "\u{202e}\u{e0041}\u{9b}\n é" });
        let (raw, lines) = (value.to_string(), format!("{value}\n{value}\n"));
        let escaped = escaped_json(&raw);
        assert!(escaped.chars().all(is_displayable), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        assert_eq!(escaped_json(&lines).lines().count(), 2);
    }
}
