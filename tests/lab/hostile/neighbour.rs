//! A user of a server who flips symlinks, pipes and names below everything that infra looks at and
//! changes there: nothing of root's leaks or changes, and no run hangs.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::LabServer;

crate::tests! {
    ;
    on one release:
        a_hostile_neighbour_wins_nothing = 60,
        an_agent_ends_with_its_client = 10,
}

/// How often each name has to be flipped.
pub(super) const FLIPS: u64 = 2000;

/// A run that takes longer was held up. Programs have time limits of their own that are longer.
const LONGEST: Duration = Duration::from_mins(2);

pub(super) const FLIP: &str = include_str!("flip.pl");

/// Something of each kind that works on files, in the home of somebody else.
const ROLE: &str = "\
description: files of each kind in the home of a user
resources:
  - package: git
  - user: { name: eve, home: /home/eve, shell: /bin/sh }
  - directory: { path: /home/eve, owner: eve, group: eve }
  - directory: { path: /home/eve/private, mode: \"0700\" }
  - file: { path: /home/eve/private.txt, content: \"CANARY of root\\n\", mode: \"0600\" }
  - directory: { path: /home/eve/tree, owner: eve, group: eve }
  - file: { path: /home/eve/tree/file, content: \"in a tree\\n\", owner: eve, group: eve }
  - file: { path: /home/eve/file, content: \"of eve\\n\", owner: eve, group: eve, mode: \"0640\" }
  - file: { path: /home/eve/root-file, content: \"CANARY of root\\n\", mode: \"0600\" }
  - directory: { path: /home/eve/folder, owner: eve, group: eve, mode: \"0750\" }
  - directory: { path: /home/eve/root-folder, mode: \"0700\" }
  - line: { path: /home/eve/line, line: a line, create: true }
  - symlink: { path: /home/eve/link, target: file, force: true }
  - authorized_key: { user: eve, key: \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG3PeHSXAmLOO9yx1q0qaXLPDLqpZP4yhkOHWMU4NWhL eve\" }
  - command: { name: stamped, run: [\"true\"], stamp: /home/eve/stamp }
  - git: { path: /home/eve/clone, repository: /srv/repository, ref: main, user: eve }
  - archive: { path: /home/eve/unpacked, source: /srv/archive.tar, sha256: \"SHA\", owner: eve }
";

/// Prints what the neighbour has won: content of root's that `eve` could read at any moment, root's
/// own things with another owner, mode or content, and things of root's in `eve`'s home that others
/// may read. The neighbour is stopped for that time: a search would take names that move for
/// others.
const WON: &str = "\
systemctl freeze neighbour
trap 'systemctl thaw neighbour' EXIT
cd /home/eve
grep -s ^won /var/tmp/counts
setpriv --reuid eve --regid eve --init-groups grep -rlsa --devices=skip CANARY /home/eve
find . -user root -type d ! -perm 0700
find . -user root -type f -perm /077 -exec grep -la CANARY {} +
find . ! -user root -type f -exec grep -la CANARY {} +
ls -A /root/victim
stat -c '%n %U %G %a' /root/canary /root/victim | grep -vx -e '/root/canary root root 600' \
    -e '/root/victim root root 755'
grep -vx 'CANARY of root' /root/canary
true";

/// A project with all of it, and the server with what it takes from there.
fn ground(os: &str) -> (LabServer, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for part in ["inventory", "roles/ground"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
    }
    let inventory = "ssh: { host: ground.example.org }\nroles: { ground: {} }\n";
    fs::write(folder.path().join("inventory/ground.yaml"), inventory).unwrap();
    let role = folder.path().join("roles/ground/role.yaml");
    fs::write(&role, ROLE.replace("SHA", &"0".repeat(64))).unwrap();
    let server = LabServer::bare("ground", os, folder.path());
    server.install(&["--only", "package:git"]);
    let sha = server.run(
        "mkdir -m 755 /root/victim && (umask 077; echo CANARY of root >/root/canary) && \
         mkdir /srv/repository && cd /srv/repository && git init -q -b main && \
         git config user.name eve && git config user.email eve@example.org && \
         echo code >code && git add code && git commit -q -m code && \
         git config --system safe.directory '*' && \
         tar -C /srv/repository -cf /srv/archive.tar code && \
         sha256sum /srv/archive.tar | cut -d' ' -f1",
    );
    fs::write(&role, ROLE.replace("SHA", &sha)).unwrap();
    (server, folder)
}

/// How often each name was flipped so far.
fn flips(server: &LabServer) -> BTreeMap<String, u64> {
    flips_in(&server.shell("cat /var/tmp/counts 2>/dev/null"))
}

/// How often each name was flipped, as the neighbour tells.
pub(super) fn flips_in(counts: &str) -> BTreeMap<String, u64> {
    let counts = counts.lines().filter(|line| !line.starts_with("won"));
    let pair = |line: &str| {
        let (name, count) = line.split_once(' ').unwrap();
        (name.to_owned(), count.parse().unwrap())
    };
    counts.map(pair).collect()
}

fn a_hostile_neighbour_wins_nothing(os: &str) {
    let (server, _project) = ground(os);
    server.converge(&[]);
    server.has_nothing_to_do(&[]);
    fs::write(server.project().join("flip.pl"), FLIP).unwrap();
    let script = FLIP.replace('\'', "'\\''");
    server.run(&format!(
        "printf %s '{script}' >/srv/flip.pl && \
         systemd-run --quiet --unit=neighbour --uid=eve perl /srv/flip.pl /home/eve /var/tmp/counts"
    ));
    let names = 12;
    let mut runs = 0;
    loop {
        for arguments in
            [["diff", "ground", "--lab"].as_slice(), &["apply", "ground", "--lab", "--yes"]]
        {
            let began = Instant::now();
            let (code, said) = server.lab.say(arguments);
            assert!(began.elapsed() < LONGEST, "{:?}: {said}", began.elapsed());
            assert!(matches!(code, 0 | 2 | 3), "{code}: {said}");
            assert_eq!(server.shell(WON), "", "{said}");
        }
        runs += 1;
        let flips = flips(&server);
        if runs >= 20 && flips.len() == names && flips.values().all(|count| *count >= FLIPS) {
            break;
        }
        assert!(runs < 100, "{flips:?}");
    }
    assert_eq!(server.shell("systemctl is-active neighbour"), "active");
    server.run(
        "systemctl stop neighbour; cd /home/eve && rm -rf .bait .held .away.* && \
                find . -mindepth 1 -maxdepth 1 ! -user root ! -name . -exec rm -rf {} +; \
                rm -rf file root-file folder root-folder line link stamp clone unpacked private private.txt",
    );
    server.converge(&[]);
    server.has_nothing_to_do(&[]);
}

/// A check whose program waits for longer than anybody, and a client that is killed.
fn an_agent_ends_with_its_client(os: &str) {
    let folder = tempfile::tempdir().unwrap();
    for part in ["inventory", "roles/slow"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
    }
    let inventory = "ssh: { host: slow.example.org }\nroles: { slow: {} }\n";
    fs::write(folder.path().join("inventory/slow.yaml"), inventory).unwrap();
    let role =
        "resources:\n  - command: { name: slow, run: [\"true\"], unless: [sleep, \"4321\"] }\n";
    fs::write(folder.path().join("roles/slow/role.yaml"), role).unwrap();
    let server = LabServer::bare("slow", os, folder.path());
    let mut diff = server.command(&["diff", "slow", "--lab"]);
    let mut client = diff.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    server.wait_for("the program of the check", "pgrep -fx 'sleep 4321'");
    client.kill().unwrap();
    client.wait().unwrap();
    server.wait_for("the end of the program", "! pgrep -fx 'sleep 4321'");
    server.wait_for("the end of the agent", "! pgrep -f ^/var/lib/infra/agent/");
}
