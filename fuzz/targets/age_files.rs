//! Files of secrets: the header, the attempt to open them, and the text that is in them.

#![no_main]

use infra::secrets::{Folder, Header, IdentitySource, change, document};
use infra_fuzz::IDENTITY;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: Folder = {
        let text = Some(IDENTITY.to_owned());
        let source = IdentitySource { text, ..IdentitySource::default() };
        Folder::new(&infra_fuzz::repository("."), &source)
    };
}

fuzz_target!(|input: &[u8]| {
    let _ = Header::read("input.age", input);
    FOLDER.with(|folder| {
        if let Ok(text) = folder.decrypt("input", input) {
            text_of_secrets(&text);
        }
        let _ = folder.unwrap("input", input);
    });
    if let Ok(text) = std::str::from_utf8(input) {
        text_of_secrets(text);
    }
});

/// Reads a text and changes it, key by key.
fn text_of_secrets(text: &str) {
    let name = "input";
    let _ = document::check(name, text);
    let Ok(keys) = document::keys(name, text) else { return };
    for key in keys.iter().take(3) {
        let _ = document::value(name, text, key);
        let _ = document::several(name, text, key);
        if let Ok(changed) = change::set(name, text, key, "a\n b: #c") {
            document::parsed(name, &changed).unwrap();
            let merged = change::merge(name, text, &changed, text).unwrap();
            let conflicts = merged.conflicts;
            assert!(conflicts.is_empty(), "a change of one side is a conflict: {conflicts:?}");
        }
        if let Ok(changed) = change::remove(name, text, key) {
            document::parsed(name, &changed).unwrap();
        }
    }
    if let Ok(changed) = change::set(name, text, "new.name", "value") {
        let value = document::value(name, &changed, "new.name").unwrap();
        assert_eq!(*value, "value", "a secret that was set is another");
    }
}
