//! Docker's engine: another source of its packages, and its removal.

use std::fs;

use crate::preview;
use crate::support::LabServer;

use super::{AT_WORK, containers, mikado};

crate::tests! {
    docker_changes_to_its_own_packages_and_back = 240;
    on one release: without_their_roles_the_engine_is_removed_and_mail_stays = 60,
}

/// The packages of Docker that are installed, and the volume that a test has made.
fn installed(mikado: &LabServer) -> Vec<String> {
    let installed = "dpkg-query -W -f '${db:Status-Abbrev}${Package}\\n' | grep ^ii | cut -c4- | \
                     grep -E '^(docker|containerd)'; docker volume ls --quiet | grep precious";
    mikado.shell(installed).lines().map(str::to_owned).collect()
}

/// Mikado changes from Debian's packages to Docker's and back, and keeps its volumes. The archive
/// is a stand-in: Debian's own packages under the names of Docker's.
fn docker_changes_to_its_own_packages_and_back() {
    let mikado = mikado("debian-13");
    let key = mikado.shell(include_str!("archive.sh"));
    assert!(key.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"), "{key}");
    mikado.run("docker volume create precious");
    let key = format!("docker.archive_key={}", serde_json::to_string(&key).unwrap());
    let more = ["docker.packages_of=docker", "docker.archive=file:/srv/archive", &key];
    let more = more.map(|value| ["--set", value]).concat();
    // Nothing is removed before it is sure that the others can be had.
    let before = containers(&mikado);
    let preference = "/etc/apt/preferences.d/none";
    let none = "Package: docker-ce\\nPin: release *\\nPin-Priority: -1\\n";
    mikado.run(&format!("printf '{none}' > {preference}"));
    let (code, said) = mikado.apply(&more);
    assert_eq!(code, 3, "{said}");
    assert_eq!(containers(&mikado), before);
    assert!(said.contains("docker-ce"), "{said}");
    mikado.run(&format!("rm {preference}"));
    let plan = mikado.plan(&more);
    assert!(
        plan.contains("~ service:docker  change\n"),
        "what is removed with a package is no drift: {plan}"
    );
    preview::comes_true(&mikado, "mikado to Docker's packages", &more);
    let names = ["containerd", "containerd.io", "docker-ce", "docker-ce-cli"];
    let names = [&names[..], &["docker-compose-plugin", "precious"]].concat();
    assert_eq!(installed(&mikado), names);
    assert_eq!(containers(&mikado).len(), 9);
    preview::comes_true(&mikado, "mikado back to Debian's", &[]);
    let names = ["containerd", "docker-cli", "docker-compose", "docker.io", "precious"];
    assert_eq!(installed(&mikado), names);
    assert_eq!(containers(&mikado).len(), 9);
}

/// Without the roles the engine and its networks are removed; volumes and mail stay and are named.
fn without_their_roles_the_engine_is_removed_and_mail_stays(os: &str) {
    let mut mikado = mikado(os);
    mikado.run("docker volume create precious; echo mail > /mailu/mail/one");
    let project = tempfile::tempdir().unwrap();
    let inventory = project.path().join("inventory");
    fs::create_dir(&inventory).unwrap();
    fs::create_dir_all(project.path().join("roles/keep")).unwrap();
    let role = "description: Tells of rules\nresources: [package: iptables]\n";
    fs::write(project.path().join("roles/keep/role.yaml"), role).unwrap();
    let base =
        "ssh: { host: mikado.invalid }\nexpect: { without: [docker.io] }\nroles: { keep: {} }\n";
    fs::write(inventory.join("mikado.yaml"), base).unwrap();
    mikado.use_project(project.path());
    let (code, said) = mikado.lab.say(&["diff", "mikado", "--lab"]);
    assert_eq!(code, 2, "{said}");
    let warning = "`docker.io` is installed, and its inventory expects that it is not";
    assert!(said.contains(warning), "{said}");
    let volume = "`docker_engine:host` goes and leaves the volume `precious`";
    assert!(said.contains(volume), "{said}");
    // Nobody can be asked, and the volume is named all the same.
    mikado.run("systemctl stop docker.socket docker.service");
    let (_, said) = mikado.lab.say(&["diff", "mikado", "--lab"]);
    assert!(said.contains(volume), "{said}");
    mikado.run("systemctl start docker.socket docker.service");
    mikado.wait_for("the containers of Mailu", AT_WORK);
    // The program of the mailboxes has written this file when Docker was stopped.
    mikado.run("rm -f /mailu/mail/ended");
    let own = "-A INPUT -i br-lan -m comment --comment DOCKER -j ACCEPT";
    mikado.run(&format!("ip link add br-lan type bridge && iptables {own}"));
    mikado.converge(&[]);
    // Nothing was killed in the middle of its work.
    assert_eq!(mikado.shell("cat /mailu/mail/ended"), "in peace");
    let left = "ls /sys/class/net | grep -E '^(docker|br-)'; command -v dockerd docker-compose; \
                iptables-save 2>/dev/null | grep -i docker";
    assert_eq!(mikado.shell(left), format!("br-lan\n{own}"), "a bridge and a rule of others");
    assert_eq!(
        mikado.shell("cat /mailu/mail/one; ls /var/lib/docker/volumes | grep precious"),
        "mail\nprecious"
    );
    mikado.has_nothing_to_do(&[]);
}
