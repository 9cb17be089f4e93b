//! A secret that several servers share gets a new value: who is touched, and in which order.

use std::io::Write as _;
use std::process::Stdio;

use super::{Project, write};

crate::tests! {
    a_new_value_is_planned_by_name_and_applied_in_the_order_chosen,
}

const ROLE: &str = "\
resources:
  - directory: { path: /var/lib/demo }
  - file: { path: /var/lib/demo/app.env, content: \"PASSWORD={{ secrets.db.password }}\\n\", mode: \"0600\" }
  - file: { path: /var/lib/demo/motd, content: \"hello\\n\" }
";

/// Sets the secret `db.password`, as a person with a password manager does.
fn set(project: &Project, value: &str) {
    let mut command = project.command(&["secrets", "set", "db.password", "--identity", "key"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn a_new_value_is_planned_by_name_and_applied_in_the_order_chosen() {
    let mut project = Project::new();
    write(&project.folder.join("roles/demo/role.yaml"), ROLE);
    let (code, key, error) = project.infra(&["secrets", "keygen", "key"]);
    assert_eq!(code, 0, "{error}");
    let key = key.lines().find(|line| line.starts_with("age1")).unwrap_or_else(|| panic!("{key}"));
    let list = format!("recipients: {{ me: {{ key: {key} }} }}\n");
    write(&project.folder.join("secrets/recipients.yaml"), &list);
    // A second server, with a state of its own.
    let first = {
        let other = project.sshd.another();
        std::mem::replace(&mut project.sshd, other)
    };
    project.server("mikado", project.sshd.port, "");
    let second = std::mem::replace(&mut project.sshd, first);
    set(&project, "canary-one");
    let (code, _, error) = project.infra(&["apply", "all", "--yes", "--identity", "key"]);
    assert_eq!(code, 0, "{error}");

    set(&project, "canary-two");
    let (code, plan, _) = project.infra(&["diff", "all", "--identity", "key"]);
    let line = |server: &str| format!("{server}  ~ file:/var/lib/demo/app.env  change\n");
    assert_eq!(code, 2);
    assert!(plan.contains(&line("rufus ")) && plan.contains(&line("mikado")), "{plan}");
    assert_eq!(plan.matches("  change\n").count(), 2, "{plan}");
    assert!(!plan.contains("canary"), "{plan}");

    let apply = ["apply", "rufus", "mikado", "--serial", "1", "--yes", "--identity", "key"];
    let (code, done, _) = project.infra(&apply);
    assert_eq!(code, 0, "{done}");
    let at = |text: &str| done.find(text).unwrap_or_else(|| panic!("no {text} in {done}"));
    let changed = "file:/var/lib/demo/app.env  changed\n";
    assert!(at(&format!("rufus   {changed}")) < at(&format!("mikado  {changed}")), "{done}");
    let (code, plan, _) = project.infra(&["diff", "all", "--identity", "key"]);
    assert_eq!(code, 0, "{plan}");
    drop(second);
}
