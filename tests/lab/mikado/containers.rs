//! Containers: which of them a change touches, and a Docker or a Compose that refuses its work.

use super::{containers, mikado};

crate::tests! {
    ;
    on one release:
        only_containers_that_read_a_changed_file_are_recreated = 60,
        a_container_that_does_not_do_its_work_is_restarted = 40,
        a_stopped_docker_is_named_and_started_again = 40,
        a_file_that_compose_refuses_changes_no_container = 30,
}

const COMPOSE: &str = "docker_compose:/mailu/docker-compose.yml";

/// A changed line of `mailu.env` recreates all services that have this file, and leaves `redis`.
fn only_containers_that_read_a_changed_file_are_recreated(os: &str) {
    let mikado = mikado(os);
    let before = containers(&mikado);
    let set = ["--set", "mailu.message_size_mb=51"];
    let plan = mikado.plan(&set);
    assert!(plan.contains("admin: running with another configuration → running"), "{plan}");
    assert!(!plan.contains("redis"), "{plan}");
    mikado.converge(&set);
    let after = containers(&mikado);
    let is_kept = |(name, id): &(&String, &String)| before.get(*name) == Some(*id);
    let kept: Vec<&String> = after.iter().filter(is_kept).map(|(name, _)| name).collect();
    assert_eq!(kept, ["redis"]);
    mikado.converge(&[]);
}

/// A container that runs and does not do its work is restarted, and no other: Docker's proxy still
/// accepts connections for it.
fn a_container_that_does_not_do_its_work_is_restarted(os: &str) {
    let mikado = mikado(os);
    let before = containers(&mikado);
    let id = before["front"].split(' ').next().unwrap();
    mikado.run(&format!("kill $(docker top {id} -o pid,cmd | awk '/httpd/ {{ print $1 }}')"));
    mikado.wait_for("an unhealthy container", "docker ps | grep -q '(unhealthy)'");
    let plan = mikado.plan(&[]);
    assert!(plan.contains("front: unhealthy → running"), "{plan}");
    mikado.converge(&[]);
    let after = containers(&mikado);
    let is_other = |(name, id): &(&String, &String)| before.get(*name) != Some(*id);
    assert!(after.iter().filter(is_other).all(|(name, _)| name == "front"), "{after:?}");
    mikado.has_nothing_to_do(&[]);
}

/// `diff` says that Docker is stopped, with a hint; an apply starts it and finds all well.
fn a_stopped_docker_is_named_and_started_again(os: &str) {
    let mikado = mikado(os);
    mikado.run("systemctl stop docker.socket docker.service");
    let (code, said) = mikado.lab.say(&["diff", "mikado", "--lab"]);
    assert_eq!(code, 3, "{said}");
    let complaint = format!("! {COMPOSE}  failed: the Docker daemon does not answer");
    assert!(said.contains(&complaint), "{said}");
    assert!(said.contains("hint: start it with `systemctl start docker`"), "{said}");
    mikado.converge(&[]);
    assert_eq!(containers(&mikado).len(), 9);
}

/// Nothing becomes live of a Compose file that Compose itself refuses.
fn a_file_that_compose_refuses_changes_no_container(os: &str) {
    let mikado = mikado(os);
    let before = containers(&mikado);
    let file = mikado.shell("sha256sum /mailu/docker-compose.yml");
    let set = ["mailu.bind=[nonsense]", "mailu.check_ports=false", "mailu.check_page=false"];
    let set = set.map(|value| ["--set", value]).concat();
    let (code, said) = mikado.apply(&set);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("Compose refuses `/mailu/docker-compose.yml`"), "{said}");
    assert_eq!(containers(&mikado), before);
    assert_eq!(mikado.shell("sha256sum /mailu/docker-compose.yml"), file);
    // The files before it had the same nonsense in them.
    mikado.converge(&[]);
    assert_eq!(containers(&mikado), before);
    mikado.has_nothing_to_do(&[]);
}
