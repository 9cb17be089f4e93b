//! A resource is right when the program that reads it says so: sshd, systemd-sysctl, cron, apt.

use std::fs;

use tempfile::TempDir;

use crate::support::LabServer;

crate::tests! {
    ; on each release: settings_count_as_their_readers_say = 30
}

const ROLES: [(&str, &str); 7] = [
    (
        "sshd",
        "- sshd_config: { name: 10-infra, settings: { PasswordAuthentication: false, Port: [22, 2222] } }
  reload: ssh
- service: { name: ssh, validate: /usr/sbin/sshd -t }",
    ),
    (
        "twice",
        "- sshd_config: { name: 05-other, settings: { PasswordAuthentication: true } }",
    ),
    (
        "refused",
        "- file: { path: /srv/own.conf, content: \"AuthenticationMethods nonsense\\n\" }
- symlink: { path: /etc/ssh/sshd_config.d/50-own.conf, target: /srv/own.conf }",
    ),
    (
        "keys",
        "- user: { name: deploy }
- authorized_key: { user: deploy, key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9yMWaCi4sm0hMhjr5sZCuKIZF4LwHpf5A8vAgxqFvv }",
    ),
    (
        "kernel",
        "- sysctl: { key: net.ipv4.ip_forward, value: 1 }
- sysctl: { key: net.ipv4.ip_local_port_range, value: 20000 60999 }",
    ),
    (
        "jobs",
        "- package: cron
- cron:
    name: beat
    schedule: \"@reboot\"
    command: env > /run/beat.new; mv /run/beat.new /run/beat
    env: { MAILTO: \"\", BLANKS: \" two spaces \", QUOTES: \"'it is'\", BOTH: \"it's \\\"so\\\" # all\" }",
    ),
    (
        "vendor",
        "- apt_repository:
    name: vendor
    uris: http://mirror.example.org/debian
    suites: bookworm-backports
    components: main
    signed_by: /usr/share/keyrings/debian-archive-keyring.gpg",
    ),
];

/// A bare server and the project of its roles.
fn server(os: &str) -> (LabServer, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("inventory")).unwrap();
    let roles: Vec<String> = ROLES.iter().map(|(role, _)| format!("{role}: {{}}")).collect();
    let inventory =
        format!("ssh: {{ host: old.example.org }}\nroles: {{ {} }}\n", roles.join(", "));
    for (role, resources) in ROLES {
        let role = folder.path().join("roles").join(role);
        fs::create_dir_all(&role).unwrap();
        let resources = resources.replace('\n', "\n  ");
        fs::write(role.join("role.yaml"), format!("resources:\n  {resources}\n")).unwrap();
    }
    fs::write(folder.path().join("inventory/old.yaml"), inventory).unwrap();
    (LabServer::bare("old", os, folder.path()), folder)
}

fn settings_count_as_their_readers_say(os: &str) {
    let (server, _project) = server(os);
    sshd_keeps_what_it_can_read(&server);
    two_settings_of_sshd_do_not_fight(&server);
    sshd_finds_the_keys(&server);
    sshd_refuses_passwords(&server);
    the_kernel_keeps_its_values(&server, os);
    cron_reads_what_was_written(&server);
    apt_works_on(&server);
}

/// Nobody sees what a link leads to before it is there, and no service is named to be reloaded.
fn sshd_keeps_what_it_can_read(server: &LabServer) {
    const LINK: &str = "/etc/ssh/sshd_config.d/50-own.conf";
    let only = ["--only", "refused"];
    let (code, said) = server.apply(&only);
    assert_eq!(code, 3, "{said}");
    let failure = format!("sshd refuses its configuration with `{LINK}`");
    assert!(said.contains(&failure) && said.contains("invalid AuthenticationMethods"), "{said}");
    server.run(&format!("test ! -e {LINK} && /usr/sbin/sshd -t"));

    // The link was there, and leads to a file that sshd can read.
    server.run(&format!("echo X11Forwarding no >/srv/own.conf && ln -s /srv/own.conf {LINK}"));
    let (code, said) = server.apply(&only);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("sshd refuses its configuration with `/srv/own.conf`"), "{said}");
    server.run(&format!("/usr/sbin/sshd -t && grep X11 {LINK} && rm {LINK}"));
}

