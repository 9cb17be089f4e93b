//! The volume: a file system that is made once, only where nothing is, and a volume that is gone.

use crate::support::{LabServer, flus, text};

use super::{DEVICE, faremis, sql, unit};

crate::tests! {
    ;
    on one release:
        a_device_that_is_not_empty_is_left_as_it_is = 15,
        the_file_system_is_made_once = 15,
        postgresql_starts_on_no_empty_folder = 15,
}

/// Whatever a device holds is left as it is: something for swap, a partition, bytes that nobody
/// knows.
fn a_device_that_is_not_empty_is_left_as_it_is(os: &str) {
    let faremis = LabServer::bare("faremis", os, flus());
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
        faremis.run(&write.replace("DEVICE", DEVICE));
        let sum = format!("head -c 4M {DEVICE} | sha256sum");
        let before = faremis.shell(&sum);
        let (code, said) =
            faremis.lab.say(&["diff", "faremis", "--lab", "--only", "volume:/mnt/data"]);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(&format!("`{DEVICE}` holds {holds}")), "{holds}: {said}");
        let (code, said) = faremis.apply(&["--only", "volume:/mnt/data"]);
        assert_eq!(code, 3, "{said}");
        assert_eq!(faremis.shell(&sum), before);
        faremis.run(&format!("dd if=/dev/zero of={DEVICE} bs=1M count=4 conv=notrunc"));
    }
}

/// A file system that is there is mounted with its data, and not made anew.
fn the_file_system_is_made_once(os: &str) {
    let faremis = faremis(os);
    let uuid = format!("blkid --probe --output value --match-tag UUID {DEVICE}");
    let before = faremis.shell(&uuid);
    assert_eq!(before.len(), 36);
    assert_eq!(sql(&faremis, "create table kept (row int); insert into kept values (7)"), "");
    // As a new server that gets the old volume.
    faremis.run(
        "systemctl stop 'app-flus-fr-*' 'postgresql@*' postgresql && umount /mnt/data && \
         sed -i '/mnt.data/d' /etc/fstab && systemctl daemon-reload",
    );
    assert_eq!(faremis.shell("ls /mnt/data; grep mnt.data /etc/fstab"), "");
    faremis.converge(&[]);
    assert_eq!(faremis.shell(&uuid), before);
    assert_eq!(sql(&faremis, "select row from kept"), "7");
}

/// Without its volume PostgreSQL refuses to start, and `status` says why.
fn postgresql_starts_on_no_empty_folder(os: &str) {
    let (faremis, unit) = (faremis(os), unit(os));
    faremis.shell(&format!(
        "systemctl stop 'app-flus-fr-*' {unit} && umount /mnt/data && umount {DEVICE} && \
         rm {DEVICE}; systemctl start {unit}"
    ));
    assert_eq!(faremis.shell(&format!("systemctl is-active {unit}")), "inactive");
    assert_eq!(faremis.shell("ls /mnt/data"), "");
    let status = faremis.infra(&["status", "faremis", "--lab"]);
    let said = text(&status.stdout);
    assert_eq!(status.status.code(), Some(3), "{said}");
    assert!(said.contains(&format!("faremis: the device `{DEVICE}` is not there")), "{said}");
    let reason = "faremis: PostgreSQL cannot start: its data is in `/mnt/data/postgresql`, which \
                  is not there";
    assert!(said.contains(reason), "{said}");
    assert!(said.contains(&format!("faremis: `{unit}` does not run")), "{said}");
    let (code, said) = faremis.apply(&[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(&format!("the device `{DEVICE}` is not there")), "{said}");
    assert_eq!(faremis.shell(&format!("systemctl is-active {unit}; ls /mnt/data")), "inactive");
}
