//! Lines of files of keys, as sshd reads them.

/// One public key of a file.
pub(super) struct Key<'a> {
    /// The encoded key, which tells it from all others.
    pub(super) body: &'a str,
    /// What follows it, usually `user@machine`.
    pub(super) comment: &'a str,
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
