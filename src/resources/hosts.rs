//! The names of the host itself in `/etc/hosts`.

use super::lines::{self, Lines};

/// The address by which a Debian host without a fixed one finds itself.
const OWN_ADDRESS: &str = "127.0.1.1";

/// `/etc/hosts`, and the place of the host's own names in it.
///
/// The C library takes the first line with a name for all that is to be known of this name: the first
/// word behind the address is what `hostname --fqdn` says.
pub(super) struct Hosts<'a> {
    lines: Lines<'a>,
    /// The names as they should be, the canonical one first.
    names: Vec<String>,
    /// The names by which the host was known until now.
    former: String,
    /// The line of the own address.
    own: Option<usize>,
    /// The first line with one of the names.
    first: Option<usize>,
}

impl<'a> Hosts<'a> {
    /// Looks for the line of a host that is called `former` and should have these names. Of several
    /// lines with its address, it is the one with such a name; one without stays somebody else's.
    pub(super) fn of(content: &'a [u8], names: &[&str], former: &str) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let lines = Lines::of(content);
        let former = former.split('.').next().unwrap_or_default().to_owned();
        let mut hosts = Self { lines, names, former, own: None, first: None };
        let has = |line: &[u8], is_it: &dyn Fn(&str) -> bool| {
            words(line).skip(1).any(|name| is_it(&name))
        };
        let position = |of_own: bool, is_it: &dyn Fn(&str) -> bool| {
            let is_meant = |line: &[u8]| (!of_own || is_own(line)) && has(line, is_it);
            hosts.lines.texts().position(is_meant)
        };
        let is_name = |name: &str| hosts.is_name(name);
        let first = position(false, &is_name);
        let own = position(true, &is_name);
        let own = own.or_else(|| position(true, &|name| hosts.is_former(name)));
        (hosts.own, hosts.first) = (own, first);
        hosts
    }

    fn is_name(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether a name is one of before: that of the kernel, with or without a domain.
    fn is_former(&self, name: &str) -> bool {
        let short = name.split('.').next().unwrap_or_default();
        short != "localhost" && !short.is_empty() && short.eq_ignore_ascii_case(&self.former)
    }

    /// The names that the host has: those of its own line, without the names of others on it, or the
    /// line above that the C library takes instead. `None` if there is none.
    pub(super) fn found(&self) -> Option<String> {
        let own = self.own.and_then(|own| self.lines.texts().nth(own))?;
        let names: Vec<String> = words(own).skip(1).collect();
        let go = names.iter().any(|name| self.is_former(name) && !self.is_name(name));
        let kept = names.iter().filter(|name| self.is_name(name) || self.is_former(name));
        let shown = kept.map(String::as_str).collect::<Vec<_>>().join(" ");
        if self.first < self.own
            && let Some(line) = self.first.and_then(|first| self.lines.texts().nth(first))
        {
            let line = lines::shown(line);
            return Some(if go { format!("{line} | {shown}") } else { line });
        }
        let mut both = names.iter().zip(&self.names);
        let leads = names.len() >= self.names.len()
            && both.all(|(name, own)| name.eq_ignore_ascii_case(own));
        let right = self.names.join(" ");
        Some(match (leads && !go, shown == right) {
            (true, _) => right,
            // The own names stand behind those of others.
            (false, true) => names.join(" "),
            (false, false) => shown,
        })
    }

    /// The content of the file as it should be.
    pub(super) fn edited(mut self) -> Vec<u8> {
        let old = self.own.and_then(|own| self.lines.texts().nth(own)).map(<[u8]>::to_vec);
        let new = self.line(old.as_deref());
        match (self.own, self.first) {
            (Some(own), Some(first)) if first < own => {
                self.lines.remove(own);
                self.lines.insert(first, &new);
            }
            (Some(own), _) => self.lines.replace(own, &new),
            (None, first) => {
                let is_local = |line: &[u8]| words(line).next().as_deref() == Some("127.0.0.1");
                let local = self.lines.texts().position(is_local).map_or(0, |index| index + 1);
                self.lines.insert(first.map_or(local, |first| first.min(local)), &new);
            }
        }
        self.lines.bytes()
    }

    /// The own line, with what others wrote on the old one: further names, and a comment.
    fn line(&self, old: Option<&[u8]>) -> Vec<u8> {
        let mut line = format!("{OWN_ADDRESS}\t{}", self.names.join(" ")).into_bytes();
        let Some(old) = old else { return line };
        let (names, comment) = parts(old);
        let names = names.split(u8::is_ascii_whitespace).filter(|name| !name.is_empty()).skip(1);
        for name in names {
            let readable = lines::readable(name);
            if !self.is_name(&readable) && !self.is_former(&readable) {
                line.push(b' ');
                line.extend_from_slice(name);
            }
        }
        if !comment.is_empty() {
            line.push(b' ');
            line.extend_from_slice(comment);
        }
        line
    }
}

/// The part of a line before its comment, and the comment with its sign.
fn parts(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|byte| *byte == b'#').unwrap_or(line.len());
    line.split_at(end)
}

