//! Lines of `/etc/fstab`, which `mount` and `swap` share.

use std::collections::BTreeSet;

use super::bonds::Touch;
use super::lines::{self, Lines};
use super::names::{Names, normal};
use super::probe::Probe;
use super::system::{Attributes, System};
use crate::error::Result;
use crate::octal;

/// The file.
pub(super) const FSTAB: &str = "/etc/fstab";

/// The table of everything that is mounted now, in the same form.
pub(super) const MOUNTS: &str = "/proc/self/mounts";

/// One entry: what is mounted, where, how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// A device, `UUID=…`, `LABEL=…`, a remote file system, or a file.
    pub source: String,
    /// Where; `none` for swap.
    pub target: String,
    /// The file system's type; `swap`.
    pub fstype: String,
    /// Comma-separated.
    pub options: String,
    /// The last two fields: dump, and the order of checks at boot.
    pub passes: (u8, u8),
}

impl Entry {
    /// Reads one line of fstab or of `/proc/self/mounts`; `None` for a comment or an empty one.
    pub(super) fn parse(line: &str) -> Option<Self> {
        // Blanks and tabs alone separate: a path may hold any other space.
        let line = line.trim_end_matches(['\r', '\n']);
        let fields = line.split([' ', '\t']).filter(|field| !field.is_empty());
        let mut fields = fields.take_while(|field| !field.starts_with('#'));
        let mut text = || fields.next().map(octal::unescape);
        let (source, target, fstype) = (text()?, text()?, text()?);
        let options = text().unwrap_or_else(|| "defaults".to_owned());
        let mut number = || text().and_then(|field| field.parse().ok()).unwrap_or(0);
        let passes = (number(), number());
        Some(Self { source, target, fstype, options, passes })
    }

    /// The line, without its end.
    pub(super) fn line(&self) -> String {
        let [source, target] = [&self.source, &self.target].map(|field| octal::escape(field));
        let (dump, pass) = self.passes;
        format!("{source} {target} {} {} {dump} {pass}", self.fstype, self.options)
    }

    /// The folder that it is about; for swap the file or device.
    fn subject(&self) -> &str {
        if self.fstype == "swap" { &self.source } else { &self.target }
    }
}

/// The places of a server at which something is mounted or may be.
pub(super) struct Places<'a> {
    names: Names<'a>,
    /// The paths that the kernel has for what is mounted: nothing of them is a link, and a server
    /// that does not answer any more may stand behind one.
    mounted: BTreeSet<String>,
}

impl<'a> Places<'a> {
    /// The places of a server.
    pub(super) fn of(probe: &'a dyn Probe) -> Result<Self> {
        let table = probe.read(MOUNTS)?.unwrap_or_default();
        let mounted = entries(&table).map(|entry| entry.target).collect();
        Ok(Self { names: Names::of(probe), mounted })
    }

    /// The one path of the place that is written as `path`: by another link, with a slash at its end.
    pub(super) fn place(&self, path: &str) -> String {
        if !path.starts_with('/') {
            return path.to_owned();
        }
        let normal = normal(path);
        if self.mounted.contains(&normal) { normal } else { self.names.target(&normal) }
    }

    /// Whether two entries are for the same place, or the same swap.
    pub(super) fn are_one(&self, one: &Entry, other: &Entry) -> bool {
        let are_alike = (one.fstype == "swap") == (other.fstype == "swap");
        are_alike && self.place(one.subject()) == self.place(other.subject())
    }

    /// A table with `new` in it, or without any entry for its place.
    pub(super) fn with_entry(&self, table: &[u8], new: &Entry, keep: bool) -> Vec<u8> {
        with_entry(table, new, keep, |old| self.are_one(old, new))
    }
}

/// The entries of a table.
pub(super) fn entries(table: &[u8]) -> impl Iterator<Item = Entry> {
    table.split(|byte| *byte == b'\n').filter_map(entry)
}

/// The entry in a line. A path that is no UTF-8 is read as one that nobody declares.
fn entry(line: &[u8]) -> Option<Entry> {
    Entry::parse(&lines::readable(line))
}

/// The content of `/etc/fstab`.
pub(super) fn read(probe: &dyn Probe) -> Result<Vec<u8>> {
    Ok(lines::read(FSTAB, probe)?.map(|(table, _)| table).unwrap_or_default())
}

/// Puts `entry` where the entry for the same place was, or at the end; everything else stays as
/// it is. With `keep` unset, the entry for that place goes.
pub(super) fn write(system: &mut dyn System, entry: &Entry, keep: bool) -> Result<()> {
    let before = read(system)?;
    let after = Places::of(system)?.with_entry(&before, entry, keep);
    if after == before {
        return Ok(());
    }
    let attributes = Attributes { owner: None, group: None, mode: None };
    system.write_file(FSTAB, &after, &attributes)
}

