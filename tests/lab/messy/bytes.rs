//! Files that others own a part of, in whatever character set, with access lists, flags and names.

use std::fs;

use tempfile::TempDir;

use crate::support::LabServer;

crate::tests! {
    ; on one release:
    what_others_wrote_stays_to_the_byte = 20,
    what_cannot_be_replaced_is_refused_by_the_plan = 15,
}

/// A server of its own and its project, whose role declares `resources`.
fn server(os: &str, resources: &str) -> (LabServer, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for part in ["inventory", "roles/demo"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
    }
    let inventory = "ssh: { host: old.example.org }\nroles: { demo: {} }\n";
    fs::write(folder.path().join("inventory/old.yaml"), inventory).unwrap();
    declare(&folder, resources);
    (LabServer::bare("old", os, folder.path()), folder)
}

fn declare(project: &TempDir, resources: &str) {
    let role = format!("description: files\n{resources}");
    fs::write(project.path().join("roles/demo/role.yaml"), role).unwrap();
}

const EDITS: &str = "resources:
  - user: { name: deploy, shell: /bin/bash }
  - file: { path: /etc/motd, content: \"hello\\n\", owner: deploy, mode: \"0640\" }
  - file: { path: /etc/whole.conf, content: \"new\\n\", mode: \"0640\" }
  - line: { path: /etc/app.ini, match: \"^port=\", line: \"port=8081\" }
  - line: { path: /etc/vimrc.local, line: \"set nocompatible\" }
  - line: { path: /etc/app.conf, match: \"^level=\", line: \"level=info\" }
  - hostname: { name: web-1, fqdn: web-1.example.org }
  - mount: { path: /mnt/ram, device: tmpfs, fstype: tmpfs, options: size=10M }
  - file: { path: /etc/shared/plain, content: \"new\\n\" }
  - file: { path: /usr/local/bin/tool, content: \"new\\n\", mode: \"0755\" }
  - file: { path: /srv/way/conf, content: \"new\\n\" }
  - file: { path: /srv/web.conf, content: \"new\\n\", group: web }
  - file: { path: /etc/gone.conf, state: absent }
  - file: { path: /etc/huge.conf, state: absent }
";

/// A folder that gives a list to what is made in it, and a file without one; a program that may bind
/// ports; a symlink to a folder with a name in Latin-1; and two groups of one number.
const NEIGHBOURS: &str = r"\
mkdir /etc/shared && echo old >/etc/shared/plain && setfacl -d -m u:reader:r /etc/shared && \
echo old >/usr/local/bin/tool && chmod 0755 /usr/local/bin/tool && \
setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 /usr/local/bin/tool && \
folder=$(printf 'donn\351es') && mkdir /srv/$folder && ln -s $folder /srv/way && \
printf 'web:x:4000:\nadmins:x:4000:j\351\n' >>/etc/group && \
echo old >/etc/gone.conf && setfacl -m u:reader:r /etc/gone.conf && \
setfattr -n user.note -v theirs /etc/gone.conf && truncate -s 300M /etc/huge.conf";

/// The files of the server before, as printf(1) writes them, and after.
const FILES: [(&str, &str, &[u8]); 6] = [
    ("/etc/app.ini", r"[a]\r\nport=1\r\nname=caf\351\r\n", b"[a]\r\nport=8081\r\nname=caf\xe9\r\n"),
    (
        "/etc/vimrc.local",
        r#"" donn\351es\nmap x y\r\nmap a b\r\nset hidden"#,
        b"\" donn\xe9es\nmap x y\r\nmap a b\r\nset hidden\nset nocompatible\n",
    ),
    ("/etc/app.conf", r"level=debug\nx=1", b"level=info\nx=1"),
    (
        "/etc/hosts",
        r"# donn\351es\n127.0.1.1 shop.internal db # in use\n127.0.1.1 old.example.org old mail\r\n10.0.0.9 x",
        b"# donn\xe9es\n127.0.1.1 shop.internal db # in use\n\
          127.0.1.1\tweb-1.example.org web-1 mail\n10.0.0.9 x",
    ),
    (
        "/etc/fstab",
        r"# donn\351es\n/dev/x /mnt/caf\351 ext4 noauto 0 0",
        b"# donn\xe9es\n/dev/x /mnt/caf\xe9 ext4 noauto 0 0\ntmpfs /mnt/ram tmpfs size=10M 0 0\n",
    ),
    ("/etc/whole.conf", r"old\n", b"new\n"),
];

/// Old accounts and texts are in Latin-1, some lines end as on Windows, and a log shipper reads files by
/// their access lists. Of all that, an apply changes what is declared, and says so.
fn what_others_wrote_stays_to_the_byte(os: &str) {
    let (server, project) = server(os, EDITS);
    server.run("apt-get install --yes -qq acl attr >&2 && useradd -m -s /bin/bash deploy && useradd reader");
    let jose = r"jose:x:1500:1500:Jos\351 M\374ller,,,:/home/jose:/bin/bash\n";
    server
        .run(&format!("printf '{jose}' >>/etc/passwd; cp /etc/passwd /root/passwd; hostname old"));
    for (path, before, _) in FILES {
        server.run(&format!(
            "printf '{before}' >{path} && chmod 0640 {path} && setfacl -m u:reader:r {path} && \
             setfattr -n user.note -v theirs {path}"
        ));
    }
    server.run(NEIGHBOURS);
    let attributes = "getfacl -cp /etc/app.conf /etc/fstab /etc/hosts /etc/whole.conf /etc/shared/plain; \
                      getfattr -d -m '^user|^security.cap' /etc/app.ini /etc/hosts /etc/whole.conf \
                      /usr/local/bin/tool 2>&1";
    let gone = "getfacl -cp /etc/gone.conf; getfattr -d /etc/gone.conf 2>&1; cat /etc/gone.conf";
    let before_it_goes = server.run(gone);
    let before = server.run(attributes);
    for kept in ["user:reader:r--", "theirs", "security.capability"] {
        assert!(before.contains(kept), "{kept}: {before}");
    }
    let plan = server.plan(&[]);
    assert!(!plan.contains("user:deploy"), "{plan}");
    for told in [
        "owner: root → deploy",
        "line: port=1 → port=8081",
        "hosts: old.example.org old → web-1.example.org web-1",
        "what `file:/etc/huge.conf` finds is not kept: `/etc/huge.conf` has 314572800 bytes",
    ] {
        assert!(plan.contains(told), "{told}: {plan}");
    }
    server.converge(&[]);
    server.has_nothing_to_do(&[]);
    for (path, _, after) in FILES {
        let found = server.run(&format!("od -An -v -tx1 {path} | tr -d ' \\n'"));
        assert_eq!(found, hex(after), "{path}");
    }
    assert_eq!(server.run(attributes), before);
    assert_eq!(server.run("su reader -s /bin/sh -c 'cat /etc/app.conf'"), "level=info\nx=1");
    assert_eq!(server.run("cmp /etc/passwd /root/passwd; stat -c '%U %a' /etc/motd"), "deploy 640");
    assert_eq!(server.run("hostname -f"), "web-1.example.org");
    assert_eq!(server.run("cat /srv/donn*/conf; stat -c %G /srv/web.conf"), "new\nweb");
    for name in ["web-1", "shop.internal", "db", "mail", "x"] {
        server.run(&format!("getent hosts {name}"));
    }
    // The things that are no longer declared go, and nothing else.
    declare(&project, "resources:\n  - hostname: { name: web-1, fqdn: web-1.example.org }\n");
    server.converge(&[]);
    server.has_nothing_to_do(&[]);
    assert_eq!(server.run("cat /etc/whole.conf; ls /etc/*.conf | grep -c huge || true"), "old\n0");
    assert_eq!(server.run(gone), before_it_goes);
    let left = server.run("od -An -v -tx1 /etc/fstab | tr -d ' \\n'");
    assert_eq!(left, hex(b"# donn\xe9es\n/dev/x /mnt/caf\xe9 ext4 noauto 0 0\n"));
    assert_eq!(server.run(attributes), before);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

const BOUND: &str = "resources:
  - file: { path: /etc/right, content: \"a\\n\" }
  - file: { path: /etc/linked, content: \"a\\n\" }
  - file: { path: /etc/closed/new, content: \"a\\n\" }
  - line: { path: /etc/fixed, line: a }
  - line: { path: /var/log/grows, line: a }
  - mount: { path: /mnt/ram, device: tmpfs, fstype: tmpfs }
";

/// The plan names each file that no apply could replace, and nothing is changed.
fn what_cannot_be_replaced_is_refused_by_the_plan(os: &str) {
    let (server, _project) = server(os, BOUND);
    server.run("command -v chattr >&2 || apt-get install --yes -qq e2fsprogs >&2");
    server.run(
        "printf 'a\\n' >/etc/right; chmod 0644 /etc/right; ln /etc/right /root/right; \
         echo b >/etc/linked; ln /etc/linked /root/linked; mkdir /etc/closed; echo b >/etc/fixed; \
         echo b >/var/log/grows; touch /usr/local/fstab; ln -sf /usr/local/fstab /etc/fstab; \
         chattr +i /etc/right /etc/closed /etc/fixed; chattr +a /var/log/grows",
    );
    let (code, said) = server.lab.say(&["diff", "old", "--lab"]);
    let (applied, again) = server.apply(&[]);
    let after = server.run("cat /etc/linked /etc/fixed /var/log/grows; ls -A /etc/closed");
    // The lab could not remove them.
    server.run("chattr -i /etc/right /etc/closed /etc/fixed; chattr -a /var/log/grows");
    assert_eq!((code, applied), (3, 3), "{said}{again}");
    for told in [
        "`/etc/linked` has 2 names (hard links)",
        "`/etc/closed`, the folder of `/etc/closed/new`, is immutable (`chattr +i`)",
        "`/etc/fixed` is immutable (`chattr +i`)",
        "`/var/log/grows` is append-only (`chattr +a`)",
        "`/etc/fstab` is a symlink, not a file",
        "1 ok, 5 failed",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(after, "b\nb\nb");
    server.run("rm /root/linked /etc/fstab; touch /etc/fstab");
    server.converge(&[]);
    server.has_nothing_to_do(&[]);
}
