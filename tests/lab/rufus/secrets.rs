//! Secrets on the server.

use crate::support::copy;

crate::tests! {
    ; on one release: no_secret_is_lying_about = 20,
}

/// A secret is where it is needed and nowhere else, also after a run that failed.
fn no_secret_is_lying_about(os: &str) {
    let rufus = copy("rufus", os);
    let (code, said) = rufus.apply(&["--set", "php-app.apps.\"flus.fr\".ref=v3-broken"]);
    assert_eq!(code, 3, "{said}");
    let key = rufus.shell("sed -n 's/^APP_FLUS_PRIVATE_KEY=//p' /srv/flus.fr/shared/.env");
    assert!(key.len() > 8, "the key is not in the file that should hold it");
    let found = rufus.shell(&format!(
        "grep -rlF -- '{key}' /etc /var/log /var/lib/infra /tmp /run/infra 2>/dev/null"
    ));
    assert_eq!(found, "");
}
