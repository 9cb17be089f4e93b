//! Lines of files of keys, as sshd reads them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

/// One public key of a file.
pub(super) struct Key<'a> {
    /// The encoded key, which tells it from all others.
    pub(super) body: &'a str,
    /// The text behind the key, usually `user@machine`.
    pub(super) comment: &'a str,
}

impl Key<'_> {
    /// Whether all parts of the key are there, as their lengths say (RFC 4253, section 6.6): a copy may have lost
    /// its end. Of a key whose beginning says nothing of its type, nothing is said.
    pub(super) fn is_whole(&self) -> bool {
        let body = self.body.trim_end_matches('=');
        let (whole, odd) = body.split_at(body.len() / 4 * 4);
        let Ok(mut bytes) = BASE64.decode(whole) else { return true };
        let is_readable = BASE64.decode(odd).map(|last| bytes.extend(last)).is_ok();
        let mut parts = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let Some((part, behind)) = behind.split_at_checked(length) else { break };
            parts.push(part);
            rest = behind;
        }
        let kind = parts.first().and_then(|kind| std::str::from_utf8(kind).ok());
        !kind.is_some_and(is_key_type) || is_readable && rest.is_empty() && parts.len() > 1
    }
}

/// Finds the key in a line as sshd does (`auth2-pubkeyfile.c` and `sshkey_advance_past_options`
/// of OpenSSH 9.2): at its beginning, or behind options.
pub(super) fn parse(line: &str) -> Option<Key<'_>> {
    // sshd reads a line to the first zero byte.
    let line = line.split('\0').next().unwrap_or_default().trim_matches([' ', '\t', '\r', '\n']);
    if is_no_key(line) {
        return None;
    }
    key(line).or_else(|| key(past_options(line)))
}

/// The options in front of the key of a line.
pub(super) fn options_of(line: &str) -> &str {
    let line = line.trim_start_matches([' ', '\t']);
    if key(line).is_some() {
        return "";
    }
    let options = line.len() - past_options(line).len();
    line.get(..options).unwrap_or_default().trim_end()
}

/// Whether sshd passes a line over: it is empty, or a comment.
pub(super) fn is_no_key(line: &str) -> bool {
    let line = line.trim_start_matches([' ', '\t']);
    line.trim().is_empty() || line.starts_with('#')
}

/// A type of keys, a key and its comment.
fn key(text: &str) -> Option<Key<'_>> {
    let (kind, rest) = text.split_once([' ', '\t'])?;
    let (body, comment) = rest.trim_start().split_once([' ', '\t']).unwrap_or((rest.trim(), ""));
    let is_body = body.starts_with("AAAA")
        && body.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c));
    (is_key_type(kind) && is_body).then_some(Key { body, comment: comment.trim() })
}

/// The text behind the options: they end at the first blank outside of quotes, and `\"` is no
/// quote, inside of quotes as outside.
fn past_options(text: &str) -> &str {
    let mut quoted = false;
    let mut characters = text.char_indices().peekable();
    while let Some((index, c)) = characters.next() {
        match c {
            '\\' if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
            }
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return text.get(index..).unwrap_or_default().trim_start(),
            _ => {}
        }
    }
    ""
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| word.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_lost_its_end_is_told() {
        let whole = "AAAAC3NzaC1lZDI1NTE5AAAAIJ9yMWaCi4sm0hMhjr5sZCuKIZF4LwHpf5A8vAgxqFvv";
        let is_whole = |body: &str| Key { body, comment: "" }.is_whole();
        assert!(is_whole(whole) && is_whole("AAAAx"));
        for end in 20..whole.len() {
            assert!(!is_whole(&whole[..end]), "{end}");
        }
    }

    #[test]
    fn finds_the_key_behind_options() {
        for (line, found) in [
            ("ssh-ed25519 AAAAx ada@laptop", Some(("AAAAx", "ada@laptop"))),
            ("ssh-ed25519 AAAAx", Some(("AAAAx", ""))),
            (
                "from=\"192.0.2.1\",command=\"ssh-x do it\" ssh-rsa AAAAy me at home",
                Some(("AAAAy", "me at home")),
            ),
            ("# ssh-ed25519 AAAAx old", None),
            ("ssh-ed25519 hello", None),
            (r#"command="say \"a b\" c" ssh-rsa AAAAz x"#, Some(("AAAAz", "x"))),
            (r#"environment="A=\" ssh-rsa AAAAn" ssh-rsa AAAAz"#, Some(("AAAAz", ""))),
            (r#"from=\"a ssh-rsa AAAAz x"#, Some(("AAAAz", "x"))),
            ("no-pty no-x11-forwarding ssh-rsa AAAAz", None),
            ("\t ssh-rsa \t AAAAz\r", Some(("AAAAz", ""))),
            ("", None),
        ] {
            let key = parse(line).map(|key| (key.body, key.comment));
            assert_eq!(key, found, "{line}");
        }
    }
}
