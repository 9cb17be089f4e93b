//! `infra diff` and `infra apply` as a user runs them, on a real sshd: output and exit codes.

pub(crate) mod between;
pub(crate) mod fleet;
pub(crate) mod interrupt;
pub(crate) mod limits;
pub(crate) mod report;
pub(crate) mod rotation;
pub(crate) mod saved;
pub(crate) mod secrets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::sshd::{Setup, Sshd};

crate::tests! {
    diff_says_what_apply_then_does,
    a_change_is_shown_line_by_line,
    json_has_one_object_a_line,
    a_failure_is_repeated_with_its_place,
    nothing_changes_without_a_yes,
    an_unreachable_server_does_not_hold_up_the_others,
    another_system_than_expected_stops_before_anything_changes,
    a_series_of_servers_ends_at_the_first_failure,
    a_server_that_is_away_ends_a_series_as_well,
    resources_are_chosen_by_name,
    a_missing_ssh_program_is_told,
    facts_and_ssh_use_the_settings_of_the_inventory,
    completions_and_manual_pages_are_generated,
}

/// A project beside a server, whose one role writes below `/var/lib`, which is the server's own.
pub(crate) struct Project {
    pub(crate) sshd: Sshd,
    pub(crate) folder: PathBuf,
}

const ROLE: &str = "\
description: two files
params:
  greeting: { type: string, default: hello }
  breaks: { type: boolean, default: false }