/// Of two values for one setting, sshd takes the first.
fn two_settings_of_sshd_do_not_fight(server: &LabServer) {
    let both = ["--only", "sshd", "--only", "twice"];
    let (code, said) = server.lab.say(&[&["diff", "old", "--lab"][..], &both].concat());
    assert_eq!(code, 3, "{said}");
    let refusal = "`sshd_config:05-other` undoes `sshd_config:10-infra`";
    assert!(said.contains(refusal), "{said}");
    let (code, said) = server.apply(&both);
    assert_eq!(code, 3, "{said}");
    server.run("test ! -e /etc/ssh/sshd_config.d/05-other.conf && /usr/sbin/sshd -t");
}

/// Others have sshd look for keys elsewhere.
fn sshd_finds_the_keys(server: &LabServer) {
    let only = ["--only", "keys"];
    let refused = |why: &str| {
        let (code, said) = server.lab.say(&["diff", "old", "--lab", "--only", "keys"]);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(why), "{said}");
    };
    server.converge(&only);
    server.run("echo 'AuthorizedKeysFile /etc/ssh/keys/%u' >/etc/ssh/sshd_config.d/00-keys.conf");
    refused("`/etc/ssh/sshd_config.d/00-keys.conf:1` says `AuthorizedKeysFile /etc/ssh/keys/%u`");
    server.run(
        "printf 'Match Group deploy\n AuthorizedKeysFile none' >/etc/ssh/sshd_config.d/00-keys.conf",
    );
    refused("`/etc/ssh/sshd_config.d/00-keys.conf:2` says `AuthorizedKeysFile none` below");
    server.run("sed -i 's/deploy/backup/' /etc/ssh/sshd_config.d/00-keys.conf");
    server.has_nothing_to_do(&only);
    server.run("rm /etc/ssh/sshd_config.d/00-keys.conf && chmod 777 /home/deploy");
    refused("sshd takes no keys of `deploy` from `/home/deploy`: its mode is 0777");
    // The group is the user's own.
    server.run("chmod 775 /home/deploy");
    server.has_nothing_to_do(&only);
}

/// The main file of sshd was kept through upgrades, and includes nothing.
fn sshd_refuses_passwords(server: &LabServer) {
    const SAYS: &str = "/usr/sbin/sshd -T | grep -x -e 'passwordauthentication .*' -e 'port .*'";
    const REFUSES: &str = "port 22\nport 2222\npasswordauthentication no";
    let only = ["--only", "sshd"];
    server.run(
        "cd /etc/ssh && cp -p sshd_config /root/kept && \
         printf 'PasswordAuthentication yes\\nMatch User backup\\n  X11Forwarding no' >sshd_config && \
         echo 'PasswordAuthentication yes' >sshd_config.d/01-provider.conf",
    );
    let before = server.shell("cat /etc/ssh/sshd_config");
    let plan = server.plan(&only);
    assert!(plan.contains("no, `/etc/ssh/sshd_config` does not include it → yes"), "{plan}");
    server.converge(&only);
    assert_eq!(server.shell(SAYS), REFUSES);
    server.has_nothing_to_do(&only);

    // As packaged, with another file in front.
    server.run("cp -p /root/kept /etc/ssh/sshd_config");
    let plan = server.plan(&only);
    let line =
        "`/etc/ssh/sshd_config.d/01-provider.conf:1` says `PasswordAuthentication yes` before";
    assert!(plan.contains(line), "{plan}");
    server.converge(&only);
    assert_eq!(server.shell(SAYS).replace("port 22\nport 2222\n", ""), "passwordauthentication no");
    server.has_nothing_to_do(&only);

    // A setting that is right for `sshd -T` alone is not, for some.
    server.run("printf 'Match User backup\\n  PasswordAuthentication yes' >>/etc/ssh/sshd_config");
    let (code, said) = server.apply(&only);
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("` says `PasswordAuthentication yes` below `Match User backup`"),
        "{said}"
    );

    // Not a byte of others is lost, nor left behind.
    server.run(&format!("printf %s '{before}' >/etc/ssh/sshd_config"));
    server.converge(&only);
    let with_line = server.shell("cat /etc/ssh/sshd_config");
    assert_eq!(with_line, format!("Include /etc/ssh/sshd_config.d/10-infra.conf\n{before}"));
}

