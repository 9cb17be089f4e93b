//! Options in front of keys, as sshd(8) lists them for `authorized_keys`: a key with another one lets nobody in.

use super::line::options_of;

/// Options without a value.
const FLAGS: [&str; 16] = [
    "agent-forwarding",
    "cert-authority",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-verify-required",
    "no-x11-forwarding",
    "port-forwarding",
    "pty",
    "restrict",
    "touch-required",
    "user-rc",
    "verify-required",
    "x11-forwarding",
];

/// Options with a value in quotes.
const SETTINGS: [&str; 8] = [
    "command",
    "environment",
    "expiry-time",
    "from",
    "permitlisten",
    "permitopen",
    "principals",
    "tunnel",
];

/// Says which option in front of the key of a line sshd does not take.
pub(super) fn check(line: &str) -> Result<(), String> {
    for option in split(options_of(line)) {
        let (name, value) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        let name = name.to_ascii_lowercase();
        let (is_flag, is_setting) =
            (FLAGS.contains(&name.as_str()), SETTINGS.contains(&name.as_str()));
        match value {
            None if is_flag => {}
            None if is_setting => {
                return Err(format!("the option `{name}` needs a value, such as `{name}=\"…\"`"));
            }
            Some(_) if is_flag => return Err(format!("the option `{name}` takes no value")),
            Some(value) if is_setting => {
                let is_quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
                if !is_quoted {
                    return Err(format!("the value of the option `{name}` has to be in quotes"));
                }
            }
            _ => {
                let option: String = option.chars().take(40).collect();
                return Err(format!("`{option}` is not an option of keys that sshd knows"));
            }
        }
    }
    Ok(())
}

/// The options of a text: commas in quotes part nothing, and `\"` is no quote.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (index, c) in text.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[begin..index]);
                begin = index + 1;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    if !text.is_empty() {
        parts.push(&text[begin..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn options_are_those_of_sshd() {
        for (options, said) in [
            ("", ""),
            ("restrict,pty ", ""),
            ("No-PTY,from=\"192.0.2.0/24,!192.0.2.1\" ", ""),
            (r#"command="say \"a, b\" c",no-pty "#, ""),
            ("no-prompt ", "`no-prompt` is not an option of keys that sshd knows"),
            ("restrict, ", "`` is not an option of keys that sshd knows"),
            ("from=192.0.2.1 ", "the value of the option `from` has to be in quotes"),
            ("command ", "the option `command` needs a value, such as `command=\"…\"`"),
            ("pty=\"yes\" ", "the option `pty` takes no value"),
        ] {
            let found = check(&format!("{options}ssh-ed25519 AAAAx ada@laptop")).err();
            assert_eq!(found.unwrap_or_default(), said, "{options}");
        }
    }
}
