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
    refuses_what_is_not_empty(&faremis);
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

    installs_the_jobs_for_other_counts(&faremis);
    makes_the_file_system_once(&faremis);
    takes_over_the_volume_of_another_server(&faremis, postgresql);
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
}

/// Whatever a device holds is left as it is: something for swap, a partition, bytes of nobody knows
/// what.
fn refuses_what_is_not_empty(faremis: &LabServer) {
    let partition = r"printf '\200\0\2\0\203\0\3\0\0\010\0\0\0\020\0\0' | \
                      dd of=DEVICE bs=1 seek=446 conv=notrunc status=none; \
                      printf '\125\252' | dd of=DEVICE bs=1 seek=510 conv=notrunc status=none";
    for (write, holds) in [
        ("mkswap DEVICE", "`swap`"),
        (partition, "a partition table (`dos`)"),
        (
            "echo 'a dump' | dd of=DEVICE bs=512 seek=2000 conv=notrunc",
            "something that is no file system",
        ),
    ] {
        faremis.shell(&write.replace("DEVICE", DEVICE));
        let sum = format!("head -c 4M {DEVICE} | sha256sum");
        let before = faremis.shell(&sum);
        let plan = faremis.infra(&["diff", "faremis", "--lab", "--only", "volume:/mnt/data"]);
        let said = text(&plan.stdout) + &text(&plan.stderr);
        assert_eq!(plan.status.code(), Some(3), "{said}");
        assert!(said.contains(&format!("`{DEVICE}` holds {holds}")), "{holds}: {said}");
        let (code, said) = faremis.apply(&["--only", "volume:/mnt/data"]);
        assert_eq!(code, 3, "{said}");
        assert_eq!(faremis.shell(&sum), before);
        faremis.shell(&format!("dd if=/dev/zero of={DEVICE} bs=1M count=4 conv=notrunc"));
    }
}

/// Other counts need other rows, which the set-up of the jobs makes, once.
fn installs_the_jobs_for_other_counts(faremis: &LabServer) {
    let jobs = "cat /srv/app.flus.fr/shared/data/jobs";
    assert_eq!(faremis.shell(jobs), "4 2");
    let env = "php-app.apps.\"app.flus.fr\".env.";
    let set =
        ["JOB_FEEDS_SYNC_COUNT=3", "JOB_LINKS_SYNC_COUNT=3"].map(|count| format!("{env}{count}"));
    let set = ["--set", &set[0], "--set", &set[1]];
    let (code, said) = faremis.apply(&set);
    assert_eq!(code, 0, "{said}");
    assert_eq!(faremis.shell(jobs), "4 2\n3 3");
    let (code, said) = faremis.apply(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(faremis.shell(jobs), "4 2\n3 3\n4 2");
}

/// A new server gets the volume of one that is no more: its data is served again.
fn takes_over_the_volume_of_another_server(faremis: &LabServer, postgresql: &str) {
    // As Debian's package leaves a server: a cluster of its own, that nobody has used.
    faremis.shell(&format!(
        "systemctl stop 'app-flus-fr-*' 'postgresql@*' postgresql; \
         umount /mnt/data; rm -rf /etc/postgresql/{postgresql}/main /var/lib/postgresql/{postgresql}/*; \
         rm -rf /etc/systemd/system/postgresql@.service.d; systemctl daemon-reload; \
         pg_createcluster --start {postgresql} main; chown -R 1234:1234 /mnt/data/postgresql"
    ));
    assert_eq!(sql(faremis, "create role somebody; select 1"), "1");
    let (code, said) = faremis.apply(&[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("one of them has to go, and only you know which"), "{said}");
    assert_eq!(sql(faremis, "drop role somebody; select 1"), "1");
    let (code, said) = faremis.apply(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(sql(faremis, "select row from kept"), "7");
    let left = format!("cat /var/lib/postgresql/{postgresql}/main.moved/PG_VERSION");
    assert_eq!(faremis.shell(&left), postgresql);
    let plan = faremis.infra(&["diff", "faremis", "--lab"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));
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
    let reason = "faremis: PostgreSQL cannot start: its data is in `/mnt/data/postgresql`, which is \
                  not there";
    assert!(said.contains(reason), "{said}");
    assert!(said.contains(&format!("faremis: `{unit}` does not run")), "{said}");
    let (code, said) = faremis.apply(&[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(&format!("the device `{DEVICE}` is not there")), "{said}");
    assert_eq!(faremis.shell(&format!("systemctl is-active {unit}; ls /mnt/data")), "inactive");
}