/// Others set the same keys in files that sort behind, one of them by the link of Debian 12, and one
/// with a name in Latin-1.
fn the_kernel_keeps_its_values(server: &LabServer, os: &str) {
    let only = ["--only", "kernel"];
    server.run(
        "echo net/ipv4/conf/all/forwarding=0 >\"$(printf '/etc/sysctl.d/99-provid\\351.conf')\" && \
         echo net.ipv4.ip_local_port_range=10000 65000 >>/etc/sysctl.conf",
    );
    let plan = server.plan(&only);
    assert!(plan.contains("at_boot: 0, by `/etc/sysctl.d/99-provid\\xe9.conf:1` → 1\n"), "{plan}");
    assert_eq!(plan.contains("by `/etc/sysctl.conf:"), os == "debian-12", "{plan}");
    server.converge(&only);
    server.run("systemctl restart systemd-sysctl");
    let kept = server.shell("sysctl -n net.ipv4.ip_forward net.ipv4.ip_local_port_range");
    assert_eq!(kept, "1\n20000\t60999");
    server.has_nothing_to_do(&only);
}

fn cron_reads_what_was_written(server: &LabServer) {
    let _token = crate::support::tokens::take();
    server.converge(&["--only", "jobs"]);
    // cron takes the start for one of the whole server.
    server.run("rm -f /run/crond.reboot && systemctl restart cron");
    server.wait_for("the job", "test -e /run/beat");
    let read = server
        .shell("grep -e ^BLANKS= -e ^QUOTES= -e ^BOTH= -e ^MAILTO= /run/beat | sort | cat -A");
    let expected = "BLANKS= two spaces $\nBOTH=it's \"so\" # all$\nMAILTO=$\nQUOTES='it is'$";
    assert_eq!(read, expected);
    server.has_nothing_to_do(&["--only", "jobs"]);
}

/// Somebody named the archive by hand, with another key.
fn apt_works_on(server: &LabServer) {
    const LIST: &str = "/etc/apt/sources.list.d/z.list";
    const CONFLICT: &str = "E: Conflicting values set for option Signed-By regarding source";
    let only = ["--only", "vendor"];
    let conflict = format!(
        "echo 'deb [signed-by=/etc/apt/v.gpg] http://mirror.example.org/debian/ bookworm-backports main' >{LIST}"
    );
    server.run(&conflict);
    let (code, said) = server.apply(&only);
    assert_eq!(code, 3, "{said}");
    let line = format!("`{LIST}:1` names the same archive with another `Signed-By`");
    assert!(said.contains(&line), "{said}");
    server.run("apt-get check");

    server.run(&format!("rm {LIST}"));
    server.converge(&only);
    server.has_nothing_to_do(&only);
    server.run(&conflict);
    let (code, said) = server.lab.say(&["diff", "old", "--lab", "--only", "vendor"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(CONFLICT) && said.contains(&format!("`{LIST}:1`")), "{said}");

    // No line of a file names the archive: apt's own words, and the file is taken back.
    server.run(&format!(
        "rm /etc/apt/sources.list.d/vendor.sources && echo 'deb http://x.example.org/' >{LIST}"
    ));
    let (code, said) = server.apply(&only);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("E: Malformed entry 1 in list file"), "{said}");
    server.run(&format!("test ! -e /etc/apt/sources.list.d/vendor.sources && rm {LIST}"));
    server.run("apt-get check");
}
