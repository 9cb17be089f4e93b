//! Octal escapes: tables of file systems separate their fields by blanks, and write a blank in a field
//! as `\040`.

use crate::resources::names::escaped;

/// The bytes that are written as numbers, as the kernel does in `/proc/self/mounts` (`mangle_path` with
/// `" \t\n\\#"`).
const ESCAPED: [(char, &str); 5] =
    [(' ', "\\040"), ('\t', "\\011"), ('\n', "\\012"), ('\\', "\\134"), ('#', "\\043")];

/// The text that a field stands for: any `\` with three octal digits behind it is one byte. Bytes that
/// are no UTF-8 are written as `\xe9`.
pub(crate) fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, after @ ..] = rest {
        if let ([b'\\', digits @ ..], Some(byte)) = (rest, code(after)) {
            bytes.push(byte);
            rest = digits.get(3..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    escaped(&bytes)
}

/// The byte of the three octal digits at the beginning.
fn code(digits: &[u8]) -> Option<u8> {
    let digits = str::from_utf8(digits.get(..3)?).ok()?;
    let is_octal = digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    if is_octal { u8::from_str_radix(digits, 8).ok() } else { None }
}

/// A field that stands for `text`.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut field, c| {
        match ESCAPED.iter().find(|(plain, _)| *plain == c) {
            Some((_, code)) => field.push_str(code),
            None => field.push(c),
        }
        field
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_field_is_read_back(text in "\\PC*|[ \t\n\\\\#0-7a]*") {
            let field = escape(&text);
            prop_assert_eq!(unescape(&field), text);
            prop_assert!(!field.contains([' ', '\t', '\n', '#']));
        }
    }

    #[test]
    fn reads_what_the_kernel_writes() {
        for (field, text) in [
            ("//nas/c\\0431", "//nas/c#1"),
            ("/mnt/old\\040data", "/mnt/old data"),
            ("a\\134040", "a\\040"),
            ("caf\\303\\251", "café"),
            ("caf\\351", "caf\\xe9"),
            ("\\04", "\\04"),
            ("\\400", "\\400"),
            ("\\", "\\"),
        ] {
            assert_eq!(unescape(field), text, "{field}");
        }
    }
}
