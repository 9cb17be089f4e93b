//! Files of lines of which somebody else owns the rest: read and edited by bytes.
//!
//! Whatever the character set of a file is, all lines but the edited ones keep their bytes and their
//! ends. Nothing is decoded but to be looked at.

use std::borrow::Cow;

use super::probe::{Probe, Stat};
use crate::error::{Error, Result};

/// The largest file that is edited line by line, in bytes: each line takes memory of its own.
const LARGEST_BYTES: usize = 4 * 1024 * 1024;

/// The mark that programs for Windows put before the first line of a text in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines of a file, with the ends that they have.
pub(super) struct Lines<'a> {
    /// A mark of the character set, which belongs to no line.
    start: &'a [u8],
    /// Each line with its own end; the last one may have none.
    each: Vec<Cow<'a, [u8]>>,
    /// The end that new lines get: `\n` or `\r\n`.
    end: &'static [u8],
}

impl<'a> Lines<'a> {
    /// Splits the content of a file. Where the first line and most others end with `\r\n`, the `\r` is a
    /// part of the end; in all other files it is a part of the line.
    pub(super) fn of(content: &'a [u8]) -> Self {
        let text = content.strip_prefix(MARK).unwrap_or(content);
        let start = content.strip_suffix(text).unwrap_or_default();
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let ended = lines.iter().filter(|line| line.ends_with(b"\n")).count();
        let of_windows = lines.iter().filter(|line| line.ends_with(b"\r\n")).count();
        let is_first = lines.first().is_some_and(|line| line.ends_with(b"\r\n"));
        let end: &[u8] = if is_first && of_windows * 2 > ended { b"\r\n" } else { b"\n" };
        Self { start, each: lines.into_iter().map(Cow::Borrowed).collect(), end }
    }

    /// The lines without their ends.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.each.iter().map(|line| self.without_end(line))
    }

    fn without_end<'b>(&self, line: &'b [u8]) -> &'b [u8] {
        let Some(text) = line.strip_suffix(b"\n") else { return line };
        let is_of_windows = self.end == b"\r\n";
        text.strip_suffix(b"\r").filter(|_| is_of_windows).unwrap_or(text)
    }

    fn with_end(&self, text: &[u8]) -> Cow<'a, [u8]> {
        Cow::Owned([text, self.end].concat())
    }

    /// Puts another line in the place of the one at `index`.
    pub(super) fn replace(&mut self, index: usize, text: &[u8]) {
        let new = self.with_end(text);
        if let Some(line) = self.each.get_mut(index) {
            *line = new;
        }
    }

    /// Puts a line before the one at `index`, or at the end.
    pub(super) fn insert(&mut self, index: usize, text: &[u8]) {
        let index = index.min(self.each.len());
        // A last line without an end would run into the new one.
        let end = self.end;
        if let Some(before) = index.checked_sub(1).and_then(|before| self.each.get_mut(before))
            && !before.ends_with(b"\n")
        {
            before.to_mut().extend_from_slice(end);
        }
        self.each.insert(index, self.with_end(text));
    }

    /// Puts a line at the end.
    pub(super) fn push(&mut self, text: &[u8]) {
        self.insert(self.each.len(), text);
    }

    /// Takes a line away.
    pub(super) fn remove(&mut self, index: usize) {
        if index < self.each.len() {
            self.each.remove(index);
        }
    }

    /// Puts `text` in the place of the first line for which `is_it` holds, or at the end, and takes
    /// away the others for which it holds. Without a text, all of these go.
    pub(super) fn set(&mut self, text: Option<&[u8]>, is_it: impl Fn(&[u8]) -> bool) {
        let found: Vec<bool> = self.texts().map(is_it).collect();
        let first = found.iter().position(|found| *found).filter(|_| text.is_some());
        for index in (0..found.len()).rev().filter(|index| found[*index]) {
            if Some(index) != first {
                self.remove(index);
            }
        }
        match (text, first) {
            (Some(text), Some(index)) => {
                // A line that is right already keeps its own end.
                if self.texts().nth(index) != Some(text) {
                    self.replace(index, text);
                }
            }
            (Some(text), None) => self.push(text),
            (None, _) => {}
        }
    }

    /// The content of the file.
    pub(super) fn bytes(self) -> Vec<u8> {
        [self.start, &self.each.concat()].concat()
    }
}

