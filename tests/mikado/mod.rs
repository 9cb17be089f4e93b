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

mod accounts;

const COMPOSE: &str = "docker_compose:/mailu/docker-compose.yml";

#[test]
fn mail_from_bare_on_debian_12() {
    serves("debian-12");
}

#[test]
fn mail_from_bare_on_debian_13() {
    serves("debian-13");
}

/// Before anything is made of them, and without showing them.
#[test]
fn what_mailu_cannot_hold_is_refused() {
    for (set, message) in [
        (
            "admin_password=\"hunter'2\"",
            "`admin_password` is empty or holds a quote, a backslash, ",
        ),
        (
            "admin_password=\"hunter $2\"",
            "`admin_password` is empty or holds a quote, a backslash, ",
        ),
        ("secret_key=\"hunter-hunter-16\"", "`secret_key` has to be 16 letters and digits"),
        ("env={ RELAYHOST: 'hunter #2' }", "a value of `env` holds a quote, a backslash, "),
        ("env={ RELAYHOST: \"hunter\\n2\" }", "a value of `env` holds a quote, a backslash, "),
        ("bind=['[::]']", "`bind` holds an address of IPv6, or none at all: "),
        ("needs_swap=true", "Mailu wants 1 GB of swap"),
    ] {
        let mut infra = std::process::Command::new(assert_cmd::cargo::cargo_bin("infra"));
        let set = format!("mailu.{set}");
        infra.current_dir(env!("CARGO_MANIFEST_DIR"));
        let done = infra.args(["render", "mikado", "--lab", "--set", &set]).output().unwrap();
        let said = text(&done.stdout) + &text(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{set}: {said}");
        assert!(said.contains(message), "{set}: {said}");
        assert!(!said.contains("hunter"), "{set}: {said}");
    }
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
    // The programs have taken their folders for themselves, and keep them.
    assert_eq!(
        mikado.shell("stat -c %u:%a /mailu/data /mailu/mail").replace('\n', " "),
        "1500:750 1500:750"
    );
    prints_the_records(&mikado);

    recreates_those_who_read_it(&mikado);
    accounts::import(&mikado);
    restarts_what_is_ill(&mikado);
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

/// What the DNS needs, signatures included.
fn prints_the_records(mikado: &LabServer) {
    let records = mikado.shell("mailu dns");
    let address = mikado.address();
    for record in [
        &format!("mail.flus.fr. 600 IN A {address}"),
        "in-addr.arpa. 600 IN PTR mail.flus.fr.",
        "flus.fr. 600 IN MX 10 mail.flus.fr.",
        "flus.io. 600 IN TXT \"v=spf1 mx a:mail.flus.fr ~all\"",
        "dkim._domainkey.flus.fr. 600 IN TXT \"v=DKIM1;",
        "dkim._domainkey.flus.io. 600 IN TXT \"v=DKIM1;",
        "_dmarc.flus.fr. 600 IN TXT \"v=DMARC1;",
    ] {
        assert!(records.contains(record), "{record}:\n{records}");
    }
}

/// A container that runs and does not do its work: Docker's proxy still accepts connections.
fn restarts_what_is_ill(mikado: &LabServer) {
    let before = containers(mikado);
    let id = before["front"].split(' ').next().unwrap();
    mikado.shell(&format!(
        "kill $(docker top {id} -o pid,cmd | awk '/httpd/ {{ print $1 }}'); \
         for second in $(seq 30); do docker ps | grep '(unhealthy)' && break; sleep 1; done"
    ));
    let plan = text(&mikado.infra(&["diff", "mikado", "--lab"]).stdout);
    assert!(plan.contains("front: unhealthy → running"), "{plan}");
    let (code, said) = mikado.apply(&[]);
    assert_eq!(code, 0, "{said}");
    let after = containers(mikado);
    let is_other = |(name, id): &(&String, &String)| before.get(*name) != Some(*id);
    assert!(after.iter().filter(is_other).all(|(name, _)| name == "front"), "{after:?}");
    let plan = mikado.infra(&["diff", "mikado", "--lab"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));
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
    let set = ["mailu.bind=[nonsense]", "mailu.check_ports=false", "mailu.check_page=false"];
    let set = set.map(|value| ["--set", value]).concat();
    let (code, said) = mikado.apply(&set);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("Compose refuses `/mailu/docker-compose.yml`"), "{said}");
    assert_eq!(containers(mikado), before);
    assert_eq!(mikado.shell("sha256sum /mailu/docker-compose.yml"), file);
    // The files before it had the same nonsense in them.
    let (code, said) = mikado.apply(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(containers(mikado), before);
    let plan = mikado.infra(&["diff", "mikado", "--lab"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan.stdout));
}

/// From Debian's packages to Docker's and back. The archive is a stand-in: Debian's own packages
/// under the names of Docker's.
fn takes_dockers_own_packages(mikado: &LabServer) {
    let key = mikado.shell(include_str!("archive.sh"));
    assert!(key.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"), "{key}");
    mikado.shell("docker volume create precious");
    let key = format!("docker.archive_key={}", serde_json::to_string(&key).unwrap());
    let more = ["docker.packages_of=docker", "docker.archive=file:/srv/archive", &key];
    let more = more.map(|value| ["--set", value]).concat();
    // Nothing goes before it is sure that the others can be had.
    let before = containers(mikado);
    let preference = "/etc/apt/preferences.d/none";
    let none = "Package: docker-ce\\nPin: release *\\nPin-Priority: -1\\n";
    mikado.shell(&format!("printf '{none}' > {preference}"));
    let (code, said) = mikado.apply(&more);
    assert_eq!(code, 3, "{said}");
    assert_eq!(containers(mikado), before);
    assert!(said.contains("docker-ce"), "{said}");
    mikado.shell(&format!("rm {preference}"));
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
    mikado.shell("echo mail > /mailu/mail/one; rm -f /mailu/mail/ended");
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
    let volume = "`docker_engine:host` goes and leaves the volume `precious`";
    assert!(said.contains(volume), "{said}");
    // Nobody can be asked, and it is named all the same.
    mikado.shell("systemctl stop docker.socket docker.service");
    let (_, said) = run(&["diff", "mikado", "--lab"]);
    assert!(said.contains(volume), "{said}");
    mikado.shell("systemctl start docker.socket docker.service");
    let (code, said) = run(&["apply", "mikado", "--lab", "--yes"]);
    assert_eq!(code, 0, "{said}");
    // Nothing was killed in the middle of its work.
    assert_eq!(mikado.shell("cat /mailu/mail/ended"), "in peace");
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