/// The address and the names of a line.
fn words(line: &[u8]) -> impl Iterator<Item = String> {
    let words = parts(line).0.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.map(|word| lines::readable(word).into_owned())
}

fn is_own(line: &[u8]) -> bool {
    words(line).next().as_deref() == Some(OWN_ADDRESS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The names are found again, whatever was in the file; and nothing is left to do then.
        #[test]
        fn names_are_read_back(content in "(([0-9.:]{3,9}|#)[ \tvmwebx.#éa\r]{0,16}\n?){0,5}") {
            let (_, edited) = told(content.as_bytes());
            let (found, again) = told(&edited);
            prop_assert_eq!(found.as_deref(), Some(RIGHT), "{:?}", String::from_utf8_lossy(&edited));
            prop_assert_eq!(again, edited);
        }
    }

    const NAMES: [&str; 2] = ["web.example.org", "web"];
    const RIGHT: &str = "web.example.org web";

    /// The names that are told of a host that was called `vm`, and the file as it is made.
    fn told(content: &[u8]) -> (Option<String>, Vec<u8>) {
        let hosts = || Hosts::of(content, &NAMES, "vm");
        (hosts().found(), hosts().edited())
    }

    /// Files, the names that are told of them, and the files that come of them.
    #[test]
    fn the_own_names_take_their_place_and_no_other() {
        for (content, found, after) in [
            (&b""[..], None, &b"127.0.1.1\tweb.example.org web\n"[..]),
            (
                b"# caf\xe9\n127.0.0.1 localhost\n::1 localhost",
                None,
                b"# caf\xe9\n127.0.0.1 localhost\n127.0.1.1\tweb.example.org web\n::1 localhost",
            ),
            (
                b"127.0.0.1 localhost\n127.0.1.1 vm.example.org vm # own\n\n::1 localhost\n",
                Some("vm.example.org vm"),
                b"127.0.0.1 localhost\n127.0.1.1\tweb.example.org web # own\n\n::1 localhost\n",
            ),
            (
                b"127.0.1.1 shop db\n127.0.1.1 vm mail\r\n10.0.0.9 caf\xe9",
                Some("vm"),
                b"127.0.1.1 shop db\n127.0.1.1\tweb.example.org web mail\n10.0.0.9 caf\xe9",
            ),
            (
                b"127.0.1.1 shop\n127.0.1.1 web.example.org web\n",
                Some(RIGHT),
                b"127.0.1.1 shop\n127.0.1.1\tweb.example.org web\n",
            ),
            (
                b"10.0.0.1 web\n127.0.1.1 vm shop\n",
                Some("10.0.0.1 web | vm"),
                b"127.0.1.1\tweb.example.org web shop\n10.0.0.1 web\n",
            ),
            (
                b"127.0.1.1 web shop",
                Some("web"),
                b"127.0.1.1\tweb.example.org web shop\n",
            ),
            (
                b"127.0.1.1 shop web.example.org web\n",
                Some("shop web.example.org web"),
                b"127.0.1.1\tweb.example.org web shop\n",
            ),
            (
                b"127.0.0.1 localhost web\n127.0.1.1 web.example.org web\n",
                Some("127.0.0.1 localhost web"),
                b"127.0.1.1\tweb.example.org web\n127.0.0.1 localhost web\n",
            ),
            (
                b"10.0.0.1 web\n127.0.0.1 localhost\n127.0.1.1 stale\n",
                None,
                b"127.0.1.1\tweb.example.org web\n10.0.0.1 web\n127.0.0.1 localhost\n127.0.1.1 stale\n",
            ),
            (b"127.0.1.1\r\n", None, b"127.0.1.1\tweb.example.org web\r\n127.0.1.1\r\n"),
        ] {
            let name = content.escape_ascii();
            let told = told(content);
            assert_eq!(told.0.as_deref(), found, "{name}");
            assert_eq!(told.1.escape_ascii().to_string(), after.escape_ascii().to_string(), "{name}");
            assert_eq!(self::told(&told.1).0.as_deref(), Some(RIGHT), "{name}");
        }
    }

    #[test]
    fn a_right_line_may_have_more_names() {
        let (found, _) = told(b"127.0.1.1 WEB.example.org  web shop # own\n10.0.0.1 web\n");
        assert_eq!(found.as_deref(), Some(RIGHT));
    }

    #[test]
    fn localhost_is_no_former_name() {
        let hosts = Hosts::of(b"127.0.1.1 localhost\n", &NAMES, "localhost");
        assert_eq!(hosts.found(), None);
        assert_eq!(hosts.edited(), b"127.0.1.1\tweb.example.org web\n127.0.1.1 localhost\n");
    }
}
