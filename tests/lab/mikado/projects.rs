//! Compose projects of others, and projects that move, beside an engine of infra's.

use std::fs;
use std::path::Path;

use crate::support::LabServer;

use super::mikado;

crate::tests! {
    ; on each release: projects_of_others_are_left = 50,
}

/// A project by hand, and an image that no registry has.
const BY_HAND: &str = "mkdir -p /srv/hand /srv/one/data /tmp/i/bin && cd /tmp/i && cp /bin/busybox bin/ && \
    ln -s busybox bin/sh && ln -s busybox bin/sleep && ln -s busybox bin/true && \
    tar -cf - . | docker import - hand:1 >/dev/null && echo row > /srv/one/data/table && cd /srv/hand && \
    printf 'services:\\n  own: { image: \"hand:1\", command: [sleep, inf], init: true }\\n' > docker-compose.yml && \
    docker-compose up --detach 2>/dev/null && sha256sum /srv/hand/docker-compose.yml > /root/sum";

/// A project of infra's: a service with data beside its file and a volume without a name, two containers of
/// another, and one that ends.
const SERVICES: &str = "services: { web: { image: 'hand:1', command: [sleep, inf], init: true, \
    volumes: [./data:/data, /nameless] }, two: { image: 'hand:1', command: [sleep, inf], init: true, scale: 2 }, \
    once: { image: 'hand:1', command: ['true'], restart: 'no' } }";

/// Declares Docker as it is on the server, and `resources`.
fn declare(project: &Path, mikado: &LabServer, resources: &str) {
    let settings = mikado.shell("cat /etc/docker/daemon.json");
    let settings = serde_json::to_string(&format!("{settings}\n")).unwrap();
    let packages = mikado.shell("dpkg-query -W -f '- package: ${Package}\\n' docker.io docker-compose iptables docker-cli 2>/dev/null");
    let role = format!(
        "description: Docker and projects\nresources:\n{packages}\n- directory: /etc/docker\n\
         - file: {{ path: /etc/docker/daemon.json, content: {settings} }}\n- service: docker\n\
         - docker_engine: docker.io\n{resources}"
    );
    fs::create_dir_all(project.join("roles/hand")).unwrap();
    fs::write(project.join("roles/hand/role.yaml"), role).unwrap();
    let inventory = "ssh: { host: mikado.invalid }\nroles: { hand: {} }\n";
    fs::write(project.join("inventory/mikado.yaml"), inventory).unwrap();
}

fn compose(path: &str, content: &str) -> String {
    format!(
        "- docker_compose: {{ path: {path}/docker-compose.yml, project: PROJECT, content: {content:?} }}\n"
    )
}

/// Projects of before keep their containers and get their file back; a project that moves keeps its data.
fn projects_of_others_are_left(os: &str) {
    let mut mikado = mikado(os);
    let project = tempfile::tempdir().unwrap();
    fs::create_dir(project.path().join("inventory")).unwrap();
    mikado.use_project(project.path());
    hold_projects(project.path(), &mikado);
}

fn hold_projects(project: &Path, mikado: &LabServer) {
    declare(project, mikado, "");
    mikado.converge(&[]);
    mikado.run(BY_HAND);
    let adopted = "services: { own: { image: 'hand:1', command: [sleep, inf], init: true, environment: { A: b } } }";
    let adopted = compose("/srv/hand", adopted).replace("PROJECT", "hand");
    let own = |folder: &str| compose(folder, SERVICES).replace("PROJECT", "app");
    declare(project, mikado, &(adopted + &own("/srv/one")));
    mikado.converge(&[]);
    mikado.wait_for("the end of a service", "docker ps --all | grep -q 'Exited (0)'");
    mikado.has_nothing_to_do(&[]);
    // One of two containers is missing.
    mikado.run(
        "docker rm -f $(docker ps -q --filter label=com.docker.compose.service=two | head -1)",
    );
    let plan = mikado.plan(&[]);
    assert!(plan.contains("two: 1 of 2 containers → running"), "{plan}");
    mikado.converge(&[]);
    // The folder of the other project is new, and its data is not in there.
    mikado.run("mkdir /srv/two");
    declare(project, mikado, &own("/srv/two"));
    let (code, said) = mikado.lab.say(&["diff", "mikado", "--lab"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("`/srv/one/data` of the service `web` is not in `/srv/two`"), "{said}");
    mikado.run("docker stop -t 1 app-web-1 app_web_1 2>/dev/null; mv /srv/one/data /srv/two/");
    mikado.converge(&[]);
    mikado.has_nothing_to_do(&[]);
    let web = "$(docker ps -q --filter label=com.docker.compose.service=web)";
    mikado.run(&format!("docker exec {web} sh -c 'read row < /data/table; test $row = row'"));
    // The project by hand runs on, and has its file again.
    mikado.run("sha256sum --check --quiet /root/sum && docker ps | grep -q hand.own.1");
    declare(project, mikado, "");
    let (code, said) = mikado.lab.say(&["diff", "mikado", "--lab"]);
    assert_eq!(code, 2, "{said}");
    let name = mikado
        .shell(&format!("docker inspect -f '{{{{range .Mounts}}}}{{{{.Name}}}}{{{{end}}}}' {web}"));
    assert!(said.contains(&format!("goes and leaves the volume `{name}`")), "{name}: {said}");
    mikado.converge(&[]);
    mikado.run("test ! -e /srv/two/docker-compose.yml && test -e /srv/two/data/table && docker ps | grep -q hand.own.1");
    mikado.run("docker rm -f $(docker ps -q); rm -r /srv/hand");
}
