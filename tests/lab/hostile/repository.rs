//! A repository of a stranger, such as a merge request in CI: `infra check` opens nothing outside of
//! it that the repository names.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::text;

crate::tests! {
    a_repository_names_nothing_outside_of_it,
    a_repository_has_no_endless_work,
    a_project_of_somebody_else_is_used_by_name_alone,
}

/// A way out of a project: what is put into it, and the complaint about it.
struct WayOut {
    name: &'static str,
    prepare: fn(&Path),
    complaint: &'static str,
}

fn role(project: &Path, text: &str) {
    fs::write(project.join("roles/demo/role.yaml"), text).unwrap();
}

const WAYS_OUT: &[WayOut] = &[
    WayOut {
        name: "an include of a template",
        prepare: |project| {
            role(project, "resources:\n  - file: { path: /etc/x, template: x.j2 }\n");
            let include = "{% include '../../outside/secret' %}";
            fs::write(project.join("roles/demo/templates/x.j2"), include).unwrap();
        },
        complaint: "`templates/../../outside/secret` is not a name below `templates/`",
    },
    WayOut {
        name: "an include of a text",
        prepare: |project| {
            let text =
                "assert:\n  - { that: 'false', message: \"{% include '../outside/secret' %}\" }\n";
            role(project, text);
        },
        complaint: "a text cannot hold a statement, only expressions in double braces",
    },
    WayOut {
        name: "the name of a role",
        prepare: |project| {
            let text = "roles: { ../../outside/role: {} }\n";
            fs::write(project.join("inventory/demo.yaml"), text).unwrap();
        },
        complaint: "`../../outside/role` is not the name of a role",
    },
    WayOut {
        name: "a template that is a link",
        prepare: |project| {
            role(project, "resources:\n  - file: { path: /etc/x, template: x.j2 }\n");
            symlink("../../../../outside/secret", project.join("roles/demo/templates/x.j2"))
                .unwrap();
        },
        complaint: "it leads out of the project",
    },
    WayOut {
        name: "a source that is a link",
        prepare: |project| {
            role(project, "resources:\n  - file: { path: /etc/x, source: x }\n");
            symlink("../../../../outside/secret", project.join("roles/demo/files/x")).unwrap();
        },
        complaint: "it leads out of the project",
    },
    WayOut {
        name: "a folder that is a link",
        prepare: |project| {
            fs::remove_dir_all(project.join("roles/demo")).unwrap();
            symlink("../../outside/role", project.join("roles/demo")).unwrap();
        },
        complaint: "it leads out of the project",
    },
    WayOut {
        name: "a source that leads to the settings of git",
        prepare: |project| {
            fs::create_dir(project.join(".git")).unwrap();
            fs::write(project.join(".git/config"), "CANARY: token\n").unwrap();
            role(project, "resources:\n  - file: { path: /etc/x, source: x }\n");
            symlink("../../../.git/config", project.join("roles/demo/files/x")).unwrap();
        },
        complaint: "a symlink leads to a hidden file, or to the secrets",
    },
    WayOut {
        name: "a template that leads to the secrets",
        prepare: |project| {
            fs::create_dir(project.join("secrets")).unwrap();
            fs::write(project.join("secrets/all.yaml"), "CANARY: secret\n").unwrap();
            role(project, "resources:\n  - file: { path: /etc/x, template: x.j2 }\n");
            symlink("../../../secrets/all.yaml", project.join("roles/demo/templates/x.j2"))
                .unwrap();
        },
        complaint: "a symlink leads to a hidden file, or to the secrets",
    },
    WayOut {
        name: "an inventory that is a device",
        prepare: |project| symlink("/dev/zero", project.join("inventory/zero.yaml")).unwrap(),
        complaint: "it leads out of the project",
    },
    WayOut {
        name: "an inventory that is a pipe",
        prepare: |project| {
            let pipe = project.join("inventory/pipe.yaml");
            assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        },
        complaint: "it is not a regular file",
    },
    WayOut {
        name: "recipients that are a link",
        prepare: |project| {
            fs::create_dir(project.join("secrets")).unwrap();
            symlink("../../outside/secret", project.join("secrets/recipients.yaml")).unwrap();
        },
        complaint: "it leads out of the project",
    },
    WayOut {
        name: "a folder of secrets that is a link",
        prepare: |project| symlink("../outside", project.join("secrets")).unwrap(),
        complaint: "its folder is no folder",
    },
];

/// A project with one role, and a folder beside it that is not its own.
fn project(folder: &Path) {
    for part in [
        "project/inventory",
        "project/roles/demo/templates",
        "project/roles/demo/files",
        "outside/role",
    ] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    fs::write(folder.join("outside/secret"), "CANARY: outside\n").unwrap();
    fs::write(folder.join("outside/recipients.yaml"), "CANARY: outside\n").unwrap();
    fs::write(folder.join("outside/role/role.yaml"), "resources: [{ package: CANARY }]\n").unwrap();
    fs::write(folder.join("project/inventory/demo.yaml"), "roles: { demo: {} }\n").unwrap();
    role(&folder.join("project"), "resources: []\n");
}

