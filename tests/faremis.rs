//! Faremis, for real: PostgreSQL on a volume, one worker a queue, on every release.
//!
//! The volume is a file of this computer behind a loop device. Needs a machine that can run the lab
//! (see `tests/lab.rs`); elsewhere it fails and says so.

use std::path::Path;

use crate::preview;
use crate::rufus::lines;
use crate::support::LabServer;
use crate::support::lab_server::text;

const DEVICE: &str = "/dev/disk/by-id/scsi-0HC_Volume_18571234";
const QUEUES: &str = "all default fetchers1 fetchers2 fetchers3 fetchers4 fetchers5 fetchers6 \
                      importators mailers";

#[test]
fn application_from_bare_on_debian_12() {
    serves("debian-12", "15");
}

#[test]
fn application_from_bare_on_debian_13() {
    serves("debian-13", "17");
}

fn serves(os: &str, postgresql: &str) {
    let faremis = LabServer::up("faremis", os, Path::new(env!("CARGO_MANIFEST_DIR")));
    if os == "debian-12" {
        moves_what_is_there(&faremis);
    } else {
        preview::comes_true(&faremis, &format!("faremis on {os}"), &[]);
    }
    assert_eq!(sql(&faremis, "show data_directory"), "/mnt/data/postgresql");
    let (code, said) = faremis.apply(&[]);
    assert_eq!((code, lines(&said, "  changed").len()), (0, 0), "{said}");
    let plan = faremis.infra(&["diff", "faremis", "--lab"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));
    let page = faremis.page("app.flus.fr", "/about");
    assert!(page.contains("app.flus.fr v1, PostgreSQL with 1 items"), "{page}");
    let workers = "systemctl list-units --plain --no-legend --state=active 'app-flus-fr-*' | \
                   sed 's/app-flus-fr-//; s/\\.service .*//' | sort | xargs";
    assert_eq!(faremis.shell(workers), QUEUES);
    let queue = "systemctl show --property ExecStart app-flus-fr-mailers | grep -o 'queue=[a-z]*'";
    assert!(faremis.shell(queue).starts_with("queue=mailers"));

    makes_the_file_system_once(&faremis);
    starts_on_no_empty_folder(&faremis, postgresql);
}

fn sql(faremis: &LabServer, line: &str) -> String {
    let psql = "psql --quiet --no-align --tuples-only --dbname postgres --command";
    faremis.shell(&format!("cd / && runuser -u postgres -- {psql} \"{line}\" 2>&1"))
}

/// A server whose data is where Debian puts it gets a volume: one apply moves the data there.
fn moves_what_is_there(faremis: &LabServer) {
    let without = ["--set", "postgresql.data_directory=null", "--set", "base.volumes=null"];
    let (code, said) = faremis.apply(&without);
    assert_eq!(code, 0, "{said}");
    assert_eq!(sql(faremis, "show data_directory"), "/var/lib/postgresql/15/main");
    assert_eq!(sql(faremis, "create table canary (row int); insert into canary values (1)"), "");

    // What moves that were cut leave: half a copy, and a whole one that was not switched to.
    let (code, said) = faremis.apply(&["--only", "volume:/mnt/data,package:e2fsprogs"]);
    assert_eq!(code, 0, "{said}");
    faremis.shell(
        "mkdir -p /mnt/data/postgresql.incoming /mnt/data/postgresql && \
         echo half > /mnt/data/postgresql.incoming/PG_VERSION && \
         touch /mnt/data/postgresql/copied-by-infra /mnt/data/postgresql/stale",
    );
    let (code, said) = faremis.apply(&[]);
    assert_eq!(code, 0, "{said}");
    let moved = "faremis  command:data of PostgreSQL in /mnt/data/postgresql  changed";
    assert!(lines(&said, "  changed").contains(&moved), "{said}");
    assert_eq!(sql(faremis, "insert into canary values (2); select sum(row) from canary"), "3");
    // The old folder stays.
    let left = "ls /mnt/data /mnt/data/postgresql | grep -E 'incoming|copied|stale'; \
                cat /var/lib/postgresql/15/main.moved/PG_VERSION";
    assert_eq!(faremis.shell(left), "15");
}

fn makes_the_file_system_once(faremis: &LabServer) {
    let uuid = format!("blkid --probe --output value --match-tag UUID {DEVICE}");
    let before = faremis.shell(&uuid);
    assert_eq!(before.len(), 36);
    assert_eq!(sql(faremis, "create table kept (row int); insert into kept values (7)"), "");
    // As a new server that gets the old volume.
    faremis.shell(
        "systemctl stop 'app-flus-fr-*' 'postgresql@*' postgresql && umount /mnt/data && \
         sed -i '/mnt.data/d' /etc/fstab && systemctl daemon-reload",
    );
    let (code, said) = faremis.apply(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(faremis.shell(&uuid), before);
    assert_eq!(sql(faremis, "select row from kept"), "7");
    // A device that holds anything else is refused.
    let other = "base.volumes={/mnt/other: {device: /dev/disk/by-id/other}}";
    faremis.shell("truncate -s 8M /root/partitioned && mkfs.ext4 -q /root/partitioned");
    let plan = faremis.infra(&["diff", "faremis", "--lab", "--set", other]);
    let said = text(&plan.stdout) + &text(&plan.stderr);
    assert_eq!(plan.status.code(), Some(3), "{said}");
    assert!(said.contains("the device `/dev/disk/by-id/other` is not there"), "{said}");
}

/// The volume is gone: PostgreSQL refuses to start, and `status` says why.
fn starts_on_no_empty_folder(faremis: &LabServer, postgresql: &str) {
    let unit = format!("postgresql@{postgresql}-main");
    faremis.shell(&format!(
        "systemctl stop 'app-flus-fr-*' {unit} && umount /mnt/data && umount {DEVICE} && rm {DEVICE}; \
         systemctl start {unit}"
    ));
    assert_eq!(faremis.shell(&format!("systemctl is-active {unit}")), "inactive");
    assert_eq!(faremis.shell("ls /mnt/data"), "");
    let status = faremis.infra(&["status", "faremis", "--lab"]);
    let said = text(&status.stdout);
    assert_eq!(status.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("faremis: the device `{DEVICE}` is not there")), "{said}");
    let (code, said) = faremis.apply(&[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(&format!("the device `{DEVICE}` is not there")), "{said}");
    assert_eq!(faremis.shell(&format!("systemctl is-active {unit}; ls /mnt/data")), "inactive");
}
