//! The lines of what a program said that tell most about its failure.
//!
//! The last lines of a crash are those of its stack: the line that names the error is above them (PHP, Go, Rust,
//! Java) or below them (Python).

use std::collections::BTreeSet;

/// Stands for lines that are left out in between.
const GAP: &str = "…";

/// How many errors are looked for: the one that ended the program, and the one behind it.
const MOST_ERRORS: usize = 2;

/// How many lines a message may go on for below the line that names the error.
const MOST_MORE: usize = 2;

/// Texts somewhere in a line that names an error.
const MARKS: [&str; 8] = [
    "[emerg]",
    " panicked at ",
    "Exception in thread ",
    "Fatal error",
    "Parse error",
    "SQLSTATE[",
    "Segmentation fault",
    "Uncaught ",
];

/// The beginnings of such a line.
const STARTS: [&str; 9] = [
    "Caused by: ",
    "E: ",
    "ERROR: ",
    "Error: ",
    "FATAL: ",
    "error: ",
    "fatal error: ",
    "fatal: ",
    "panic: ",
];

/// The beginnings of the lines of a stack.
const FRAMES: [&str; 10] = [
    "#",
    "...",
    "File \"",
    "Stack trace:",
    "[stacktrace]",
    "at ",
    "goroutine ",
    "note: run with ",
    "stack backtrace:",
    "thrown in ",
];

/// At most `most` lines of a text: its last ones, and those that name what went wrong.
pub(super) fn last(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut errors = errors(&lines);
    errors.reverse();
    chosen(&lines, &errors, (0..lines.len()).rev(), most)
}

/// At most `most` lines of a text: its first ones, and those that name what went wrong.
pub(super) fn first(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    chosen(&lines, &errors(&lines), 0..lines.len(), most)
}

/// The lines of the first few of `errors`, and the others in `order` while there is room.
fn chosen(
    lines: &[&str],
    errors: &[Vec<usize>],
    order: impl Iterator<Item = usize>,
    most: usize,
) -> String {
    if lines.len() <= most {
        return lines.join("\n");
    }
    let mut kept = BTreeSet::new();
    for error in errors.iter().take(MOST_ERRORS) {
        let room = (most / 2).max(1).saturating_sub(kept.len());
        kept.extend(error.iter().take(room));
    }
    for line in order {
        if kept.insert(line) && length(&kept) > most {
            kept.remove(&line);
            break;
        }
    }
    let mut text: Vec<&str> = Vec::new();
    let mut next = None;
    for line in kept {
        if next.is_some_and(|next| next != line) {
            text.push(GAP);
        }
        text.extend(lines.get(line));
        next = Some(line + 1);
    }
    text.join("\n")
}

/// How many lines are shown for these, with those that stand for a gap.
fn length(kept: &BTreeSet<usize>) -> usize {
    let gaps = kept.iter().zip(kept.iter().skip(1)).filter(|(line, next)| *line + 1 != **next);
    kept.len() + gaps.count()
}

/// The numbers of the lines that name each error, and of those on which its message goes on.
fn errors(lines: &[&str]) -> Vec<Vec<usize>> {
    let mut errors: Vec<Vec<usize>> = Vec::new();
    // How far a traceback of Python is indented, until the line that names its error.
    let mut traceback = None;
    for (number, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with("Traceback (most recent call last)") {
            traceback = Some(indent);
            continue;
        }
        let ends_traceback =
            !line.trim().is_empty() && traceback.is_some_and(|outer| indent <= outer);
        if !ends_traceback && !names_error(line) {
            continue;
        }
        if ends_traceback {
            traceback = None;
        }
        let goes_on = |line: &&&str| {
            let text = line.trim();
            let is_frame = FRAMES.iter().any(|start| text.starts_with(start));
            !text.is_empty() && !is_frame && !names_error(line)
        };
        let more = lines.iter().skip(number + 1).take_while(goes_on).take(MOST_MORE).count();
        errors.push((number..=number + more).collect());
    }
    errors
}

/// Whether a line names an error by itself.
fn names_error(line: &str) -> bool {
    let text = line.trim_start();
    MARKS.iter().any(|mark| text.contains(mark))
        || STARTS.iter().any(|start| text.starts_with(start))
        || is_exception(text)
}

/// Whether a text begins as `sqlite3.OperationalError: …`, `TypeError [ERR_INVALID_ARG_TYPE]: …` or
/// `App\Exception: …` do.
fn is_exception(text: &str) -> bool {
    let Some((name, _)) = text.split_once(": ") else { return false };
    let name = name.split_once(" [").map_or(name, |(name, _)| name);
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "_.\\$:".contains(c);
    ["Error", "Exception"].iter().any(|end| name.ends_with(end)) && name.chars().all(is_of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_its_beginning_and_the_error() {
        let frames: Vec<String> = (0..30).map(|n| format!("#{n} /srv/app/{n}.php: f()")).collect();
        let frames = frames.join("\n");
        let page = format!(
            "<!DOCTYPE html>\n<html>\n<head>\n<title>App</title>\n</head>\n<body>\n<br />\n\
             <b>Fatal error</b>:  Uncaught PDOException: SQLSTATE[HY000]: no such table: jobs\n\
             Stack trace:\n{frames}\n</body>\n"
        );
        assert_eq!(
            first(&page, 6),
            "<!DOCTYPE html>\n<html>\n<head>\n<title>App</title>\n…\n\
             <b>Fatal error</b>:  Uncaught PDOException: SQLSTATE[HY000]: no such table: jobs"
        );
    }

    #[test]
    fn a_text_without_an_error_keeps_its_end() {
        let text: Vec<String> = (1..=9).map(|n| n.to_string()).collect();
        let text = text.join("\n");
        assert_eq!(last(&text, 3), "7\n8\n9");
        assert_eq!(first(&text, 3), "1\n2\n3");
        assert_eq!(last(&text, 9), text);
        assert_eq!(last(&text, 0), "");
    }

    #[test]
    fn errors_have_names() {
        for (line, names) in [
            ("sqlite3.OperationalError: no such table: jobs", true),
            ("TypeError [ERR_INVALID_ARG_TYPE]: The argument is wrong", true),
            ("Flus\\Exception: no", true),
            ("java.lang.IllegalStateException: no", true),
            ("nginx: [emerg] bind() to 0.0.0.0:80 failed", true),
            ("  error: linking failed", true),
            ("the last Error: none", false),
            ("app.service: Failed with result 'exit-code'.", false),
            ("app.service: Main process exited, code=exited, status=255/EXCEPTION", false),
            ("#3 {main}", false),
            ("Errors: 0", false),
        ] {
            assert_eq!(names_error(line), names, "{line}");
        }
    }
}