fn a_repository_names_nothing_outside_of_it() {
    for way in WAYS_OUT {
        let folder = tempfile::tempdir().unwrap();
        project(folder.path());
        (way.prepare)(&folder.path().join("project"));
        let trace = folder.path().join("trace");
        let output = Command::new("timeout")
            .args(["120", "strace", "-f", "-e", "trace=%file", "-o"])
            .arg(&trace)
            .arg(env!("CARGO_BIN_EXE_infra"))
            .args(["check", "--project"])
            .arg(folder.path().join("project"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{}: {said}", way.name);
        assert!(said.contains(way.complaint), "{}: {said}", way.name);
        assert!(!said.contains("CANARY"), "{}: {said}", way.name);
        let trace = fs::read_to_string(trace).unwrap();
        assert!(trace.contains("inventory"), "{trace}");
        // A call that failed has opened nothing: `= -1 EXDEV`.
        let is_outside = |line: &&str| {
            (line.contains("outside") || line.contains("/dev/zero")) && !line.contains("= -1 ")
        };
        let opened: Vec<&str> = trace.lines().filter(is_outside).collect();
        let opened: Vec<&&str> = opened.iter().filter(|line| !line.contains("readlink")).collect();
        assert!(opened.is_empty(), "{}: {opened:#?}", way.name);
    }
}

/// Loops within loops end with a mistake, and soon.
fn a_repository_has_no_endless_work() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    let project = folder.path().join("project");
    let indents = (0..6).map(|depth| "    ".repeat(depth));
    let loops: Vec<String> = indents
        .map(|indent| format!("{indent}  - for_each: range(1000)\n{indent}    resources:\n"))
        .collect();
    let loops = loops.concat();
    let innermost = "    ".repeat(6) + "  - directory: \"/srv/{{ item }}\"\n";
    let nested = format!("resources:\n{loops}{innermost}");
    role(&project, &nested);
    let output = Command::new("timeout")
        .args(["120", env!("CARGO_BIN_EXE_infra"), "check", "--project"])
        .arg(&project)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr) + &text(&output.stdout);
    assert!(said.contains("the loops of this server have more than 20000 rounds"), "{said}");
    // A file that takes no room in a repository, for each of a thousand rounds.
    let zeros = fs::File::create(project.join("roles/demo/files/zeros")).unwrap();
    zeros.set_len(100 * 1024 * 1024).unwrap();
    let file =
        "  - for_each: range(1000)\n    file: { path: \"/srv/{{ item }}\", source: zeros }\n";
    role(&project, &format!("resources:\n{file}"));
    let output = Command::new("prlimit")
        .args(["--as=4294967296", "timeout", "120", env!("CARGO_BIN_EXE_infra"), "check"])
        .arg("--project")
        .arg(&project)
        .output()
        .unwrap();
    let said = text(&output.stderr) + &text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let complaint = "the files of this server have more than 268435456 bytes";
    assert!(said.contains(complaint), "{said}");
}

fn a_project_of_somebody_else_is_used_by_name_alone() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path());
    let root = folder.path().join("project");
    let check = |uid: Option<&str>, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infra"));
        command.arg("check").args(more).current_dir(root.join("roles")).env_remove("SUDO_UID");
        let output = command.envs(uid.map(|uid| ("SUDO_UID", uid))).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(check(None, &[]).0, Some(0));
    for part in ["", "inventory"] {
        let owned = root.join(part);
        let shown = owned.display().to_string();
        chown(&owned, Some(1), None).unwrap();
        let refused = format!(
            "error: `{}` belongs to somebody else\nhint: if you trust it, name it: `--project {}`\n",
            shown.trim_end_matches('/'),
            root.display()
        );
        assert_eq!(check(None, &[]), (Some(1), refused));
        assert_eq!(check(None, &["--project", root.to_str().unwrap()]).0, Some(0));
        assert_eq!(check(Some("1"), &[]).0, Some(0));
        chown(&owned, Some(0), None).unwrap();
    }
    // A project whose inventory leads out of it is no reason to take one further up.
    let inner = root.join("roles/inner");
    fs::create_dir(&inner).unwrap();
    symlink(folder.path().join("outside"), inner.join("inventory")).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_infra")).arg("check").current_dir(&inner).output();
    let said = text(&output.unwrap().stderr);
    let leads = "error: cannot read `inventory`\ncaused by: it leads out of the project, or over an \
                 absolute symlink\n";
    assert!(said.contains(leads), "{said}");
}
