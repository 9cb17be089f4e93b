//! The four sites of Rufus answer, and nothing is left to do.

use crate::support::{copy, lines};

crate::tests! {
    ; on each release: four_sites_answer_and_a_second_apply_changes_nothing = 25,
}

/// Each page comes from its own release and its own database, and the settings beside the code are
/// hidden.
fn four_sites_answer_and_a_second_apply_changes_nothing(os: &str) {
    let rufus = copy("rufus", os);
    let pages = [
        ("flus.fr", "/about", "flus.fr v1, SQLite with 1 items"),
        ("flus.io", "/i/", "FreshRSS v1 at https://flus.io, PostgreSQL"),
        ("demo.flus.fr", "/about", "demo.flus.fr v1, PostgreSQL with 1 items"),
        ("websub.flus.io", "/about", "websub.flus.io v1, SQLite with 1 items"),
    ];
    for (name, path, content) in pages {
        let page = rufus.page(name, path);
        assert!(page.contains(content), "https://{name}{path} says {page}");
    }
    assert!(rufus.page("flus.fr", "/.env").contains("404"));

    let said = rufus.converge(&[]);
    assert_eq!(lines(&said, "  changed").len(), 0, "{said}");
    rufus.has_nothing_to_do(&[]);
}
