//! Resources that are no longer declared are removed, and data stays.

use std::path::Path;

use crate::support::{copy, lines, text};

crate::tests! {
    ; on one release:
    a_hand_edit_is_told_from_a_change_of_the_inventory = 25,
    a_removed_site_leaves_its_data_and_nothing_that_serves_it = 45,
    packaged_files_are_back_when_their_roles_are_gone = 60,
}

const CONF: &str = "/etc/nginx/nginx.conf";

/// The edit is shown as drift, with the inventory changed as well or not, and put right.
fn a_hand_edit_is_told_from_a_change_of_the_inventory(os: &str) {
    let rufus = copy("rufus", os);
    rufus.run(&format!("sed -i 's/worker_connections .*/worker_connections 7;/' {CONF}"));
    let plan = rufus.infra(&["diff", "rufus", "--lab"]);
    let said = text(&plan.stdout);
    assert_eq!(plan.status.code(), Some(2), "{said}");
    let head =
        format!("rufus  ~ file:{CONF}  change (drift: changed on the server since the last apply)");
    assert!(said.contains(&head), "{said}");
    assert!(said.contains("-    worker_connections 7;"), "{said}");
    assert!(said.contains(", 1 of them drift"), "{said}");

    // The inventory asks for something else as well.
    let said = rufus.plan(&["--set", "nginx.worker_connections=99"]);
    let head =
        format!("rufus  ~ file:{CONF}  change (and changed on the server since the last apply)");
    assert!(said.contains(&head), "{said}");

    rufus.converge(&[]);
    assert_eq!(rufus.shell(&format!("grep -c 'worker_connections 1024' {CONF}")), "1");
}

/// The report names the database and the files that stay; the site finds them when declared again.
fn a_removed_site_leaves_its_data_and_nothing_that_serves_it(os: &str) {
    let rufus = copy("rufus", os);
    let sql = |line: &str| {
        rufus.shell(&format!("cd / && su postgres -c \"psql --dbname flus_demo -Atc '{line}'\""))
    };
    sql("create table canary (row int); insert into canary values (42)");
    let site = "php-app.apps.\"demo.flus.fr\"=null";
    let said = rufus.converge(&["--set", site]);
    for gone in [
        "symlink:/etc/nginx/sites-enabled/demo.flus.fr.conf",
        "file:/etc/nginx/sites-available/demo.flus.fr.conf",
        "systemd_unit:demo-flus-fr-jobs.service",
        "symlink:/srv/demo.flus.fr/current",
        "file:/srv/demo.flus.fr/shared/.env",
    ] {
        assert!(said.contains(&format!("rufus  - {gone}  remove (no longer declared)")), "{said}");
        assert!(lines(&said, "  removed").contains(&&*format!("rufus  {gone}  removed")), "{said}");
    }
    for kept in [
        "postgresql_database:flus_demo  no longer managed: it holds data",
        "postgresql_role:flus_demo  no longer managed: it may own data",
        "directory:/srv/demo.flus.fr/shared/data  no longer managed: it is not empty",
    ] {
        assert!(said.contains(&format!("rufus    {kept}")), "{said}");
    }
    let left = rufus.shell(
        "ls /etc/nginx/sites-*/demo* /etc/php/*/fpm/pool.d/demo* /etc/systemd/system/demo* \
         /srv/demo.flus.fr/current /srv/demo.flus.fr/shared/.env 2>/dev/null; \
         systemctl is-active demo-flus-fr-jobs",
    );
    assert_eq!(left, "inactive");
    assert!(rufus.page("flus.fr", "/about").contains("flus.fr v"));
    rufus.has_nothing_to_do(&["--set", site]);

    rufus.converge(&[]);
    assert_eq!(sql("select * from canary"), "42");
    assert!(rufus.page("demo.flus.fr", "/about").contains("demo.flus.fr v1, PostgreSQL"));
    assert_eq!(rufus.shell("systemctl is-active demo-flus-fr-jobs"), "active");
}

/// Packages with files that roles overwrite or remove.
const PACKAGES: &str = "nginx-common logrotate $(dpkg-query -W -f '${Package} ' 'php8.?-fpm')";

/// The roles had overwritten some files of packages and removed others.
fn packaged_files_are_back_when_their_roles_are_gone(os: &str) {
    let mut rufus = copy("rufus", os);
    let differs = format!("cd / && dpkg -V {PACKAGES} 2>&1 | grep -v ' c '; echo verified");
    let packaged = rufus.shell(&differs);
    assert_eq!(packaged, "verified", "only configuration differs from the packages");
    let project = tempfile::tempdir().unwrap();
    write(project.path(), "inventory/rufus.yaml", "roles: { small: {} }\n");
    write(
        project.path(),
        "roles/small/role.yaml",
        "description: small\nresources:\n  - file: { path: /etc/small, content: x }\n",
    );
    rufus.use_project(project.path());
    let said = rufus.converge(&[]);
    assert!(
        said.contains(&format!(
            "rufus  ~ file:{CONF}  change (no longer declared: back as it was before infra)"
        )),
        "{said}"
    );
    let verify = format!("cd / && dpkg -V {PACKAGES} 2>&1; echo verified");
    assert_eq!(rufus.shell(&verify), "verified");
    assert_eq!(
        rufus.shell("readlink /etc/nginx/sites-enabled/default"),
        "/etc/nginx/sites-available/default"
    );
    let running = rufus.shell("systemctl is-active nginx ssh systemd-journald");
    assert_eq!(running, "inactive\nactive\nactive");
    assert_eq!(rufus.login("echo in"), "in");
    // The data of the services is all there.
    let data = rufus.shell("ls /var/lib/postgresql/*/main/PG_VERSION /srv/flus.fr/shared/data");
    assert!(data.contains("PG_VERSION") && data.contains("db.sqlite"), "{data}");
    rufus.has_nothing_to_do(&[]);
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
