//! The history of the applications of Flus, with stand-ins that behave as the releases of that time.

use crate::support::{LabServer, copy};

// `schema` shows the same with a small application in each run; these have the real histories.
crate::tests! {
    the_website_of_2022_becomes_that_of_today_and_back = 120 @ ignored,
    a_hub_whose_migrations_have_other_names_is_refused_without_a_note = 120 @ ignored,
    a_restored_database_is_migrated_once_more = 120 @ ignored,
    the_demonstration_lets_visitors_in_at_once = 60 @ ignored,
}

/// The releases of Debian that each of these is shown on.
const RELEASES: [&str; 2] = ["debian-12", "debian-13"];

/// Removes what the small stand-in has made, so that another application can begin.
fn begin_anew(server: &LabServer, folder: &str) {
    server.run(&format!(
        "systemctl stop '{}-*.service'; rm -rf /srv/{folder}/shared/data/*",
        folder.replace('.', "-")
    ));
}

/// Applies one application, which has to succeed.
fn converge(server: &LabServer, name: &str, fields: &str) -> String {
    let (part, set) = (format!("php-app/{name}"), format!("php-app.apps.\"{name}\"={fields}"));
    server.converge(&["--only", &part, "--set", &set])
}

fn version(server: &LabServer, folder: &str) -> String {
    server.shell(&format!("tail -n 1 /srv/{folder}/shared/data/migrations_version.txt"))
}

const WEBSITE_2022: &str = "{repository: /srv/standin/flus.fr.git, ref: c6007fa, \
    setup: [{name: initialisation, run: [php, cli, --request, /system/init], \
    creates: data/db.sqlite, failed_if_output: '500'}, \
    {name: migrations, run: [php, cli, --request, /system/migrate], failed_if_output: '500', \
    version_file: data/migrations_version.txt, migrations: src/migrations}], \
    workers: {jobs: null}, \
    timers: {payments: {run: [php, cli, --request, /payments/complete], schedule: '*:*:0/10'}}}";

/// Steps and programs have other names in each of the two releases, and seven migrations lie between.
fn the_website_of_2022_becomes_that_of_today_and_back() {
    for os in RELEASES {
        website(os);
    }
}

fn website(os: &str) {
    let rufus = copy("rufus", os);
    begin_anew(&rufus, "flus.fr");
    let today = "{repository: /srv/standin/flus.fr.git, ref: 3dfe5fb}";
    let answers = |release: &str| {
        assert_eq!(rufus.shell("readlink /srv/flus.fr/current"), format!("releases/{release}"));
        assert!(rufus.page("flus.fr", "/tarifs").contains("<h1>Flus</h1>"), "{release}");
    };
    converge(&rufus, "flus.fr", WEBSITE_2022);
    answers("c6007fa");
    let first = version(&rufus, "flus.fr");
    assert!(first.starts_with("Migration2020"), "{first}");
    rufus.run(
        "sqlite3 /srv/flus.fr/shared/data/db.sqlite \"INSERT INTO accounts (id, created_at, expired_at, email) \
         VALUES ('1', '2022-04-01', '2023-04-01', 'ana@example.org')\"",
    );
    for round in ["for the first time", "once more"] {
        converge(&rufus, "flus.fr", today);
        answers("3dfe5fb");
        assert_eq!(rufus.shell("systemctl is-active flus-fr-jobs"), "active", "{round}");
        assert!(version(&rufus, "flus.fr").starts_with("Migration2024"), "{round}");
        let said = converge(&rufus, "flus.fr", WEBSITE_2022);
        assert!(said.contains("lacks, rolled back  changed"), "{round}: {said}");
        answers("c6007fa");
        assert_eq!(version(&rufus, "flus.fr"), first, "{round}");
    }
    let accounts = "sqlite3 /srv/flus.fr/shared/data/db.sqlite 'SELECT email FROM accounts'";
    assert_eq!(rufus.shell(accounts), "ana@example.org");
}

const HUB_2022: &str = "{repository: /srv/standin/webubbub.git, ref: b2d748f, \
    setup: [{name: initialisation, run: [php, ./webubbub, --request, /system/init], \
    creates: data/db.sqlite, failed_if_output: '500'}, \
    {name: migrations, run: [php, ./webubbub, --request, /system/migrate], failed_if_output: '500', \
    version_file: data/migrations_version.txt, migrations: src/migrations}], \
    workers: {jobs: null}, timers: {jobs: {run: [sh, bin/jobs.sh], schedule: '*:*:0/10'}}}";

