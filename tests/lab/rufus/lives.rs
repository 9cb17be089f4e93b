//! Sites over the years: other names, workers instead of timers, old releases, maintenance.

use std::process::Command;

use crate::support::{LabServer, copy, text};

crate::tests! {
    ; on one release:
    a_renamed_site_keeps_its_data = 40,
    a_timer_becomes_a_worker_and_back = 40,
    old_releases_and_failed_clones_go = 40,
    a_maintenance_page_stays_until_it_is_switched_off = 40,
}

const HUB: &str = "websub.flus.io";

/// The value of `--set` that gives the hub these fields.
fn hub(fields: &str) -> String {
    format!("php-app.apps.\"{HUB}\"={fields}")
}

/// Under another name the site would begin anew: that is refused, until the folder says where the
/// data is.
fn a_renamed_site_keeps_its_data(os: &str) {
    let rufus = copy("rufus", os);
    rufus.lab.go_online();
    let names = format!("lab-internet.names={{'{}': [hub.flus.io]}}", rufus.address());
    rufus.lab.succeed(&["apply", "internet", "--lab", "--yes", "--set", &names]);
    let database = format!("/srv/{HUB}/shared/data/db.sqlite");
    rufus.run(&format!("sqlite3 {database} \"INSERT INTO items VALUES ('mine')\""));
    let gone = hub("null");
    let renamed = |folder: &str| {
        format!(
            "php-app.apps.\"hub.flus.io\"={{{folder} repository: /srv/standin/flus.git, ref: v1, \
             aliases: [{HUB}], redirect_aliases: true, php_extensions: [curl, mbstring], \
             database: {{kind: sqlite}}, shared: {{directories: {{data: {{}}}}}}, \
             env: {{APP_SECRET_KEY: '{}', APP_HOST: hub.flus.io}}, \
             setup: [{{run: [php, cli, migrations, setup], \
             version_file: data/migrations_version.txt, migrations: src/migrations}}], \
             workers: {{jobs: {{run: [php, cli, jobs, watch]}}}}, \
             health: {{path: /about, contains: '{{ref}},'}}}}",
            "k".repeat(64)
        )
    };
    let new = renamed("");
    let (code, said) = rufus.apply(&["--set", &gone, "--set", &new]);
    assert_eq!(code, 3, "{said}");
    let complaint = "`/srv/websub.flus.io` holds the same application, and no site declares that \
                     folder any more: if `hub.flus.io` is its new name, write `folder: websub.flus.io`";
    assert!(said.contains(complaint), "{said}");
    let kept = renamed("folder: websub.flus.io,");
    rufus.converge(&["--set", &gone, "--set", &kept]);
    assert_eq!(rufus.page("hub.flus.io", "/about").trim(), "hub.flus.io v1, SQLite with 2 items");
    assert!(rufus.page(HUB, "/about").contains("308"));
    assert_eq!(rufus.shell("systemctl is-active websub-flus-io-jobs; ls -d /srv/hub*"), "active");
    rufus.has_nothing_to_do(&["--set", &gone, "--set", &kept]);
}

/// The unit of a timer's program becomes a service that always runs, under one name.
fn a_timer_becomes_a_worker_and_back(os: &str) {
    let rufus = copy("rufus", os);
    let unit = "websub-flus-io-jobs";
    let is = |what: &str| {
        rufus.shell(&format!(
            "systemctl is-enabled {unit}.{what}; systemctl is-active {unit}.{what}"
        ))
    };
    assert_eq!(is("service"), "enabled\nactive");
    let timer = hub(
        "{workers: {jobs: null}, timers: {jobs: {run: [php, cli, jobs, install], schedule: '*:*:0/10'}}}",
    );
    rufus.converge(&["--set", &timer]);
    assert!(is("service").starts_with("static\n"), "{}", is("service"));
    assert_eq!(is("timer"), "enabled\nactive");
    let precision =
        "systemctl show -P AccuracyUSec -P RandomizedDelayUSec websub-flus-io-jobs.timer";
    assert_eq!(rufus.shell(precision), "1s\n0");
    rufus.wait_for(
        "two runs of the timer",
        &format!("[ $(wc -l < /srv/{HUB}/shared/data/jobs) -ge 2 ]"),
    );
    rufus.has_nothing_to_do(&["--set", &timer]);
    rufus.converge(&[]);
    assert_eq!(is("service"), "enabled\nactive");
    assert_eq!(rufus.shell(&format!("systemctl is-active {unit}.timer")), "inactive");
    rufus.has_nothing_to_do(&[]);
}

/// Of all that was deployed, as many releases stay as is said.
fn old_releases_and_failed_clones_go(os: &str) {
    let rufus = copy("rufus", os);
    let release = |tag: &str| hub(&format!("{{ref: {tag}, keep_releases: 1}}"));
    let releases = || rufus.shell(&format!("ls -A /srv/{HUB}/releases | xargs"));
    let (code, said) = rufus.apply(&["--set", &release("v9.9.9")]);
    assert_eq!(code, 3, "{said}");
    assert_eq!(releases(), "v1");
    // A run that was killed while it cloned.
    rufus.run(&format!("mkdir -p /srv/{HUB}/releases/.infra-v8/.git"));
    let (code, said) = rufus.apply(&["--set", &release("v3-broken")]);
    assert_eq!(code, 3, "{said}");
    assert_eq!(releases(), ".infra-v8 v1 v3-broken");
    let said = rufus.converge(&["--set", &release("v2")]);
    assert!(said.contains("command:old releases of websub.flus.io, removed  changed"), "{said}");
    assert_eq!(releases(), "v2");
    let plan = rufus.plan(&["--set", &release("v2")]);
    assert!(!plan.contains("v1") && !plan.contains("v9.9.9"), "{plan}");
    rufus.has_nothing_to_do(&["--set", &release("v2")]);
}

/// The status of a page and its `Retry-After`, asked from elsewhere.
fn status(rufus: &LabServer, path: &str) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "60", "--output", "/dev/null"])
        .args(["--write-out", "%{http_code} %header{retry-after}", "--resolve"])
        .arg(format!("{HUB}:443:{}", rufus.address()))
        .arg(format!("https://{HUB}{path}"))
        .output()
        .unwrap();
    text(&output.stdout).trim().to_owned()
}

/// Visitors see the page, the server itself sees the site, and an apply leaves it that way.
fn a_maintenance_page_stays_until_it_is_switched_off(os: &str) {
    let rufus = copy("rufus", os);
    assert_eq!(status(&rufus, "/about"), "200");
    rufus.run(&format!("site-maintenance on {HUB}"));
    assert_eq!(status(&rufus, "/about"), "503 300");
    assert!(rufus.page(HUB, "/about").contains("will be back"));
    let other = rufus.page("flus.fr", "/about");
    assert!(other.starts_with("flus.fr v1"), "{other}");
    rufus.converge(&["--set", &hub("{ref: v2}")]);
    assert_eq!(status(&rufus, "/"), "503 300");
    let local = format!("curl -sk --resolve {HUB}:443:127.0.0.1 https://{HUB}/about");
    assert_eq!(rufus.shell(&local), "websub.flus.io v2, SQLite with 1 items");
    let list = rufus.shell("site-maintenance list");
    assert!(list.starts_with("websub.flus.io: maintenance since 20"), "{list}");
    let output = rufus.infra(&["status", "rufus", "--lab"]);
    let said = text(&output.stdout);
    assert!(said.contains("websub.flus.io: maintenance since 20"), "{said}");
    rufus.run(&format!("site-maintenance off {HUB}"));
    assert_eq!(status(&rufus, "/about"), "200");
}
