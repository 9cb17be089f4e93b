//! Files of other programs that secrets are imported from: ansible-vault and SOPS.

#![no_main]

use infra::diagnostic::Source;
use infra::secrets::import::{Imported, VaultPasswords, combine, import};
use infra::secrets::{Folder, IdentitySource};
use infra::yaml::{self, emit::emit};
use infra_fuzz::{IDENTITY, repository};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: Folder = {
        let text = Some(IDENTITY.to_owned());
        let source = IdentitySource { text, ..IdentitySource::default() };
        Folder::new(&repository("."), &source)
    };
}

fuzz_target!(|input: &[u8]| {
    let Ok(content) = std::str::from_utf8(input) else { return };
    let mut passwords = VaultPasswords::new(None);
    passwords.add_file(None, &repository("tests/local/import/password.txt")).unwrap();
    let unwrap = |bytes: &[u8]| FOLDER.with(|folder| folder.unwrap("input.yaml", bytes));
    for key in [None, Some("tls.key")] {
        if let Ok(imported) = import("input.yaml", content, key, &mut passwords, &unwrap) {
            taken_over(&imported);
        }
    }
});

/// The values survive being written down, and being added to themselves.
fn taken_over(imported: &Imported) {
    let text = emit(&imported.node);
    let again = yaml::parse(&Source::new("again.yaml", text.as_str())).unwrap();
    assert_eq!(*emit(&again), *text, "a secret is read back as something else");
    let mut conflicts = Vec::new();
    combine(&again, &imported.node, false, "", &mut conflicts);
    assert!(conflicts.is_empty(), "what is the same is a conflict: {conflicts:?}");
}
