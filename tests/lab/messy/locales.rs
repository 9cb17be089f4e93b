//! Locales and zones where Debian 13 keeps them.

use super::Ground;

crate::tests! {
    the_file_of_the_default_locale_stays_a_link = 30,
}

/// `/etc/default/locale` is a link to `/etc/locale.conf`, and there is no `/etc/timezone`.
fn the_file_of_the_default_locale_stays_a_link() {
    let ground = Ground::new("debian-13");
    ground.hold(
        "  - package: locales\n  - package: tzdata\n  \
         - locale: { name: fr_FR.UTF-8, default: true }\n  - locale: C.UTF-8\n  - locale: de_DE@euro\n  \
         - timezone: America/Argentina/Buenos_Aires\n",
    );
    let link = ground.server.shell("readlink /etc/default/locale");
    assert_eq!(link, "../locale.conf");
    assert_eq!(ground.server.shell("grep -v '^#' /etc/locale.conf"), "LANG=fr_FR.UTF-8");
    assert_eq!(ground.server.shell("locale -a | grep -c 'fr_FR.utf8\\|de_DE@euro'"), "2");
    let zone = ground.server.shell("readlink /etc/localtime");
    assert_eq!(zone, "/usr/share/zoneinfo/America/Argentina/Buenos_Aires");
}
