//! What programs make of a value when they print it: quoted, escaped, encoded. Their output is
//! searched for these, since a program that fails seldom prints what it was given as it was given.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// Characters of base64 that a shorter secret cannot be told by.
const SHORTEST_CORE: usize = 6;

/// Letters and digits in a row that are in no text by accident.
const SHORTEST_RUN: usize = 12;

/// After how many characters `base64` and PEM break their lines.
const LINE_LENGTHS: [usize; 2] = [76, 64];

/// The quoted and escaped forms of `value`, itself not among them.
pub(super) fn escaped(value: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    forms.extend([json(value, false), json(value, true), json(value, false).replace('/', "\\/")]);
    // Python's `repr`, C and the like; YAML and SQL double the quote.
    let backslash = value.replace('\\', "\\\\");
    let lines = backslash.replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r");
    forms.extend([lines.replace('\'', "\\'"), lines.replace('"', "\\\""), lines]);
    forms.extend([value.replace('\'', "''"), value.replace('%', "%%"), backslash]);
    // The shell: `'\''`, `'"'"'`, in double quotes, and each special character on its own.
    forms.extend([value.replace('\'', "'\\''"), value.replace('\'', "'\"'\"'")]);
    forms.insert(with_backslashes(value, |c| "\"\\$`".contains(c)));
    forms.insert(with_backslashes(value, |c| {
        c.is_ascii() && !c.is_ascii_alphanumeric() && !"_-./:=@%+,\n".contains(c)
    }));
    for quote in ["&quot;", "&#34;", "\""] {
        for apostrophe in ["&#39;", "&#x27;", "&#039;", "&apos;", "'"] {
            forms.insert(html(value, quote, apostrophe));
        }
    }
    for kept in ["-_.~", "-_.~/", "-_.~!'()*", "-_.", "-_.~!$&'()*+,;=:@/"] {
        for space in ["%20", "+"] {
            let encoded = percent(value, kept, space);
            forms.insert(with_small_digits(&encoded));
            forms.insert(encoded);
        }
    }
    let hex: String = value.bytes().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    forms.extend([hex.to_uppercase(), hex]);
    // Nearly every way of escaping leaves letters and digits alone: so much of them in a row is
    // found in all that are not here.
    let runs = value.split(|c: char| !c.is_ascii_alphanumeric());
    forms.extend(runs.filter(|run| run.len() >= SHORTEST_RUN).map(str::to_owned));
    forms.remove(value);
    forms
}

/// What of base64 depends on `value` alone, wherever in the encoded text it begins.
pub(super) fn base64(value: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    for (engine, skipped) in [&STANDARD, &URL_SAFE].into_iter().flat_map(|engine| {
        // After that many bytes of something else, so many characters depend on both.
        [(engine, (0, 0)), (engine, (1, 2)), (engine, (2, 3))]
    }) {
        let (before, touched) = skipped;
        let mut bytes = vec![0; before];
        bytes.extend(value.as_bytes());
        let whole = bytes.len() - bytes.len() % 3;
        let encoded = engine.encode(&bytes[..whole]);
        let core = encoded.get(touched..).unwrap_or_default();
        if core.len() >= SHORTEST_CORE {
            for length in LINE_LENGTHS {
                let mut rest = core;
                while rest.len() > length {
                    let (line, after) = rest.split_at(length);
                    forms.insert(line.to_owned());
                    rest = after;
                }
                if rest.len() >= SHORTEST_CORE {
                    forms.insert(rest.to_owned());
                }
            }
            forms.insert(core.to_owned());
        }
    }
    forms
}

/// Whether a character may be in base64, so that what is beside a found part belongs to it.
pub(super) fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)
}

fn json(value: &str, is_ascii: bool) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c.is_ascii_control() || is_ascii && !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a text cannot fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
            c => text.push(c),
        }
    }
    text
}

fn with_backslashes(value: &str, is_special: impl Fn(char) -> bool) -> String {
    let mut text = String::new();
    for c in value.chars() {
        if is_special(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

fn html(value: &str, quote: &str, apostrophe: &str) -> String {
    let text = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', quote).replace('\'', apostrophe)
}

fn percent(value: &str, kept: &str, space: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            b' ' => text.push_str(space),
            byte if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) => {
                text.push(char::from(byte));
            }
            byte => {
                // Writing to a text cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// `%2f` in place of `%2F`.
fn with_small_digits(text: &str) -> String {
    let mut behind = 0_u8;
    let change = |c: char| {
        let is_digit = behind > 0;
        behind = if c == '%' { 2 } else { behind.saturating_sub(1) };
        if is_digit { c.to_ascii_lowercase() } else { c }
    };
    text.chars().map(change).collect()
}
