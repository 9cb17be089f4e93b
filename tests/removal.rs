//! What is no longer declared goes, and data stays: on the Rufus of `tests/rufus.rs`, once it
//! serves.

use std::path::Path;

use crate::rufus::lines;
use crate::support::LabServer;
use crate::support::lab_server::text;

const CONF: &str = "/etc/nginx/nginx.conf";

/// A hand edit is told from a change of the inventory, shown, and put right.
pub(crate) fn tells_drift(rufus: &LabServer) {
    let (code, said) = rufus.apply(&[]);
    assert_eq!(code, 0, "{said}");
    rufus.shell(&format!("sed -i 's/worker_connections .*/worker_connections 7;/' {CONF}"));
    let plan = rufus.infra(&["diff", "rufus", "--lab"]);
    let said = text(&plan.stdout);
    assert_eq!(plan.status.code(), Some(2), "{said}");
    let head =
        format!("rufus  ~ file:{CONF}  change (drift: changed on the server since the last apply)");
    assert!(said.contains(&head), "{said}");
    assert!(said.contains("-    worker_connections 7;"), "{said}");
    assert!(said.contains(", 1 of them drift"), "{said}");

    // The inventory asks for something else as well.
    let more = ["diff", "rufus", "--lab", "--set", "nginx.worker_connections=99"];
    let said = text(&rufus.infra(&more).stdout);
    let head =
        format!("rufus  ~ file:{CONF}  change (and changed on the server since the last apply)");
    assert!(said.contains(&head), "{said}");

    let (code, said) = rufus.apply(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(rufus.shell(&format!("grep -c 'worker_connections 1024' {CONF}")), "1");
}

/// A site goes with everything that serves it; its database and its files stay and are named.
pub(crate) fn removes_a_site_and_puts_it_back(rufus: &LabServer) {
    let sql = |line: &str| {
        rufus.shell(&format!("cd / && su postgres -c \"psql --dbname flus_demo -Atc '{line}'\""))
    };
    sql("create table canary (row int); insert into canary values (42)");
    let site = "php-app.apps.\"demo.flus.fr\"=null";
    let (code, said) = rufus.apply(&["--set", site]);
    assert_eq!(code, 0, "{said}");
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
    let plan = rufus.infra(&["diff", "rufus", "--lab", "--set", site]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));

    let (code, said) = rufus.apply(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(sql("select * from canary"), "42");
    assert!(rufus.page("demo.flus.fr", "/about").contains("demo.flus.fr v1, PostgreSQL"));
    assert_eq!(rufus.shell("systemctl is-active demo-flus-fr-jobs"), "active");
}

/// Roles that had overwritten packaged files and removed others are gone: the files are back.
pub(crate) fn removes_roles(rufus: &mut LabServer) {
    let packaged = rufus.shell("cd / && dpkg -V nginx-common php8.?-fpm | grep -v ' c '");
    assert_eq!(packaged, "", "only configuration differs from the packages");
    let project = tempfile::tempdir().unwrap();
    write(project.path(), "inventory/rufus.yaml", "roles: { small: {} }\n");
    write(
        project.path(),
        "roles/small/role.yaml",
        "description: small\nresources:\n  - file: { path: /etc/small, content: x }\n",
    );
    let before = std::mem::replace(&mut rufus.project, project.path().to_path_buf());
    let (code, said) = rufus.apply(&[]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains(&format!(
            "rufus  ~ file:{CONF}  change (no longer declared: back as it was before infra)"
        )),
        "{said}"
    );
    assert_eq!(rufus.shell("cd / && dpkg -V nginx-common php8.?-fpm logrotate"), "");
    assert_eq!(
        rufus.shell("readlink /etc/nginx/sites-enabled/default"),
        "/etc/nginx/sites-available/default"
    );
    let running = rufus.shell("systemctl is-active nginx ssh systemd-journald");
    assert_eq!(running, "inactive\nactive\nactive");
    // Their data is all there.
    let data = rufus.shell("ls /var/lib/postgresql/*/main/PG_VERSION /srv/flus.fr/shared/data");
    assert!(data.contains("PG_VERSION") && data.contains("db.sqlite"), "{data}");
    let plan = rufus.infra(&["diff", "rufus", "--lab"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));
    rufus.project = before;
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}
