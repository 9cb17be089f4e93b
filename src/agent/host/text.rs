//! Bytes of the machine as texts: names, paths and comments may be in any character set.

/// The text that `bytes` are in UTF-8, with `\xe9` for each byte that is no part of a character: no two
/// names of a machine become one, and none becomes a name that somebody declares.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_keep_apart() {
        assert_eq!(escaped("né".as_bytes()), "né");
        assert_eq!(escaped(b"Jos\xe9 M\xfcller\xff"), "Jos\\xe9 M\\xfcller\\xff");
    }
}
