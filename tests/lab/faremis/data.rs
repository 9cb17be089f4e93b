//! The data of PostgreSQL: moved onto a new volume, or found on the volume of another server.

use crate::support::lines;

use super::{DEVICE, faremis, is_served, sql, version};

crate::tests! {
    data_moves_onto_a_new_volume = 40;
    on each release: the_volume_of_another_server_is_taken_over = 25,
}

/// A server whose data is where Debian puts it gets a volume: one apply moves the data there, even
/// after moves that were cut.
fn data_moves_onto_a_new_volume() {
    let faremis = faremis("debian-12");
    // As it was before it got its volume.
    faremis.run(&format!(
        "set -e; systemctl stop 'app-flus-fr-*' postgresql@15-main; cd /var/lib/postgresql/15; \
         rm -r main.moved; cp -a /mnt/data/postgresql main; \
         pg_conftool 15 main set data_directory $PWD/main; \
         umount /mnt/data; dd if=/dev/zero of={DEVICE} bs=1M count=4 conv=notrunc; \
         sed -i '/mnt.data/d' /etc/fstab; rm -r /etc/systemd/system/postgresql@.service.d; \
         systemctl daemon-reload",
    ));
    faremis.converge(&[
        "--set",
        "postgresql.data_directory=null",
        "--set",
        "base.volumes=null",
        "--set",
        "php-app.dumps.folder=null",
    ]);
    assert_eq!(sql(&faremis, "show data_directory"), "/var/lib/postgresql/15/main");
    assert_eq!(sql(&faremis, "create table canary (row int); insert into canary values (1)"), "");

    // Moves that were cut leave half a copy, and a whole one that was not switched to.
    faremis.converge(&["--only", "volume:/mnt/data,package:e2fsprogs"]);
    faremis.run(
        "mkdir -p /mnt/data/postgresql.incoming /mnt/data/postgresql && \
         echo half > /mnt/data/postgresql.incoming/PG_VERSION && \
         touch /mnt/data/postgresql/copied-by-infra /mnt/data/postgresql/stale",
    );
    let said = faremis.converge(&[]);
    let moved = "faremis  command:data of PostgreSQL in /mnt/data/postgresql  changed";
    assert!(lines(&said, "  changed").contains(&moved), "{said}");
    assert_eq!(sql(&faremis, "insert into canary values (2); select sum(row) from canary"), "3");
    // The old folder stays.
    let left = "ls /mnt/data /mnt/data/postgresql | grep -E 'incoming|copied|stale'; \
                cat /var/lib/postgresql/15/main.moved/PG_VERSION";
    assert_eq!(faremis.shell(left), "15");
    is_served(&faremis);
}

/// A new server serves the data on the volume of a server that is no more, unless it has data of
/// its own.
fn the_volume_of_another_server_is_taken_over(os: &str) {
    let (faremis, version) = (faremis(os), version(os));
    assert_eq!(sql(&faremis, "create table kept (row int); insert into kept values (7)"), "");
    // As Debian's package leaves a server: a cluster of its own, that nobody has used.
    faremis.shell(&format!(
        "systemctl stop 'app-flus-fr-*' 'postgresql@*' postgresql; \
         umount /mnt/data; rm -rf /etc/postgresql/{version}/main /var/lib/postgresql/{version}/*; \
         rm -rf /etc/systemd/system/postgresql@.service.d; systemctl daemon-reload; \
         pg_createcluster --start {version} main; chown -R 1234:1234 /mnt/data/postgresql"
    ));
    assert_eq!(sql(&faremis, "create role somebody; select 1"), "1");
    let (code, said) = faremis.apply(&[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("one of them has to go, and only you know which"), "{said}");
    assert_eq!(sql(&faremis, "drop role somebody; select 1"), "1");
    faremis.converge(&[]);
    assert_eq!(sql(&faremis, "select row from kept"), "7");
    let left = format!("cat /var/lib/postgresql/{version}/main.moved/PG_VERSION");
    assert_eq!(faremis.shell(&left), version);
    faremis.has_nothing_to_do(&[]);
}
