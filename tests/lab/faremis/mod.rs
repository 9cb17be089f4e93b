//! Faremis, after the first apply: an application with PostgreSQL on a volume and a worker for each
//! queue.
//!
//! The volume is a file of this computer behind a loop device.

use crate::support::{LabServer, copy, lines};

pub(crate) mod data;
pub(crate) mod volume;

crate::tests! {
    ;
    on each release:
        the_application_is_served_and_each_queue_has_a_worker = 15,
        other_counts_install_the_jobs_once = 20,
}

const DEVICE: &str = "/dev/disk/by-id/scsi-0HC_Volume_18571234";
const QUEUES: &str = "all default fetchers1 fetchers2 fetchers3 fetchers4 fetchers5 fetchers6 \
                      importators mailers";

/// Faremis after its first apply: PostgreSQL runs again on the volume since the copy booted.
fn faremis(os: &str) -> LabServer {
    let faremis = copy("faremis", os);
    let active = faremis.shell(&format!("systemctl is-active {}", unit(os)));
    assert_eq!(active, "active", "PostgreSQL does not run");
    faremis
}

/// The version of PostgreSQL that a release has.
fn version(os: &str) -> &'static str {
    if os == "debian-12" { "15" } else { "17" }
}

/// The unit of PostgreSQL.
fn unit(os: &str) -> String {
    format!("postgresql@{}-main", version(os))
}

fn sql(faremis: &LabServer, line: &str) -> String {
    let psql = "psql --quiet --no-align --tuples-only --dbname postgres --command";
    faremis.shell(&format!("cd / && runuser -u postgres -- {psql} \"{line}\" 2>&1"))
}

/// The data is on the volume, nothing is left to do, and the application and its workers run.
fn is_served(faremis: &LabServer) {
    assert_eq!(sql(faremis, "show data_directory"), "/mnt/data/postgresql");
    let said = faremis.converge(&[]);
    assert_eq!(lines(&said, "  changed"), Vec::<&str>::new(), "{said}");
    faremis.has_nothing_to_do(&[]);
    let page = faremis.page("app.flus.fr", "/about");
    assert!(page.contains("app.flus.fr v1, PostgreSQL with 1 items"), "{page}");
    let workers = "systemctl list-units --plain --no-legend --state=active 'app-flus-fr-*' | \
                   sed 's/app-flus-fr-//; s/\\.service .*//' | sort | xargs";
    assert_eq!(faremis.shell(workers), QUEUES);
    let queue = "systemctl show --property ExecStart app-flus-fr-mailers | grep -o 'queue=[a-z]*'";
    assert!(faremis.shell(queue).starts_with("queue=mailers"));
}

/// The page answers from PostgreSQL on the volume, and one worker runs for each queue.
fn the_application_is_served_and_each_queue_has_a_worker(os: &str) {
    is_served(&faremis(os));
}

/// Other counts need other rows, which the set-up of the jobs makes, once.
fn other_counts_install_the_jobs_once(os: &str) {
    let faremis = faremis(os);
    let jobs = "cat /srv/app.flus.fr/shared/data/jobs";
    assert_eq!(faremis.shell(jobs), "4 2");
    let env = "php-app.apps.\"app.flus.fr\".env.";
    let set =
        ["JOB_FEEDS_SYNC_COUNT=3", "JOB_LINKS_SYNC_COUNT=3"].map(|count| format!("{env}{count}"));
    let set = ["--set", &set[0], "--set", &set[1]];
    faremis.converge(&set);
    assert_eq!(faremis.shell(jobs), "4 2\n3 3");
    faremis.converge(&[]);
    assert_eq!(faremis.shell(jobs), "4 2\n3 3\n4 2");
}
