//! Several servers at once: one fails, one cannot be reached, and the report stays readable.

use std::fs;

use super::{Project, write};
use crate::sshd::Sshd;

crate::tests! {
    a_failure_and_a_silent_server_stop_no_other,
    servers_with_nothing_to_do_are_counted,
}

/// Three servers of one group: `faremis` breaks, `mikado` refuses connections, and `rufus` is well.
/// The second sshd is that of `faremis`, alive for as long as it is kept.
fn three() -> (Project, Sshd) {
    let project = Project::new();
    let other = project.sshd.another();
    write(&project.folder.join("inventory/groups/hetzner.yaml"), "description: rented\n");
    let group = "groups: [hetzner]\n";
    project.server("rufus", project.sshd.port, group);
    project.server("mikado", 1, group);
    project.server("faremis", other.port, group);
    let path = project.folder.join("inventory/faremis.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text
        .replace(&project.sshd.public_key("host"), &other.public_key("host"))
        .replace("demo: {}", "demo: { breaks: true }");
    write(&path, &text);
    (project, other)
}

/// The lines about one server, in their order; servers work at once, so theirs may be mixed.
fn lines_of(text: &str, server: &str) -> String {
    let lines = text.lines().filter(|line| line.split_whitespace().next() == Some(server));
    lines.flat_map(|line| [line, "\n"]).collect()
}

const FAREMIS_DONE: &str = "\
faremis  directory:/var/lib/demo  changed
faremis  file:/var/lib/demo/motd  changed
faremis  file:/var/lib/demo/missing/file  failed: its folder `/var/lib/demo/missing` is not there
faremis  4 resources: 0 ok, 2 changed, 1 failed, 1 skipped
faremis  skipped: `file:/var/lib/demo/last`
";

const RUFUS_PLAN: &str = "\
rufus    + directory:/var/lib/demo  create
             owner: root, group: root, mode: 0750
rufus    + file:/var/lib/demo/motd  create
             content: 3 lines, owner: root, group: root, mode: 0644
rufus    + file:/var/lib/demo/last  create
             content: 1 line, owner: root, group: root, mode: 0644
rufus    3 resources: 0 ok, 3 to create
";

const RUFUS_DONE: &str = "\
rufus    directory:/var/lib/demo  changed
rufus    file:/var/lib/demo/motd  changed
rufus    file:/var/lib/demo/last  changed
rufus    3 resources: 0 ok, 3 changed, 0 failed, 0 skipped
";

const FAILURES: &str = "\
error: its folder `/var/lib/demo/missing` is not there
 --> faremis  file:/var/lib/demo/missing/file  roles/demo/role.yaml:8
hint: declare `directory: /var/lib/demo/missing` before

error: cannot reach `mikado`: `127.0.0.1` refuses connections
 --> mikado
caused by: ssh: connect to host 127.0.0.1 port 1: Connection refused
hint: check `ssh.host` and `ssh.port` in `inventory/mikado.yaml`, and that sshd runs

3 servers: 1 changed (rufus), 1 unreachable (mikado), 1 failed (faremis)
";

fn a_failure_and_a_silent_server_stop_no_other() {
    let (project, _other) = three();
    let (code, text, _) = project.infra(&["apply", "@hetzner", "--yes"]);
    assert!(text.contains(RUFUS_PLAN), "the plan of a server is in one piece: {text}");
    assert!(lines_of(&text, "rufus").ends_with(RUFUS_DONE), "{text}");
    assert!(lines_of(&text, "faremis").ends_with(FAREMIS_DONE), "{text}");
    let (_, failures) = text.split_once("\n\n").unwrap();
    assert_eq!(failures, FAILURES);
    assert_eq!(code, 3);
}

fn servers_with_nothing_to_do_are_counted() {
    let (project, _other) = three();
    fs::remove_file(project.folder.join("inventory/mikado.yaml")).unwrap();
    let path = project.folder.join("inventory/faremis.yaml");
    let text = fs::read_to_string(&path).unwrap().replace("{ breaks: true }", "{}");
    write(&path, &text);
    assert_eq!(project.infra(&["diff", "all"]).0, 2);
    assert_eq!(project.infra(&["apply", "all", "--yes"]).0, 0);
    for targets in ["all", "@hetzner", "hetzner"] {
        let (code, text, _) = project.infra(&["diff", targets]);
        let (plans, closing) = text.split_once("\n\n").unwrap();
        let mut lines: Vec<&str> = plans.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["faremis  3 resources: 3 ok", "rufus    3 resources: 3 ok"]);
        assert_eq!(closing, "2 servers: 2 ok\n");
        assert_eq!(code, 0);
    }
    // One that cannot be reached: the others are told, and the code says so.
    project.server("mikado", 1, "");
    let (code, text, _) = project.infra(&["diff", "all"]);
    assert_eq!(lines_of(&text, "rufus"), "rufus    3 resources: 3 ok\n");
    assert_eq!(code, 4);
}