/// The content and the attributes of a file of lines; `None` where there is none.
///
/// # Errors
/// For a file that is too large to be edited line by line.
pub(super) fn read(path: &str, probe: &dyn Probe) -> Result<Option<(Vec<u8>, Stat)>> {
    let Some((content, stat)) = probe.read_with_stat(path)? else { return Ok(None) };
    if content.len() > LARGEST_BYTES {
        return Err(Error::failed(format!("`{path}` has {} bytes", content.len()))
            .because(format!("infra edits lines of files of at most {LARGEST_BYTES} bytes")));
    }
    Ok(Some((content, stat)))
}

/// A file whose one line is `text`: as it is, if it says so already.
pub(super) fn of_one(text: &str, content: &[u8]) -> Vec<u8> {
    if content.trim_ascii() == text.as_bytes() {
        return content.to_vec();
    }
    format!("{text}\n").into_bytes()
}

/// A line as it is compared with patterns and names: what is no UTF-8 in it is like no character
/// that anybody declares.
pub(super) fn readable(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line)
}

/// A line for people, which is never like a declared one where the bytes differ.
pub(super) fn shown(line: &[u8]) -> String {
    match str::from_utf8(line) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("{} (not UTF-8)", readable(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_is_not_edited_keeps_its_bytes() {
        for content in
            [&b""[..], b"\n", b"a", b"a\r\nb\n\xe9\r", b"\xef\xbb\xbfa\r\n", b"\n\r\n\r", b"\r\n\n"]
        {
            assert_eq!(Lines::of(content).bytes(), content);
        }
    }

    /// The content before and after a line `x` was set in the place of a line that begins with `p`.
    #[test]
    fn a_new_line_ends_as_most_lines_do() {
        for (before, after) in [
            (&b""[..], &b"x\n"[..]),
            (b"a", b"a\nx\n"),
            (b"a\r\nb\r\n", b"a\r\nb\r\nx\r\n"),
            (b"a\r\nb", b"a\r\nb\r\nx\r\n"),
            (b"a\r\np\r\nb\r\n", b"a\r\nx\r\nb\r\n"),
            (b"a\np\r\nb\n", b"a\nx\nb\n"),
            (b"a\r\nb\nc\n", b"a\r\nb\nc\nx\n"),
            (b"a\nb\r\nc\r\nd", b"a\nb\r\nc\r\nd\nx\n"),
            (b"a\r\np\nb\r\n\xe9", b"a\r\nx\r\nb\r\n\xe9"),
            (b"p1\na\np2\n", b"x\na\n"),
            (b"\xef\xbb\xbfp\r\n", b"\xef\xbb\xbfx\r\n"),
        ] {
            let mut lines = Lines::of(before);
            lines.set(Some(b"x"), |line| line.starts_with(b"p"));
            assert_eq!(lines.bytes(), after, "{}", before.escape_ascii());
        }
    }

    #[test]
    fn a_line_that_is_right_keeps_its_end() {
        for content in [&b"a\nx"[..], b"a\r\nx\nb\r\n", b"x\r\n"] {
            let mut lines = Lines::of(content);
            lines.set(Some(b"x"), |line| line == b"x");
            assert_eq!(lines.bytes(), content);
        }
    }

    #[test]
    fn a_carriage_return_is_an_end_or_a_part_of_the_line() {
        let texts = |content: &[u8]| {
            Lines::of(content)
                .texts()
                .map(|line| line.escape_ascii().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(texts(b"a\r\nb\r\nc\n"), ["a", "b", "c"]);
        assert_eq!(texts(b"a\r\nb\nc\n"), ["a\\r", "b", "c"]);
        assert_eq!(texts(b"a\r\nb\n"), ["a\\r", "b"]);
    }

    #[test]
    fn other_bytes_are_never_like_a_declared_line() {
        assert_eq!(shown(b"caf\xe9"), "caf\u{fffd} (not UTF-8)");
        assert_eq!(shown("café".as_bytes()), "café");
    }
}
