//! The login of a run: a change that would close it is put back, whether or not it is guarded.

use std::fs;

use super::Ground;
use crate::support::text;

crate::tests! {
    ; on one release: the_login_of_a_run_stays_open = 40
}

/// The account of the login, without the resources that a test changes.
const ACCOUNT: &str = "  - package: sudo\n";

const RULE: &str = "  - file: { path: /etc/sudoers.d/deploy, mode: '0440', \
                    content: \"deploy ALL=(ALL) NOPASSWD: ALL\\n\" }\n";

const USER: &str = "  - user: { name: deploy, shell: /bin/bash }\n";

/// On a busy machine the time is over before the connection is refused.
const REFUSED: &str = "no new connection gets in";

const PROOF: &str = "a new connection gets in: the guarded changes stay";

/// A server that infra has set up for the login of a user.
struct Deployed {
    ground: Ground,
    key: String,
}

impl Deployed {
    fn new(os: &str) -> Self {
        let ground = Ground::new(os);
        let key = fs::read_to_string(ground.server.lab.folder().join("key.pub")).unwrap();
        let key = format!("  - authorized_key: {{ user: deploy, key: {} }}\n", key.trim());
        let deployed = Self { ground, key };
        deployed.ground.declare(&deployed.all());
        deployed.ground.server.install(&[]);
        deployed.ground.server.has_nothing_to_do(&[]);
        deployed.logs_in("");
        deployed
    }

    /// Logs in as the user; `more` is what the inventory says beside that.
    fn logs_in(&self, more: &str) {
        let name = &self.ground.server.name;
        let inventory =
            format!("ssh: {{ host: {name}, user: deploy{more} }}\nroles: {{ ground: {{}} }}\n");
        fs::write(self.ground.project.path().join("inventory/ground.yaml"), inventory).unwrap();
    }

    fn all(&self) -> String {
        [ACCOUNT, USER, &self.key, RULE].concat()
    }

    /// Applies these resources as the user; returns the exit code and what was said.
    fn apply(&self, resources: &str) -> (i32, String) {
        self.apply_guarded(resources, "20")
    }

    fn apply_guarded(&self, resources: &str, seconds: &str) -> (i32, String) {
        self.ground.declare(resources);
        let server = &self.ground.server;
        let mut command =
            server.command(&["apply", "ground", "--yes", "-v", "--guard-timeout", seconds]);
        command.env("INFRA_SSH_CONFIG", server.lab.folder().join("ssh_config"));
        // Passwords are read for those who could read secrets.
        command.env("INFRA_IDENTITY_FILE", server.lab.folder().join("key"));
        let output = command.output().unwrap();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        (output.status.code().unwrap_or(-1), said)
    }

    /// A change that would close the login is put back.
    fn puts_back(&self, resources: &str, because: &str) {
        let (code, said) = self.apply(resources);
        assert_eq!(code, 6, "{resources}: {said}");
        assert!(said.contains("the guarded changes are put back"), "{resources}: {said}");
        assert!(said.contains(because), "{resources}: {said}");
        let (code, said) = self.apply(&self.all());
        assert_eq!(code, 0, "after {resources}: {said}");
    }
}

fn the_login_of_a_run_stays_open(os: &str) {
    let deployed = Deployed::new(os);
    let (all, key) = (deployed.all(), deployed.key.as_str());
    let (code, said) = deployed.apply(&all);
    assert_eq!((code, said.contains(PROOF)), (0, false), "nothing to do: {said}");

    let user = |fields: &str| all.replace("shell: /bin/bash", fields);
    deployed.puts_back(&all.replace(RULE, ""), "sudo");
    deployed.puts_back(&all.replace(key, ""), "Permission denied");
    deployed.puts_back(&user("expires: 2020-01-01"), "");
    deployed.puts_back(&user("shell: /usr/sbin/nologin"), "");
    let ssh = "  - service: ssh\n  - sshd_config: { name: 10-own, settings: { AllowUsers: root } }\n    \
               reload: ssh\n";
    deployed.puts_back(&format!("{all}{ssh}"), "Permission denied");
    let open =
        "  - directory: { path: /home/deploy, owner: deploy, group: deploy, mode: '0777' }\n";
    deployed.puts_back(&format!("{all}{open}"), "Permission denied");
    what_nobody_names_is_guarded(&deployed);
    what_cannot_come_back_is_refused(&deployed);
    sshd_is_told_as_the_plan_says(&deployed);

    // A change that closes nothing is proved, and stays.
    let (code, said) = deployed.apply(&user("shell: /bin/sh"));
    assert_eq!((code, said.matches(PROOF).count()), (0, 1), "{said}");
    let (code, said) = deployed.apply(&user("shell: /bin/sh, comment: The one who deploys"));
    assert_eq!((code, said.contains(PROOF)), (0, false), "{said}");

    // The connection of that run has the old group.
    let gid = "  - group: { name: deploy, gid: 4567 }\n";
    for _ in 0..3 {
        let (code, said) = deployed.apply(&format!("{all}{gid}"));
        assert_eq!(code, 0, "{said}");
    }

    a_new_password_closes_nothing(&deployed);

    let off = "  - service: { name: sshd, enabled: false }\n";
    let (code, said) = deployed.apply(&format!("{all}{off}"));
    assert_eq!(code, 3, "{said}");
    let refusal = "infra logs in by `service:sshd`, which is not to start at boot";
    assert!(said.contains(refusal), "{said}");

    another_port_is_put_back(&deployed);
}

/// Groups that sshd asks for, and files that each login reads.
const GROUPS: &str = "groupadd nossh; groupadd ops; gpasswd -a deploy ops >/dev/null; \
    printf 'DenyGroups nossh\nAllowGroups ops root\n' > /etc/ssh/sshd_config.d/50-groups.conf; systemctl reload ssh";

