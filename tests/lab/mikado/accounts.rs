//! Domains, accounts and aliases: what is declared reaches Mailu once, and what people change in
//! Mailu stays.

use crate::support::{LabServer, lines};

use super::{containers, mikado};

crate::tests! {
    ;
    on one release:
        a_new_account_is_added_once = 40,
        a_difference_is_applied_once = 40,
        a_refusal_of_mailu_shows_in_the_plan = 20,
}

const ACCOUNTS: &str = "command:accounts and aliases of Mailu";
const NEW: &str = "mailu.accounts.\"new@flus.fr\"={password_hash: \"{BLF-CRYPT}$2y$new\"}";

/// One field of what Mailu has.
fn stored(mikado: &LabServer, of: &str) -> String {
    let read = "python3 -c 'import json, sys; print(json.load(open(\"/mailu/data/main.json\"))";
    mikado.shell(&format!("{read}{of})'"))
}

/// The keys whose public halves are published in the DNS.
fn keys(mikado: &LabServer) -> String {
    let keys = mikado.shell("cat /mailu/dkim/*");
    assert!(!keys.is_empty(), "Mailu has no keys");
    keys
}

/// Somebody changes every password in Mailu.
fn change_passwords_by_hand(mikado: &LabServer) {
    mikado.run(
        "sed -i 's/\"password\": \"[^\"]*\"/\"password\": \"$2y$byhand\"/g' /mailu/data/main.json",
    );
}

/// A new account is imported, and nothing that somebody changed in Mailu in the meantime.
fn a_new_account_is_added_once(os: &str) {
    let mikado = mikado(os);
    let keys_before = keys(&mikado);
    change_passwords_by_hand(&mikado);
    assert_eq!(mikado.plan(&[]).matches(ACCOUNTS).count(), 0, "a password is no difference");
    let said = mikado.plan(&["--set", NEW]);
    assert!(said.contains(&format!("~ {ACCOUNTS}  change")), "{said}");
    assert!(said.contains("account new@flus.fr: create"), "{said}");
    // Mailu's own dry run says so.
    assert!(said.contains("Dry run. Not committing changes. Created: user(1)"), "{said}");
    assert!(!said.contains("$2y$"), "{said}");
    let before = containers(&mikado);
    let said = mikado.converge(&["--set", NEW]);
    assert_eq!(lines(&said, "  changed"), [format!("mikado  {ACCOUNTS}  changed")], "{said}");
    let said = mikado.converge(&["--set", NEW]);
    assert_eq!(lines(&said, "  changed"), Vec::<&str>::new(), "{said}");
    assert_eq!(mikado.shell("tail -n 1 /mailu/data/imports"), "[\"user\"]");
    assert_eq!(mikado.shell("cat /mailu/data/imports | wc -l"), "2");
    assert_eq!(containers(&mikado), before);
    assert_eq!(stored(&mikado, "[\"user\"][\"new@flus.fr\"][\"password\"]"), "$2y$new");
    assert_eq!(stored(&mikado, "[\"user\"][\"robot@flus.fr\"][\"password\"]"), "$2y$byhand");
    assert_eq!(keys(&mikado), keys_before, "the published records stay right");
}

/// The plan names each difference of an account or an alias; an apply makes it once, and leaves
/// the passwords of all others as somebody has changed them.
fn a_difference_is_applied_once(os: &str) {
    let mikado = mikado(os);
    let keys_before = keys(&mikado);
    change_passwords_by_hand(&mikado);
    let robot = "mailu.accounts.\"robot@flus.fr\"={password_hash: \"{BLF-CRYPT}$2y$other\", \
                 quota_bytes: 5000000, admin: true}";
    let alias = "mailu.aliases.\"contact@flus.fr\"={to: [robot@flus.fr]}";
    let set = ["--set", robot, "--set", alias];
    let said = mikado.plan(&set);
    for change in [
        "account robot@flus.fr: quota_bytes 1000000000 → 5000000",
        "account robot@flus.fr: global_admin False → True",
        "account robot@flus.fr: another password",
        "alias contact@flus.fr: to marien@flus.fr → robot@flus.fr",
    ] {
        assert!(said.contains(change), "{change}:\n{said}");
    }
    assert!(!said.contains("$2y$"), "{said}");
    mikado.converge(&set);
    let said = mikado.converge(&set);
    assert_eq!(lines(&said, "  changed"), Vec::<&str>::new(), "{said}");
    let robot = "[\"user\"][\"robot@flus.fr\"]";
    assert_eq!(stored(&mikado, &format!("{robot}[\"password\"]")), "$2y$other");
    assert_eq!(stored(&mikado, &format!("{robot}[\"quota_bytes\"]")), "5000000");
    let to = "[\"alias\"][\"contact@flus.fr\"][\"destination\"]";
    assert_eq!(stored(&mikado, to), "['robot@flus.fr']");
    let marien = "[\"user\"][\"marien@flus.fr\"][\"password\"]";
    assert_eq!(stored(&mikado, marien), "$2y$byhand");
    mikado.converge(&[]);
    assert_eq!(keys(&mikado), keys_before, "the published records stay right");
}

/// The plan shows a hash that Mailu refuses, before anything is applied, and without the hash
/// that Mailu names.
fn a_refusal_of_mailu_shows_in_the_plan(os: &str) {
    let mikado = mikado(os);
    let keys_before = keys(&mikado);
    let set = "mailu.accounts.\"bad@flus.fr\"={password_hash: \"{SCHEME}correct-horse\"}";
    let said = mikado.plan(&["--set", set]);
    assert!(said.contains("Mailu refuses it: Error: [ValidationError]"), "{said}");
    assert!(!said.contains("correct-horse"), "{said}");
    assert_eq!(keys(&mikado), keys_before, "the published records stay right");
}