/// The touch of [`write`] on the file, if it writes anything.
pub(super) fn touches(
    entry: &Entry,
    keep: bool,
    probe: &dyn Probe,
) -> Result<Vec<(String, Touch)>> {
    let before = read(probe)?;
    let is_written = Places::of(probe)?.with_entry(&before, entry, keep) != before;
    Ok(is_written.then(|| (FSTAB.to_owned(), Touch::Edited)).into_iter().collect())
}

/// The table in `file` as it will be with `entry` in it, or without any entry for its place.
pub(super) fn after(entry: &Entry, keep: bool, file: &str, probe: &dyn Probe) -> Result<Vec<u8>> {
    let before = lines::read(file, probe)?.map(|(table, _)| table).unwrap_or_default();
    Ok(Places::of(probe)?.with_entry(&before, entry, keep))
}

/// A table with `new` in the place of the entries that are `old`, or without them. A comment behind
/// the first one stays.
fn with_entry(table: &[u8], new: &Entry, keep: bool, is_old: impl Fn(&Entry) -> bool) -> Vec<u8> {
    let mut lines = Lines::of(table);
    let is_it = |line: &[u8]| entry(line).is_some_and(|old| is_old(&old));
    let comment = lines.texts().find(|line| is_it(line)).and_then(comment);
    let text = [new.line().as_bytes(), comment.unwrap_or_default()].concat();
    lines.set(keep.then_some(&text), is_it);
    lines.bytes()
}

/// The comment behind an entry, with the blanks before it.
fn comment(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_blank = |byte: &u8| byte.is_ascii_whitespace();
    let mark = (1..line.len()).find(|at| line[*at] == b'#' && is_blank(&line[at - 1]))?;
    let before = line[..mark].iter().rposition(|byte| !is_blank(byte))?;
    Some(&line[before + 1..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever it names, and whatever stands around it: the entry is read back, and the rest keeps its bytes.
        #[test]
        fn an_entry_is_read_back(
            source in "[a-zA-Z/][\\PC \t]{0,20}",
            target in "/[\\PC \t#]{0,20}",
            before in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let entry = Entry { source, target, fstype: "ext4".to_owned(), options: "ro".to_owned(), passes: (0, 2) };
            let read = Entry::parse(&entry.line());
            prop_assert_eq!(read.as_ref(), Some(&entry));
            let is_old = |old: &Entry| old.target == entry.target;
            let table = with_entry(&before, &entry, true, is_old);
            prop_assert!(entries(&table).any(|found| found == entry));
            prop_assert_eq!(with_entry(&table, &entry, true, is_old), table);
        }
    }

    const HEAD: &[u8] = b"# donn\xe9es\nUUID=6a5f / ext4 errors=remount-ro 0 1\n\n";
    const OLD: &[u8] = b"/dev/sdb /mnt/old\\040data ext4 defaults 0 2\n";
    const TAIL: &[u8] = b"/dev/sdd /mnt/caf\xe9 ext4 defaults 0 2\n/swapfile none swap sw 0 0\n";

    fn table() -> Vec<u8> {
        [HEAD, OLD, TAIL].concat()
    }

    fn parsed(line: &str) -> Entry {
        Entry::parse(line).unwrap()
    }

    fn edited(table: &[u8], new: &Entry, keep: bool) -> Vec<u8> {
        with_entry(table, new, keep, |old| old.subject() == new.subject())
    }

    #[test]
    fn reads_and_writes_a_line() {
        let old = entries(&table()).nth(1).unwrap();
        assert_eq!(old.target, "/mnt/old data");
        assert_eq!(old.line(), "/dev/sdb /mnt/old\\040data ext4 defaults 0 2");
        assert_eq!(parsed("tmpfs /tmp tmpfs # comment").options, "defaults");
        assert_eq!(Entry::parse("# a b c"), None);
        assert_eq!(Entry::parse("  "), None);
    }

    #[test]
    fn replaces_the_entry_in_its_place() {
        let new = parsed("/dev/sdc /mnt/old\\040data xfs nofail 0 2");
        let line = b"/dev/sdc /mnt/old\\040data xfs nofail 0 2\n";
        assert_eq!(edited(&table(), &new, true), [HEAD, line, TAIL].concat());
    }

    #[test]
    fn adds_at_the_end_and_removes() {
        let new = parsed("/other none swap sw 0 0");
        let line = b"/other none swap sw 0 0\n";
        let after = edited(&table(), &new, true);
        assert_eq!(after, [HEAD, OLD, TAIL, line].concat());
        assert_eq!(edited(&after, &new, false), table());
        assert_eq!(edited(b"", &new, false), b"");
        let after = edited(b"# a\r\n# b", &new, true);
        assert_eq!(after, b"# a\r\n# b\r\n/other none swap sw 0 0\r\n");
    }
}
