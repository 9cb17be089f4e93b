//! The role `mailu` refuses values that Mailu cannot hold.

use std::process::Command;

/// Before anything is made of them, and without showing them.
#[test]
fn values_that_mailu_cannot_hold_are_refused() {
    for (set, message) in [
        (
            "admin_password=\"hunter'2\"",
            "`admin_password` is empty or holds a quote, a backslash, ",
        ),
        (
            "admin_password=\"hunter $2\"",
            "`admin_password` is empty or holds a quote, a backslash, ",
        ),
        ("secret_key=\"hunter-hunter-16\"", "`secret_key` has to be 16 letters and digits"),
        ("env={ RELAYHOST: 'hunter #2' }", "a value of `env` holds a quote, a backslash, "),
        ("env={ RELAYHOST: \"hunter\\n2\" }", "a value of `env` holds a quote, a backslash, "),
        ("bind=['[::]']", "`bind` holds an address of IPv6, or none at all: "),
        ("needs_swap=true", "Mailu wants 1 GB of swap"),
    ] {
        let set = format!("mailu.{set}");
        let done = Command::new(env!("CARGO_BIN_EXE_infra"))
            .args(["render", "mikado", "--lab", "--set", &set])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(done.status.code(), Some(1), "{set}: {said}");
        assert!(said.contains(message), "{set}: {said}");
        assert!(!said.contains("hunter"), "{set}: {said}");
    }
}
