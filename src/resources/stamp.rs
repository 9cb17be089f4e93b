//! What a `command` writes down about its work: of what it was done, without saying what that is.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::error::{Context as _, Result};

/// Bytes that no two stamps share, so that one value has a different stamp everywhere.
pub(super) type Salt = [u8; 16];

/// A new one.
///
/// # Errors
/// If the kernel has no random bytes.
pub(super) fn salt() -> Result<Salt> {
    let mut salt = Salt::default();
    let read = rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty());
    read.context(|| "cannot make a stamp".to_owned())?;
    Ok(salt)
}

/// The text of a stamp: a hash of what everybody may know, and one with the salt of what `kept`
/// holds, if that is anything.
pub(super) fn text(hash: &str, kept: &[&str], salt: &Salt) -> String {
    if kept.is_empty() { format!("{hash}\n") } else { format!("{hash}\n{}\n", line(kept, salt)) }
}

/// Whether a stamp is about the same. One that says nothing of `kept` is of an infra that did not
/// look at it: to do the work again for that alone could do harm.
pub(super) fn is_of(stamp: &[u8], hash: &str, kept: &[&str]) -> bool {
    let Ok(stamp) = str::from_utf8(stamp) else { return false };
    let mut lines = stamp.lines();
    if lines.next() != Some(hash) {
        return false;
    }
    match lines.next() {
        None => true,
        Some(known) => {
            salt_of(known).is_some_and(|salt| !kept.is_empty() && line(kept, &salt) == known)
        }
    }
}

fn line(kept: &[&str], salt: &Salt) -> String {
    let hex = |bytes: &[u8]| -> String {
        bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(salt) else { return String::new() };
    for part in kept {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part.as_bytes());
    }
    format!("{} {}", hex(salt), hex(&mac.finalize().into_bytes()))
}

fn salt_of(line: &str) -> Option<Salt> {
    let digits = line.split(' ').next()?;
    let mut salt = Salt::default();
    for (index, byte) in salt.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_whether_a_value_changed_and_not_which_it_is() {
        let kept = ["KEY", "hunter2"];
        let (first, second) = (text("abc", &kept, &[1; 16]), text("abc", &kept, &[2; 16]));
        assert!(first != second && !first.contains("hunter2"), "{first}");
        for stamp in [&first, &second] {
            assert!(is_of(stamp.as_bytes(), "abc", &kept));
            assert!(!is_of(stamp.as_bytes(), "abc", &["KEY", "hunter3"]));
            assert!(!is_of(stamp.as_bytes(), "abc", &["KEYh", "unter2"]));
            assert!(!is_of(stamp.as_bytes(), "abc", &[]));
            assert!(!is_of(stamp.as_bytes(), "abd", &kept));
        }
        assert!(is_of(b"abc\n", "abc", &[]) && is_of(b"abc\n", "abc", &kept));
        assert!(!is_of(b"abc\nnonsense\n", "abc", &kept));
    }
}