fn what_nobody_names_is_guarded(deployed: &Deployed) {
    let all = deployed.all();
    deployed.ground.server.run(GROUPS);
    let untold = "  - sshd_config: { name: 10-own, settings: { AllowUsers: root } }\n";
    let absent = "  - group: { name: ops, state: absent }\n";
    let path = "  - file: { path: /etc/environment, content: 'PATH=/opt/app/bin:$PATH' }\n";
    for (more, because) in
        [(untold, "Permission denied"), (absent, "Permission denied"), (path, "")]
    {
        deployed.puts_back(&format!("{all}{more}"), because);
    }
    let joins = all.replace("shell: /bin/bash", "groups: [nossh]");
    deployed.puts_back(&joins, "Permission denied");
    deployed.ground.server.run("id -nG deploy | grep -w ops && ! id -nG deploy | grep -w nossh");
}

fn what_cannot_come_back_is_refused(deployed: &Deployed) {
    let all = deployed.all();
    let mount = "  - mount: { path: /home, device: tmpfs, fstype: tmpfs }\n";
    let folder = "  - directory: { path: /home/deploy/.ssh, state: absent, recursive: true }\n";
    let keys = all.replace(&deployed.key, "");
    for (resources, refusal) in [
        (format!("{all}{mount}"), "`mount:/home` would hide what infra logs in by"),
        (
            format!("{keys}{folder}"),
            "`directory:/home/deploy/.ssh` would take away what infra logs in by",
        ),
    ] {
        let (code, said) = deployed.apply(&resources);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(refusal), "{said}");
    }
    let (code, said) = deployed.apply(&all);
    assert_eq!(code, 0, "{said}");
}

/// Also where nothing is guarded.
fn sshd_is_told_as_the_plan_says(deployed: &Deployed) {
    for (tries, seconds) in [(4, "0"), (5, "20")] {
        let untold =
            format!("  - sshd_config: {{ name: 10-own, settings: {{ MaxAuthTries: {tries} }} }}\n");
        let (code, said) = deployed.apply_guarded(&(deployed.all() + &untold), seconds);
        assert_eq!(code, 0, "{said}");
        assert_eq!(said.matches("~ service:ssh  reload\n").count(), 1, "{said}");
        assert_eq!(said.matches("service:ssh  reloaded\n").count(), 1, "{said}");
    }
}

/// The client has the old password, and nothing else of the login is closed: as infra knows, since the new one is
/// its own.
fn a_new_password_closes_nothing(deployed: &Deployed) {
    let hash = |word: &str| deployed.ground.server.shell(&format!("openssl passwd -6 {word}"));
    let asks = RULE.replace("NOPASSWD: ", "");
    let declared = |word: &str, shell: &str| {
        let user = format!("shell: {shell}, password_hash: '{}'", hash(word));
        deployed.all().replace(RULE, &asks).replace("shell: /bin/bash", &user)
    };
    deployed.logs_in(", sudo: { password: \"{{ 'first' }}\" }");
    let (code, said) = deployed.apply(&declared("first", "/bin/bash"));
    assert_eq!((code, said.matches(PROOF).count()), (0, 1), "{said}");
    let (code, said) = deployed.apply(&declared("second", "/bin/sh"));
    assert_eq!((code, said.matches(PROOF).count()), (0, 1), "{said}");
    let (code, said) = deployed.apply(&declared("second", "/bin/sh"));
    assert_eq!((code, said.contains("wrong sudo password")), (4, true), "{said}");

    deployed.logs_in(", sudo: { password: \"{{ 'second' }}\" }");
    let (code, said) = deployed.apply(&declared("third", "/bin/sh").replace(&asks, ""));
    assert_eq!((code, said.contains("wrong sudo password")), (6, true), "{said}");
    deployed.logs_in(", sudo: { password: \"{{ 'third' }}\" }");
    let (code, said) = deployed.apply(&deployed.all());
    assert_eq!(code, 0, "{said}");
    deployed.logs_in("");
}

/// systemd reads what was put back, and what it had closed is open again: a connection of before proves nothing.
/// The server keeps its socket: a unit that gets its alias back while it runs can be dead for systemd (257).
fn another_port_is_put_back(deployed: &Deployed) {
    let all = deployed.all();
    let server = &deployed.ground.server;
    let listens = "ss -ltnH 'sport = :22' | grep -q . && ! ss -ltnH 'sport = :2222' | grep -q . && \
                   ! systemctl show -P NeedDaemonReload ssh.service ssh.socket | grep -q yes";
    let dropin = |unit: &str, section: &str| {
        format!("  - systemd_unit: {{ name: {unit}, dropin: port, {section} }}\n")
    };
    let service =
        dropin("ssh.service", "service: { ExecStart: ['', '/usr/sbin/sshd -D -p 2222'] }");
    let restart = "    restart: ssh\n  - service: ssh\n";
    deployed.puts_back(&format!("{all}{service}{restart}"), REFUSED);
    server.run(listens);

    server.run("systemctl disable -q --now ssh.service; systemctl enable -q --now ssh.socket");
    let socket = dropin("ssh.socket", "socket: { ListenStream: ['', '2222'] }");
    let restart = "    restart: ssh.socket\n  - service: ssh.socket\n";
    deployed.puts_back(&format!("{all}{socket}{restart}"), REFUSED);
    server.run(listens);
    let both = dropin("ssh.socket", "socket: { ListenStream: ['', '22', '2223'] }");
    let (code, said) = deployed.apply(&format!("{all}{both}"));
    assert_eq!((code, said.contains("is read at the next boot")), (0, true), "{said}");
    let (code, said) = deployed.apply(&all);
    assert_eq!(code, 0, "{said}");
}