resources:
  - directory: { path: /var/lib/demo, mode: \"0750\" }
  - file: { path: /var/lib/demo/motd, template: motd.j2 }
  - when: breaks
    file: { path: /var/lib/demo/missing/file, content: \"x\" }
  - file: { path: /var/lib/demo/last, content: \"x\\n\" }
";

impl Project {
    pub(crate) fn new() -> Self {
        Self::with(&Setup::default())
    }

    /// A project beside a server that differs from a plain one.
    fn with(setup: &Setup<'_>) -> Self {
        let sshd = Sshd::start(setup);
        let folder = sshd.file("project");
        write(&folder.join("roles/demo/role.yaml"), ROLE);
        write(&folder.join("roles/demo/templates/motd.j2"), "one\n{{ greeting }}\nthree\n");
        let project = Self { sshd, folder };
        project.server("rufus", project.sshd.port, "");
        project
    }

    /// Declares a server at `port`; `more` is YAML at the top level.
    pub(crate) fn server(&self, name: &str, port: u16, more: &str) {
        let settings = self.sshd.settings();
        let text = format!(
            "ssh:\n  host: 127.0.0.1\n  user: root\n  port: {port}\n  host_key: \"{}\"\n\
             roles: {{ demo: {{}} }}\n{more}",
            settings.host_keys[0],
        );
        write(&self.folder.join(format!("inventory/{name}.yaml")), &text);
    }

    /// Runs `infra` and returns its exit code, standard output and standard error.
    pub(crate) fn infra(&self, arguments: &[&str]) -> (i32, String, String) {
        self.infra_with(arguments, "PATH", &std::env::var("PATH").unwrap())
    }

    pub(crate) fn infra_with(
        &self,
        arguments: &[&str],
        name: &str,
        value: &str,
    ) -> (i32, String, String) {
        let output = self.command(arguments).env(name, value).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infra"));
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        command.env("XDG_RUNTIME_DIR", self.sshd.folder.path());
        command.env("HOME", self.sshd.folder.path());
        let settings = self.sshd.settings();
        command.env("INFRA_SSH_CONFIG", settings.config_file.unwrap());
        command.env("INFRA_SSH_IDENTITY", settings.identity_file.unwrap());
        command.env_remove("CI").env_remove("INFRA_IDENTITY").env_remove("INFRA_IDENTITY_FILE");
        command
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn diff_says_what_apply_then_does() {
    let project = Project::new();
    let (code, plan, _) = project.infra(&["diff", "rufus"]);
    assert_eq!(
        plan,
        "\
rufus  + directory:/var/lib/demo  create
           owner: root, group: root, mode: 0750
rufus  + file:/var/lib/demo/motd  create
           content: 3 lines, owner: root, group: root, mode: 0644
rufus  + file:/var/lib/demo/last  create
           content: 1 line, owner: root, group: root, mode: 0644
rufus  3 resources: 0 ok, 3 to create
"
    );
    assert_eq!(code, 2);
    let (code, done, _) = project.infra(&["apply", "rufus", "--yes"]);
    assert_eq!(
        done.strip_prefix(&plan).unwrap(),
        "\
rufus  directory:/var/lib/demo  changed
rufus  file:/var/lib/demo/motd  changed
rufus  file:/var/lib/demo/last  changed
rufus  3 resources: 0 ok, 3 changed, 0 failed, 0 skipped
"
    );
    assert_eq!(code, 0);
    let (code, plan, _) = project.infra(&["diff", "rufus"]);
    assert_eq!((code, plan.as_str()), (0, "rufus  3 resources: 3 ok\n"));
}

fn a_change_is_shown_line_by_line() {
    let project = Project::new();
    project.infra(&["apply", "rufus", "--yes"]);
    let (code, plan, _) = project.infra(&["diff", "rufus", "--set", "demo.greeting=bye"]);
    assert_eq!(
        plan,
        "\
rufus  ~ file:/var/lib/demo/motd  change
           content: 3 lines
             @@ -1 +1 @@
              one
             -hello
             +bye
              three
rufus  3 resources: 2 ok, 1 to change
"
    );
    assert_eq!(code, 2);
}

fn json_has_one_object_a_line() {
    let project = Project::new();
    let (code, text, _) = project.infra(&["apply", "rufus", "--yes", "--output", "json"]);
    let objects: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> =
        objects.iter().map(|object| object["event"].as_str().unwrap()).collect();
    assert_eq!(events.first(), Some(&"facts"));
    let applied: Vec<&Value> =
        objects.iter().filter(|object| object["event"] == "applied").collect();
    assert_eq!(applied[1]["resource"], "file:/var/lib/demo/motd");
    assert_eq!(applied[1]["outcome"], "changed");
    assert_eq!(applied[1]["place"], "roles/demo/role.yaml:7");
    assert_eq!(
        objects[objects.len() - 2],
        serde_json::json!({
            "event": "apply_totals", "server": "rufus",
            "resources": 3, "ok": 0, "changed": 3, "failed": 0, "skipped": 0,
        })
    );
    assert_eq!(objects[objects.len() - 1], serde_json::json!({"event": "end", "exit_code": 0}));
    assert_eq!(code, 0);
}

fn a_failure_is_repeated_with_its_place() {
    let project = Project::new();
    let (code, text, _) = project.infra(&["apply", "rufus", "--yes", "--set", "demo.breaks=true"]);
    assert!(text.contains("rufus  4 resources: 0 ok, 2 changed, 1 failed, 1 skipped\n"), "{text}");
    let end = text.split("\n\n").last().unwrap();
    assert!(end.starts_with("error: "), "{text}");
    assert!(
        end.contains(" --> rufus  file:/var/lib/demo/missing/file  roles/demo/role.yaml:8\n"),
        "{text}"
    );
    assert_eq!(code, 3);
}

fn nothing_changes_without_a_yes() {
    let project = Project::new();
    let (code, _, error) = project.infra(&["apply", "rufus"]);
    assert_eq!(
        error,
        "error: nobody is at a terminal to say `yes`\n\
         hint: look at `infra diff`, then apply with `--yes`\n"
    );
    assert_eq!(code, 1);
}

fn an_unreachable_server_does_not_hold_up_the_others() {
    let project = Project::new();
    project.server("faremis", 1, "");
    let (code, text, _) = project.infra(&["apply", "all", "--yes"]);
    assert!(
        text.contains("rufus    3 resources: 0 ok, 3 changed, 0 failed, 0 skipped\n"),
        "{text}"
    );
    assert!(
        text.ends_with(
            "\nerror: cannot reach `faremis`: `127.0.0.1` refuses connections\n --> faremis\n\
             caused by: ssh: connect to host 127.0.0.1 port 1: Connection refused\n\
             hint: check `ssh.host` and `ssh.port` in `inventory/faremis.yaml`, and that sshd \
             runs\n\n2 servers: 1 changed (rufus), 1 unreachable (faremis)\n"
        ),
        "{text}"
    );
    assert_eq!(code, 4);
}

fn another_system_than_expected_stops_before_anything_changes() {
    let project = Project::new();
    project.server("mikado", project.sshd.port, "expect: { os: debian-10 }\n");
    let (code, text, _) = project.infra(&["apply", "all", "--yes"]);
    assert!(text.contains(", but its inventory expects debian-10\n --> mikado\n"), "{text}");
    assert!(!text.contains("changed"), "{text}");
    assert_eq!(code, 1);
}

fn a_series_of_servers_ends_at_the_first_failure() {
    let project = Project::new();
    project.server("a", project.sshd.port, "");
    write(
        &project.folder.join("inventory/a.yaml"),
        &fs::read_to_string(project.folder.join("inventory/a.yaml"))
            .unwrap()
            .replace("demo: {}", "demo: { breaks: true }"),
    );
    let (code, text, _) = project.infra(&["apply", "all", "--yes", "--serial", "1"]);
    assert!(text.contains("rufus  warning: left as it is, because `a` failed\n"), "{text}");
    assert_eq!(code, 3);
}

fn a_server_that_is_away_ends_a_series_as_well() {
    let project = Project::new();
    project.server("b", 1, "");
    project.server("c", project.sshd.port, "");
    let serial = ["apply", "rufus", "b", "c", "--yes", "--serial", "1"];
    let (code, text, _) = project.infra(&serial);
    assert!(text.contains("c      warning: left as it is, because `b` failed\n"), "{text}");
    let closing = "3 servers: 1 changed (rufus), 1 to change (c), 1 unreachable (b)\n";
    assert!(text.ends_with(closing), "{text}");
    assert_eq!(code, 4);
}

fn resources_are_chosen_by_name() {
    let project = Project::new();
    let only = ["--only", "directory:/var/lib/demo", "--only", "file:/var/lib/demo/last"];
    let (code, text, _) = project.infra(&[&["diff", "rufus"][..], &only].concat());
    assert!(text.ends_with("rufus  2 resources: 0 ok, 2 to create\n"), "{text}");
    assert_eq!(code, 2);
    let (code, _, error) = project.infra(&["diff", "rufus", "--skip", "dmo"]);
    assert_eq!(error, "error: `rufus` has no role or resource `dmo`\nhint: did you mean `demo`?\n");
    assert_eq!(code, 1);
}

fn a_missing_ssh_program_is_told() {
    let project = Project::new();
    let (code, text, _) = project.infra_with(&["diff", "rufus"], "PATH", "/nonexistent");
    assert!(
        text.ends_with(
            "error: cannot start `ssh`\n --> rufus\n\
             caused by: No such file or directory (os error 2)\n\
             hint: install the OpenSSH client\n"
        ),
        "{text}"
    );
    assert_eq!(code, 4);
}

fn facts_and_ssh_use_the_settings_of_the_inventory() {
    let project = Project::new();
    let (code, text, _) = project.infra(&["facts", "rufus", "--output", "json"]);
    let facts: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(facts["facts"]["arch"], std::env::consts::ARCH);
    assert_eq!(code, 0);
    let (code, text, error) = project.infra(&["ssh", "rufus", "--", "echo", "hello"]);
    assert_eq!((code, text.as_str()), (0, "hello\n"), "{error}");
}

fn completions_and_manual_pages_are_generated() {
    let project = Project::new();
    let (code, text, _) = project.infra(&["completions", "bash"]);
    assert!(text.contains("complete -F _infra"), "{text}");
    assert_eq!(code, 0);
    let (code, text, _) = project.infra(&["man", "apply"]);
    assert!(text.contains(".TH"), "{text}");
    assert_eq!(code, 0);
    let (code, _, error) = project.infra(&["man", "aply"]);
    assert_eq!(error, "error: unknown subcommand `aply`\n");
    assert_eq!(code, 1);
}
