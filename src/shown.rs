//! Text of others as infra shows it. A server, a saved plan, a record or a repository wrote the
//! text, and nothing in it may drive a terminal, look like a line of infra's own, or give an order
//! to a CI job. Every output of infra passes such text through here.

use std::borrow::Cow;

/// How many bytes of one text are shown.
pub const MOST_BYTES: usize = 4096;

/// How many bytes of a name are shown: of a person, a commit, a machine.
pub const MOST_NAME_BYTES: usize = 256;

/// How many lines are shown of what is said of one failure.
pub const MOST_LINES: usize = 100;

/// `text` on one line, whatever its length: for what a plan would write, of which nothing may be
/// left out.
pub fn whole_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        push(&mut line, character);
    }
    without_commands(line)
}

/// At most [`MOST_BYTES`] of `text`, on one line.
pub fn line(text: &str) -> String {
    whole_line(&cut(text, MOST_BYTES))
}

/// At most [`MOST_NAME_BYTES`] of `text`, on one line.
pub fn name(text: &str) -> String {
    whole_line(&cut(text, MOST_NAME_BYTES))
}

/// At most [`MOST_BYTES`] and [`MOST_LINES`] of `text`; the lines after the first are indented, so
/// that none of them looks like a line of infra's own.
pub fn lines(text: &str) -> String {
    let text = cut(text.trim_end(), MOST_BYTES);
    shortened(text.split('\n').map(whole_line).collect()).join("\n  ")
}

/// The first [`MOST_LINES`] of `lines`, and how many there are more.
pub fn shortened(mut lines: Vec<String>) -> Vec<String> {
    if let Some(more) = lines.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
        lines.truncate(MOST_LINES);
        lines.push(format!("… {more} more lines"));
    }
    lines
}

/// `text`, which infra composed, without anything that a terminal would obey, apart from line feeds
/// and, if `is_colored`, the colors in it.
pub fn composed(text: &str, is_colored: bool) -> String {
    let clean = |text: &str| text.split('\n').map(whole_line).collect::<Vec<_>>().join("\n");
    if !is_colored {
        return clean(text);
    }
    text.split('\x1b').map(clean).collect::<Vec<_>>().join("\x1b")
}

/// Not more than `most` bytes of `text`, and a note if that is not all.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let first = &text[..text.floor_char_boundary(most)];
    Cow::Owned(format!("{first} … (cut, {} bytes in all)", text.len()))
}

/// Whether a terminal or a reader takes a character for something else than a part of the text:
/// a control character, a line separator, or one that shows nothing itself.
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // What Unicode calls `Default_Ignorable_Code_Point`: joiners, the marks that change the
            // direction of a line, selectors of variants, tags.
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
                // The separators of lines and paragraphs, and annotations.
                | '\u{2028}'..='\u{2029}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

fn push(line: &mut String, character: char) {
    if character != '\t' && is_hidden(character) {
        line.extend(character.escape_default());
    } else {
        line.push(character);
    }
}

/// `line` without the commands of CI systems. GitHub obeys `::error::` at the beginning of a line,
/// after spaces as well; GitHub, Azure and `TeamCity` obey `##[…]`, `##vso[…]` and `##teamcity[…]`
/// anywhere. GitLab's sections need a carriage return and an escape, which no line holds.
fn without_commands(mut line: String) -> String {
    let start = line.len() - line.trim_start().len();
    let command = line[start..].strip_prefix("::");
    let is_command = command.is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_alphabetic()) && rest.contains("::")
    });
    if is_command {
        line.replace_range(start..=start, "\\u{3a}");
    }
    let mut from = 0;
    while let Some(found) = line[from..].find("##") {
        let second = from + found + 1;
        let rest = line[second + 1..].trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        if rest.starts_with('[') {
            line.replace_range(second..=second, "\\u{23}");
        }
        from = second;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_drive_the_terminal() {
        for (text, expected) in [
            ("a\x1b[2Jb\r\u{9b}c\n\td\x7f", "a\\u{1b}[2Jb\\r\\u{9b}c\\n\td\\u{7f}"),
            ("x\u{202e}y é", "x\\u{202e}y é"),
            ("\u{61c}\u{200b}\u{200d}\u{2028}", "\\u{61c}\\u{200b}\\u{200d}\\u{2028}"),
            ("\u{ad}\u{2060}\u{feff}\u{fff9}", "\\u{ad}\\u{2060}\\u{feff}\\u{fff9}"),
            ("\u{e0041}日本 ñ", "\\u{e0041}日本 ñ"),
        ] {
            assert_eq!(whole_line(text), expected);
        }
    }

    #[test]
    fn text_gives_no_order_to_a_ci_job() {
        for (text, expected) in [
            ("::error::x", "\\u{3a}:error::x"),
            ("  ::add-mask::x", "  \\u{3a}:add-mask::x"),
            ("a ::error::x", "a ::error::x"),
            ("::1 localhost", "::1 localhost"),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
            ("a ##[error]x", "a #\\u{23}[error]x"),
            ("###[error]x", "##\\u{23}[error]x"),
            ("##vso[task.setvariable]x", "#\\u{23}vso[task.setvariable]x"),
            ("## a title [1]", "## a title [1]"),
        ] {
            assert_eq!(whole_line(text), expected);
        }
    }

    #[test]
    fn lines_after_the_first_are_indented() {
        assert_eq!(lines("a\nhint: b\n::error::c\n"), "a\n  hint: b\n  \\u{3a}:error::c");
        assert_eq!(composed("a\nb\x1b[1m", false), "a\nb\\u{1b}[1m");
        assert_eq!(composed("a\x1b[1m\u{202e}\n", true), "a\x1b[1m\\u{202e}\n");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let text = "é".repeat(3000);
        assert_eq!(line(&text), format!("{} … (cut, 6000 bytes in all)", "é".repeat(2048)));
        assert!(name(&text).len() < 300);
        assert_eq!(whole_line(&text), text);
    }
}
