//! File systems and files that are reached at several places, mounts by hand, and files in the way.

use super::Ground;

crate::tests! {
    ; on one release: storage_of_others_is_left_and_told = 40,
}

/// The first device of the lab that the project names.
const DEVICE: &str = "/dev/disk/by-id/scsi-ground";

fn storage_of_others_is_left_and_told(os: &str) {
    let ground = Ground::holding(os, &volume("/mnt/one"));
    a_volume_that_moves_keeps_its_files(&ground);
    a_folder_that_is_shown_elsewhere_keeps_its_files(&ground);
    a_mount_by_hand_is_told(&ground);
    a_file_of_others_becomes_no_swap(&ground);
    settings_that_change_with_others_hold(&ground);
    a_subvolume_that_moves_keeps_its_files(&ground);
}

/// A subvolume of btrfs, with a file in it that is declared.
fn subvolume(path: &str, name: &str) -> String {
    format!(
        "  - mount: {{ path: {path}, device: {DEVICE}, fstype: btrfs, options: \"nofail,subvol={name}\" }}\n\
         \x20 - file: {{ path: {path}/app.conf, content: precious }}\n"
    )
}

fn a_subvolume_that_moves_keeps_its_files(ground: &Ground) {
    let server = &ground.server;
    ground.declare("  - package: btrfs-progs\n");
    server.install(&[]);
    server.run(&format!(
        "mkfs.btrfs -qf {DEVICE} && mount -t btrfs {DEVICE} /mnt && cd /mnt && \
         btrfs subvolume create sub >/dev/null && btrfs subvolume create other >/dev/null && cd / && umount /mnt"
    ));
    ground.hold(&subvolume("/mnt/a", "sub"));
    server.run("echo row > /mnt/a/table; stat -c %i /mnt/a/app.conf > /root/inode");
    let plan = ground.hold(&subvolume("/mnt/b", "sub"));
    assert!(!plan.contains("app.conf"), "{plan}");
    server.run(
        "cd /mnt/b && grep -qx precious app.conf && grep -qx row table && stat -c %i app.conf | diff - /root/inode",
    );
    let said = ground.refused(&subvolume("/mnt/b", "other"));
    assert!(said.contains("`/mnt/b` shows the subvolume `/sub`, not `/other`"), "{said}");
    ground.hold("");
    server.run("! mountpoint -q /mnt/b");
}

/// A volume with files in it that are declared.
fn volume(path: &str) -> String {
    format!(
        "  - package: e2fsprogs\n\
         \x20 - volume: {{ path: {path}, device: {DEVICE} }}\n\
         \x20 - file: {{ path: {path}/app.conf, content: precious }}\n\
         \x20 - directory: {{ path: {path}/data, mode: \"0750\" }}\n"
    )
}

fn a_volume_that_moves_keeps_its_files(ground: &Ground) {
    let server = &ground.server;
    ground.hold(&format!(
        "{}  - file: {{ path: /mnt/one/old.conf, content: x }}\n",
        volume("/mnt/one")
    ));
    server.run("echo row > /mnt/one/data/table; stat -c %i /mnt/one/app.conf > /root/inode");
    ground.declare(&volume("/mnt/two"));
    let options = ["--allow-data-loss"];
    let plan = server.plan(&options);
    assert!(
        plan.contains("- file:/mnt/one/old.conf") && plan.contains("- volume:/mnt/one"),
        "{plan}"
    );
    assert!(!plan.contains("app.conf") && !plan.contains("directory:"), "{plan}");
    server.converge(&options);
    server.has_nothing_to_do(&options);
    server.run(
        "cd /mnt/two && grep -qx precious app.conf && grep -qx row data/table && ! test -e old.conf && \
         stat -c %i app.conf | diff - /root/inode && ! mountpoint -q /mnt/one && ! grep /mnt/one /etc/fstab",
    );
    // Both at once is one file twice.
    let both = volume("/mnt/one") + volume("/mnt/two").split_once('\n').unwrap().1;
    let said = ground.refused(&both);
    let clash =
        "`file:/mnt/two/app.conf` and `file:/mnt/one/app.conf` both write `/mnt/two/app.conf`";
    assert!(said.contains(clash), "{said}");
    ground.hold("");
    server.run("! mountpoint -q /mnt/two && ! grep -q /mnt /etc/fstab");
}

/// A folder at another place, with a file in it.
fn bound(path: &str) -> String {
    format!(
        "  - mount: {{ path: {path}, device: /srv/one, fstype: none, options: bind }}\n\
         \x20 - file: {{ path: {path}/page, content: here }}\n"
    )
}

