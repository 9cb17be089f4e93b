//! Mikado, for real: Docker and the services of Mailu on every release, from a bare server.
//!
//! The images are stand-ins under Mailu's names, made on the server itself (see
//! `roles/lab-standin-mailu`), because a lab reaches no registry: what runs inside them is not
//! Mailu. What is shown is everything around it.
//!
//! Needs a machine that can run the lab (see `tests/lab.rs`); elsewhere it fails and says so.

use std::collections::BTreeMap;
use std::path::Path;

use crate::preview;
use crate::rufus::lines;
use crate::support::LabServer;
use crate::support::lab_server::text;

const COMPOSE: &str = "docker_compose:/mailu/docker-compose.yml";
const ACCOUNTS: &str = "command:accounts and aliases of Mailu";

#[test]
fn mail_from_bare_on_debian_12() {
    serves("debian-12");
}

#[test]
fn mail_from_bare_on_debian_13() {
    serves("debian-13");
}

fn serves(os: &str) {
    let mikado = LabServer::up("mikado", os, Path::new(env!("CARGO_MANIFEST_DIR")));
    preview::comes_true(&mikado, &format!("mikado on {os}"), &[]);
    let (code, said) = mikado.apply(&[]);
    assert_eq!((code, lines(&said, "  changed").len()), (0, 0), "{said}");
    let plan = mikado.infra(&["diff", "mikado", "--lab"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));
    assert_eq!(containers(&mikado).len(), 9);
    assert_eq!(mikado.shell("cd /mailu && mailu compose config --quiet && echo fine"), "fine");
    assert_eq!(mikado.shell("cat /mailu/data/imports | wc -l"), "1");
    assert!(mikado.shell("mailu dns").contains("MX 10 mail.flus.fr."), "the records are printed");

    recreates_those_who_read_it(&mikado);
    imports_an_account_once(&mikado);
    says_that_docker_is_stopped(&mikado);
    refuses_what_compose_refuses(&mikado);
    if os == "debian-13" {
        takes_dockers_own_packages(&mikado);
    }
    goes(&mikado);
}

/// The containers, by service.
fn containers(mikado: &LabServer) -> BTreeMap<String, String> {
    let format = "{{.Label \"com.docker.compose.service\"}} {{.ID}} {{.State}}";
    let listing = mikado.shell(&format!("docker ps --all --format '{format}'"));
    let pair = |line: &str| {
        let (service, rest) = line.split_once(' ').unwrap();
        assert!(rest.ends_with(" running"), "{line}");
        (service.to_owned(), rest.to_owned())
    };
    listing.lines().map(pair).collect()
}

/// A changed line of mailu.env: all services that have this file, and `redis` not.
fn recreates_those_who_read_it(mikado: &LabServer) {
    let before = containers(mikado);
    let set = ["--set", "mailu.message_size_mb=51"];
    let plan = text(&mikado.infra(&[&["diff", "mikado", "--lab"], &set[..]].concat()).stdout);
    assert!(plan.contains("admin: running with another configuration → running"), "{plan}");
    assert!(!plan.contains("redis"), "{plan}");
    let (code, said) = mikado.apply(&set);
    assert_eq!(code, 0, "{said}");
    let after = containers(mikado);
    let is_kept = |(name, id): &(&String, &String)| before.get(*name) == Some(*id);
    let kept: Vec<&String> = after.iter().filter(is_kept).map(|(name, _)| name).collect();
    assert_eq!(kept, ["redis"]);
    let (code, said) = mikado.apply(&[]);
    assert_eq!(code, 0, "{said}");
}

fn imports_an_account_once(mikado: &LabServer) {
    let set = ["--set", "mailu.accounts.\"new@flus.fr\"={password_hash: \"{BLF-CRYPT}$2y$x\"}"];
    let plan = text(&mikado.infra(&[&["diff", "mikado", "--lab"], &set[..]].concat()).stdout);
    // What Mailu's own dry run says.
    assert!(plan.contains(&format!("~ {ACCOUNTS}  change")), "{plan}");
    assert!(plan.contains("done: Changes: new@flus.fr"), "{plan}");
    let before = containers(mikado);
    let (code, said) = mikado.apply(&set);
    assert_eq!(code, 0, "{said}");
    assert_eq!(lines(&said, "  changed"), [format!("mikado  {ACCOUNTS}  changed")], "{said}");
    let (code, said) = mikado.apply(&set);
    assert_eq!((code, lines(&said, "  changed").len()), (0, 0), "{said}");
    assert_eq!(mikado.shell("tail -n 1 /mailu/data/imports").trim(), "new@flus.fr");
    assert_eq!(mikado.shell("cat /mailu/data/imports | wc -l"), "2");
    assert_eq!(containers(mikado), before);
}

