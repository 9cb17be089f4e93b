//! Domains, accounts and aliases: what is declared reaches Mailu once, and what people change in
//! Mailu stays.

use super::containers;
use crate::rufus::lines;
use crate::support::LabServer;
use crate::support::lab_server::text;

const ACCOUNTS: &str = "command:accounts and aliases of Mailu";
const NEW: &str = "mailu.accounts.\"new@flus.fr\"={password_hash: \"{BLF-CRYPT}$2y$new\"}";

pub(super) fn import(mikado: &LabServer) {
    let keys = mikado.shell("cat /mailu/dkim/*");
    adds_an_account_once(mikado);
    applies_what_differs_once(mikado);
    shows_what_mailu_refuses(mikado);
    assert_eq!(mikado.shell("cat /mailu/dkim/*"), keys, "the published records stay right");
}

fn plan(mikado: &LabServer, more: &[&str]) -> String {
    text(&mikado.infra(&[&["diff", "mikado", "--lab"], more].concat()).stdout)
}

/// One field of what Mailu has.
fn stored(mikado: &LabServer, of: &str) -> String {
    let read = "python3 -c 'import json, sys; print(json.load(open(\"/mailu/data/main.json\"))";
    mikado.shell(&format!("{read}{of})'"))
}

/// A new account, and nothing that somebody changed in Mailu in the meantime.
fn adds_an_account_once(mikado: &LabServer) {
    mikado.shell(
        "sed -i 's/\"password\": \"[^\"]*\"/\"password\": \"$2y$byhand\"/g' /mailu/data/main.json",
    );
    assert_eq!(plan(mikado, &[]).matches(ACCOUNTS).count(), 0, "a password is no difference");
    let said = plan(mikado, &["--set", NEW]);
    assert!(said.contains(&format!("~ {ACCOUNTS}  change")), "{said}");
    assert!(said.contains("account new@flus.fr: create"), "{said}");
    // What Mailu's own dry run says.
    assert!(said.contains("Dry run. Not committing changes. Created: user(1)"), "{said}");
    assert!(!said.contains("$2y$"), "{said}");
    let before = containers(mikado);
    let (code, said) = mikado.apply(&["--set", NEW]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(lines(&said, "  changed"), [format!("mikado  {ACCOUNTS}  changed")], "{said}");
    let (code, said) = mikado.apply(&["--set", NEW]);
    assert_eq!((code, lines(&said, "  changed").len()), (0, 0), "{said}");
    assert_eq!(mikado.shell("tail -n 1 /mailu/data/imports"), "[\"user\"]");
    assert_eq!(mikado.shell("cat /mailu/data/imports | wc -l"), "2");
    assert_eq!(containers(mikado), before);
    assert_eq!(stored(mikado, "[\"user\"][\"new@flus.fr\"][\"password\"]"), "$2y$new");
    assert_eq!(stored(mikado, "[\"user\"][\"robot@flus.fr\"][\"password\"]"), "$2y$byhand");
}

fn applies_what_differs_once(mikado: &LabServer) {
    let robot = "mailu.accounts.\"robot@flus.fr\"={password_hash: \"{BLF-CRYPT}$2y$other\", \
                 quota_bytes: 5000000, admin: true}";
    let alias = "mailu.aliases.\"contact@flus.fr\"={to: [robot@flus.fr]}";
    let set = ["--set", robot, "--set", alias];
    let said = plan(mikado, &set);
    for change in [
        "account robot@flus.fr: quota_bytes 1000000000 → 5000000",
        "account robot@flus.fr: global_admin False → True",
        "account robot@flus.fr: another password",
        "alias contact@flus.fr: to marien@flus.fr → robot@flus.fr",
    ] {
        assert!(said.contains(change), "{change}:\n{said}");
    }
    assert!(!said.contains("$2y$"), "{said}");
    let (code, said) = mikado.apply(&set);
    assert_eq!(code, 0, "{said}");
    let (code, said) = mikado.apply(&set);
    assert_eq!((code, lines(&said, "  changed").len()), (0, 0), "{said}");
    let robot = "[\"user\"][\"robot@flus.fr\"]";
    assert_eq!(stored(mikado, &format!("{robot}[\"password\"]")), "$2y$other");
    assert_eq!(stored(mikado, &format!("{robot}[\"quota_bytes\"]")), "5000000");
    let to = "[\"alias\"][\"contact@flus.fr\"][\"destination\"]";
    assert_eq!(stored(mikado, to), "['robot@flus.fr']");
    let marien = "[\"user\"][\"marien@flus.fr\"][\"password\"]";
    assert_eq!(stored(mikado, marien), "$2y$byhand");
    let (code, said) = mikado.apply(&[]);
    assert_eq!(code, 0, "{said}");
}

/// Before anything is applied, and without the hash that Mailu names.
fn shows_what_mailu_refuses(mikado: &LabServer) {
    let set = "mailu.accounts.\"bad@flus.fr\"={password_hash: \"{SCHEME}correct-horse\"}";
    let said = plan(mikado, &["--set", set]);
    assert!(said.contains("Mailu refuses it: Error: [ValidationError]"), "{said}");
    assert!(!said.contains("correct-horse"), "{said}");
}