fn a_folder_that_is_shown_elsewhere_keeps_its_files(ground: &Ground) {
    let server = &ground.server;
    server.run("mkdir /srv/one /srv/two; echo older > /srv/one/kept");
    ground.hold(&bound("/mnt/bound"));
    let plan = ground.hold(&bound("/mnt/other"));
    assert!(!plan.contains("page"), "{plan}");
    server.run("grep -qx here /mnt/other/page && grep -qx older /srv/one/kept && ! mountpoint -q /mnt/bound");
    // The folder itself is the same file as well.
    let plan = ground.hold("  - file: { path: /srv/one/page, content: here }\n");
    assert!(!plan.contains("page"), "{plan}");
    server.run("grep -qx here /srv/one/page");
    let mount = "  - mount: { path: /mnt/bound, device: /srv/DIR, fstype: none, options: bind }\n";
    ground.hold(&mount.replace("DIR", "one"));
    let said = ground.refused(&mount.replace("DIR", "two"));
    assert!(said.contains("`/mnt/bound` shows another folder than `/srv/two`"), "{said}");
    server.run("grep -q '/srv/one /mnt/bound' /etc/fstab");
    ground.hold("");
}

fn a_mount_by_hand_is_told(ground: &Ground) {
    let server = &ground.server;
    server.run("mkdir /mnt/ram; touch /mnt/ram/below");
    let mount = "  - mount: { path: /mnt/ram, device: tmpfs, fstype: tmpfs, options: \"size=1m,noexec\" }\n";
    ground.declare(mount);
    let (_, said) = ground.diff();
    assert!(said.contains("`mount:/mnt/ram` hides what is in `/mnt/ram`"), "{said}");
    ground.hold(mount);
    server.run("mount -o remount,ro,exec /mnt/ram");
    let plan = server.plan(&[]);
    assert!(
        plan.contains("options: size=1m,noexec (mounted with ro,exec) → size=1m,noexec"),
        "{plan}"
    );
    ground.hold(mount);
    server.run("touch /mnt/ram/x && findmnt -no OPTIONS /mnt/ram | grep -w noexec");
    // A change of the inventory is none of somebody else's.
    let more = mount.replace("size=1m,noexec", "size=2m,noexec,nosuid");
    let plan = ground.hold(&more);
    assert!(
        plan.contains("→ size=2m,noexec,nosuid") && !plan.contains("changed on the server"),
        "{plan}"
    );
    server.run("mount -o remount,size=3m /mnt/ram");
    let plan = server.plan(&[]);
    assert!(plan.contains("(mounted with size=3072k)") && plan.contains("drift"), "{plan}");
    ground.hold(&more);
    ground.hold(mount);
    server.run(
        "printf '[Mount]\\nWhat=tmpfs\\nType=tmpfs\\nWhere=/mnt/ram\\n' > /etc/systemd/system/mnt-ram.mount",
    );
    let said = ground.refused(mount);
    assert!(
        said.contains("`/etc/systemd/system/mnt-ram.mount` mounts `/mnt/ram` at boot"),
        "{said}"
    );
    server.run("rm /etc/systemd/system/mnt-ram.mount; systemctl daemon-reload");
    ground.hold("");
}

fn a_file_of_others_becomes_no_swap(ground: &Ground) {
    let server = &ground.server;
    server.run("echo insert > /srv/dump.sql; head -c 2M /dev/urandom > /srv/noise");
    for path in ["/srv/dump.sql", "/srv/noise"] {
        let said = ground.refused(&format!("  - swap: {{ path: {path}, size: 8 MiB }}\n"));
        assert!(said.contains(&format!("`{path}` is no swap file")), "{said}");
        let (code, said) = server.apply(&[]);
        assert_eq!(code, 3, "{said}");
    }
    server.run("grep -qx insert /srv/dump.sql && test $(stat -c %s /srv/noise) = 2097152");
}

/// The kernel sets what tells hosts and routers apart anew when it begins to forward.
fn settings_that_change_with_others_hold(ground: &Ground) {
    let server = &ground.server;
    server.run("sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.lo.disable_ipv6=0");
    ground.hold(
        "  - sysctl: { key: net.ipv4.conf.all.accept_redirects, value: 1 }\n\
         \x20 - sysctl: { key: net.ipv6.conf.lo.disable_ipv6, value: 0 }\n\
         \x20 - sysctl: { key: net.ipv4.ip_forward, value: 1 }\n\
         \x20 - sysctl: { key: net.ipv6.conf.all.disable_ipv6, value: 1 }\n",
    );
    let values = "sysctl -n net.ipv4.conf.all.accept_redirects net.ipv6.conf.lo.disable_ipv6";
    assert_eq!(server.shell(values), "1\n0");
    // So does a boot.
    server.run("sysctl -w net.ipv4.ip_forward=0; systemctl restart systemd-sysctl");
    assert_eq!(server.shell(values), "1\n0");
    server.has_nothing_to_do(&[]);
}