fn says_that_docker_is_stopped(mikado: &LabServer) {
    mikado.shell("systemctl stop docker.socket docker.service");
    let plan = mikado.infra(&["diff", "mikado", "--lab"]);
    let said = text(&plan.stdout) + &text(&plan.stderr);
    assert_eq!(plan.status.code(), Some(3), "{said}");
    let complaint = format!("! {COMPOSE}  failed: the Docker daemon does not answer");
    assert!(said.contains(&complaint), "{said}");
    assert!(said.contains("hint: start it with `systemctl start docker`"), "{said}");
    // An apply starts it, and finds that all is well.
    let (code, said) = mikado.apply(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(containers(mikado).len(), 9);
}

/// Nothing is live of a Compose file that Compose itself refuses.
fn refuses_what_compose_refuses(mikado: &LabServer) {
    let before = containers(mikado);
    let file = mikado.shell("sha256sum /mailu/docker-compose.yml");
    let (code, said) = mikado.apply(&["--set", "mailu.bind=[nonsense]"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("Compose refuses `/mailu/docker-compose.yml`"), "{said}");
    assert_eq!(containers(mikado), before);
    assert_eq!(mikado.shell("sha256sum /mailu/docker-compose.yml"), file);
    let plan = mikado.infra(&["diff", "mikado", "--lab"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));
}

/// From Debian's packages to Docker's and back. The archive is a stand-in: Debian's own packages
/// under the names of Docker's.
fn takes_dockers_own_packages(mikado: &LabServer) {
    let key = mikado.shell(include_str!("mikado/archive.sh"));
    assert!(key.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"), "{key}");
    mikado.shell("docker volume create precious");
    let key = format!("docker.archive_key={}", serde_json::to_string(&key).unwrap());
    let more = ["docker.packages_of=docker", "docker.archive=file:/srv/archive", &key];
    let more = more.map(|value| ["--set", value]).concat();
    let installed = "dpkg-query -W -f '${db:Status-Abbrev}${Package}\\n' | grep ^ii | cut -c4- | \
                     grep -E '^(docker|containerd)'; docker volume ls --quiet | grep precious";
    let plan = text(&mikado.infra(&[&["diff", "mikado", "--lab"], &more[..]].concat()).stdout);
    assert!(
        plan.contains("~ service:docker  change\n"),
        "what goes with a package is no drift: {plan}"
    );
    preview::comes_true(mikado, "mikado to Docker's packages", &more);
    let names = ["containerd", "containerd.io", "docker-ce", "docker-ce-cli"];
    let names = [&names[..], &["docker-compose-plugin", "precious"]].concat();
    assert_eq!(mikado.shell(installed).lines().collect::<Vec<_>>(), names);
    assert_eq!(containers(mikado).len(), 9);
    preview::comes_true(mikado, "mikado back to Debian's", &[]);
    let names = ["containerd", "docker-cli", "docker-compose", "docker.io", "precious"];
    assert_eq!(mikado.shell(installed).lines().collect::<Vec<_>>(), names);
    assert_eq!(containers(mikado).len(), 9);
}

/// Without the roles the engine and its networks go; volumes and mail stay and are named.
fn goes(mikado: &LabServer) {
    mikado.shell("docker volume create precious");
    mikado.shell("echo mail > /mailu/mail/one");
    let project =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mikado-{}", mikado.address()));
    // It may be there from an earlier run.
    let _ = std::fs::remove_dir_all(&project);
    std::fs::create_dir_all(project.join("inventory")).unwrap();
    let base = "ssh: { host: mikado.invalid }\nexpect: { without: [docker.io] }\nroles: {}\n";
    std::fs::write(project.join("inventory/mikado.yaml"), base).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = mikado.command(arguments);
        let done = command.current_dir(&project).output().unwrap();
        (done.status.code().unwrap_or(-1), text(&done.stdout) + &text(&done.stderr))
    };
    let (code, said) = run(&["diff", "mikado", "--lab"]);
    assert_eq!(code, 2, "{said}");
    let warning = "`docker.io` is installed, and its inventory expects that it is not";
    assert!(said.contains(warning), "{said}");
    assert!(said.contains("`docker_engine:host` goes and leaves the volume `precious`"), "{said}");
    let (code, said) = run(&["apply", "mikado", "--lab", "--yes"]);
    assert_eq!(code, 0, "{said}");
    let left = "ls /sys/class/net | grep -E '^(docker|br-)'; command -v dockerd docker-compose; \
                iptables-save 2>/dev/null | grep -i docker";
    assert_eq!(mikado.shell(left), "");
    assert_eq!(
        mikado.shell("cat /mailu/mail/one; ls /var/lib/docker/volumes | grep precious"),
        "mail\nprecious"
    );
    let (code, said) = run(&["diff", "mikado", "--lab"]);
    assert_eq!(code, 0, "{said}");
}
