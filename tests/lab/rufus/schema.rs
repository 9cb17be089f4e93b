//! Set-ups follow the schema that the database and the version file hold.

use crate::support::{LabServer, copy};

crate::tests! {
    ; on one release:
    a_set_up_runs_again_for_a_schema_that_is_behind = 60,
    a_set_up_that_does_not_fit_the_data_is_refused = 40,
}

/// The data of the website.
const DATA: &str = "/srv/flus.fr/shared/data";

/// Its version file.
const VERSION: &str = "/srv/flus.fr/shared/data/migrations_version.txt";

/// A release with the steps of an older release of the application, as `--set` takes it.
const OLD: &str = "php-app.apps.\"flus.fr\"={ref: v1, setup: [\
    {name: first steps, run: [sh, -c, 'echo >> data/first-steps']}, \
    {name: migrations, run: [php, cli, migrations, setup], \
     version_file: data/migrations_version.txt, migrations: src/migrations}]}";

/// The newer release, whose steps have other names.
const NEW: &str = "php-app.apps.\"flus.fr\".ref=v2";

fn tables(rufus: &LabServer) -> String {
    let tables = rufus.shell(&format!("sqlite3 {DATA}/db.sqlite .tables"));
    tables.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Applies the website alone, which has to succeed.
fn converge(rufus: &LabServer, set: &str) -> String {
    rufus.converge(&["--only", "php-app/flus.fr", "--set", set])
}

fn apply(rufus: &LabServer, set: &str) -> (i32, String) {
    rufus.apply(&["--only", "php-app/flus.fr", "--set", set])
}

/// Everything is applied, which tells the releases that are no longer managed, and nothing is left.
fn settles(rufus: &LabServer) {
    rufus.converge(&["--set", NEW]);
    rufus.has_nothing_to_do(&["--set", NEW]);
}

/// Puts back the dump that was made before the newer release, as root.
fn restore(rufus: &LabServer) {
    rufus.run(&format!(
        "cd \"$(ls -d /var/backups/php-app/flus.fr/*-before-v2 | tail -n 1)\" && rm {DATA}/db.sqlite && \
         zcat database.sql.gz | sqlite3 {DATA}/db.sqlite && cp migrations_version.txt {VERSION}.new \
         && mv {VERSION}.new {VERSION}"
    ));
}

/// Back and forth between releases with other steps, and a dump of before an upgrade: the schema is
/// always that of the release that is served, and what was written stays.
fn a_set_up_runs_again_for_a_schema_that_is_behind(os: &str) {
    let rufus = copy("rufus", os);
    converge(&rufus, OLD);
    rufus.run(&format!("sqlite3 {DATA}/db.sqlite \"INSERT INTO items VALUES ('mine')\""));
    let said = converge(&rufus, NEW);
    assert!(said.contains("command:dump of flus.fr before v2  changed"), "{said}");
    assert!(said.contains("command:set-up of flus.fr, for v2  changed"), "{said}");
    assert_eq!(tables(&rufus), "items notes");
    // Everybody may know what a step of a set-up does, also where it is given a password.
    let said = converge(&rufus, OLD);
    assert!(said.contains("command:migrations of flus.fr that v1 lacks, rolled back"), "{said}");
    assert!(said.contains("command:first steps of flus.fr, for v1  changed"), "{said}");
    assert_eq!(tables(&rufus), "items");
    let said = converge(&rufus, NEW);
    assert!(said.contains("command:set-up of flus.fr, for v2  changed"), "{said}");
    assert_eq!(tables(&rufus), "items notes");
    settles(&rufus);

    restore(&rufus);
    rufus.run(&format!("chown -R flus-fr: {DATA}"));
    assert_eq!(tables(&rufus), "items");
    let plan = rufus.plan(&["--set", NEW]);
    assert!(plan.contains("command:dump of flus.fr before v2"), "{plan}");
    assert!(plan.contains("command:set-up of flus.fr, for v2"), "{plan}");
    converge(&rufus, NEW);
    assert_eq!(tables(&rufus), "items notes");
    assert_eq!(rufus.page("flus.fr", "/about").trim(), "flus.fr v2, SQLite with 2 items");
    settles(&rufus);
}

/// Each of these would end with a database and a version file that do not belong together.
fn a_set_up_that_does_not_fit_the_data_is_refused(os: &str) {
    let rufus = copy("rufus", os);
    converge(&rufus, NEW);
    restore(&rufus);
    let refused = |complaint: &str| {
        let before = rufus.shell(&format!("sqlite3 -readonly {DATA}/db.sqlite .dump | sha256sum"));
        let (code, said) = apply(&rufus, NEW);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(complaint), "{complaint}: {said}");
        let after = rufus.shell(&format!("sqlite3 -readonly {DATA}/db.sqlite .dump | sha256sum"));
        assert_eq!(before, after);
    };
    // Root restores the files.
    refused(
        "`flus-fr` cannot write `data/migrations_version.txt` of flus.fr: after a set-up the database \
         and that file would differ; run `chown -R flus-fr: /srv/flus.fr/shared/data`",
    );
    rufus.run(&format!("chown flus-fr: {VERSION}"));
    refused("`flus-fr` cannot write `data/db.sqlite` of flus.fr");
    rufus.run(&format!("chown -R flus-fr: {DATA}"));
    rufus.run(&format!("cp -a {VERSION} {VERSION}.kept; echo 20191226_first > {VERSION}"));
    refused("names nothing that v2 has (20191226_first)");
    // With nothing else to do, the plan tells the loss all the same.
    rufus.run(&format!("rm {VERSION}"));
    let plan = rufus.plan(&["--set", NEW]);
    assert!(plan.contains("is lost, but its database is not empty"), "{plan}");
    refused("is lost, but its database is not empty");
    rufus.run(&format!("mv {VERSION}.kept {VERSION}; mv {DATA}/db.sqlite {DATA}/kept"));
    let (code, said) = apply(&rufus, NEW);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("names a schema, but its database is empty"), "{said}");
    rufus.run(&format!("mv {DATA}/kept {DATA}/db.sqlite"));
    converge(&rufus, NEW);
    settles(&rufus);
}