/// Neither the newer release nor the older one can tell from such a file which migrations ran.
fn a_hub_whose_migrations_have_other_names_is_refused_without_a_note() {
    for os in RELEASES {
        hub(os);
    }
}

fn hub(os: &str) {
    let rufus = copy("rufus", os);
    let hub = "websub.flus.io";
    begin_anew(&rufus, hub);
    converge(&rufus, hub, HUB_2022);
    let is_up = || {
        rufus.shell(
            "systemctl is-active websub-flus-io-jobs.timer websub-flus-io-jobs.service | xargs",
        )
    };
    assert!(is_up().starts_with("active "), "{}", is_up());
    let refused = |fields: &str, complaint: &str| {
        let set = format!("php-app.apps.\"{hub}\"={fields}");
        let (code, said) = rufus.apply(&["--only", "php-app/websub.flus.io", "--set", &set]);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(complaint), "{complaint}: {said}");
    };
    let newer = "{repository: /srv/standin/webubbub.git, ref: 1.0.0-alpha-2}";
    refused(newer, "names nothing that 1.0.0-alpha-2 has");
    assert_eq!(rufus.shell("readlink /srv/websub.flus.io/current"), "releases/b2d748f");
    rufus.run(
        "echo Migration201912260001AddPendingSecretAndPendingLeaseSecondsToSubscription \
         > /srv/websub.flus.io/shared/data/migrations_version.txt",
    );
    converge(&rufus, hub, newer);
    assert_eq!(rufus.shell("systemctl is-active websub-flus-io-jobs.service"), "active");
    assert_eq!(rufus.page(hub, "/dummy-subscriber?hub.challenge=foo").trim(), "foo");
    refused(HUB_2022, "names nothing that b2d748f has");
    assert_eq!(rufus.shell("readlink /srv/websub.flus.io/current"), "releases/1.0.0-alpha-2");
}

/// Last night's dump of PostgreSQL is put back under a newer release, as after a lost server.
fn a_restored_database_is_migrated_once_more() {
    for os in RELEASES {
        restored(os);
    }
}

fn restored(os: &str) {
    let faremis = copy("faremis", os);
    let name = "app.flus.fr";
    faremis.run("systemctl stop 'app-flus-fr-*.service'; cd / && runuser -u postgres -- dropdb flus_production");
    begin_anew(&faremis, name);
    let release = |tag: &str| format!("{{ref: {tag}, health: {{contains: '{{version}}'}}}}");
    converge(&faremis, name, &release("v1.2.4"));
    converge(&faremis, name, &release("v2.5.4"));
    let pending = || {
        faremis.shell("cd /srv/app.flus.fr/current && runuser -u app-flus-fr -- php cli migrations | grep -c '(not applied)'")
    };
    assert_eq!(pending(), "0");
    faremis.run(
        "cd /mnt/data/dumps/app.flus.fr/*-before-v2.5.4 && systemctl stop 'app-flus-fr-*.service' \
         && runuser -u postgres -- pg_restore --clean --if-exists -d flus_production < database.dump \
         && cat migrations_version.txt > /srv/app.flus.fr/shared/data/migrations_version.txt",
    );
    assert_eq!(pending(), "1");
    let said = converge(&faremis, name, &release("v2.5.4"));
    assert!(said.contains("command:dump of app.flus.fr before v2.5.4  changed"), "{said}");
    assert!(said.contains("command:set-up of app.flus.fr, for v2.5.4  changed"), "{said}");
    assert_eq!(pending(), "0");
    assert!(faremis.page(name, "/about").contains("2.5.4"));
    // The workers stood still for the step.
    assert_eq!(
        faremis.shell("systemctl is-active app-flus-fr-default app-flus-fr-all | xargs"),
        "active active"
    );
}

/// The page names an account that a job makes, which would run at night only.
fn the_demonstration_lets_visitors_in_at_once() {
    for os in RELEASES {
        demonstration(os);
    }
}

fn demonstration(os: &str) {
    let rufus = copy("rufus", os);
    let name = "demo.flus.fr";
    rufus.run(
        "systemctl stop 'demo-flus-fr-*.service'; cd / && runuser -u postgres -- dropdb flus_demo",
    );
    begin_anew(&rufus, name);
    converge(&rufus, name, "{ref: v2.5.4, health: {contains: '{version}'}}");
    let users = "cd / && runuser -u postgres -- psql -d flus_demo -Atc 'SELECT email FROM users'";
    assert!(
        rufus.shell(users).lines().any(|user| user == "demo@flus.fr"),
        "{}",
        rufus.shell(users)
    );
}
