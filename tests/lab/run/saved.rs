//! Plans that are saved and applied later: exactly, or not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use infra::saved_plan::SavedPlan;
use infra::secrets::{Folder, IdentitySource};

use super::{Project, write};

crate::tests! {
    a_saved_plan_is_applied_as_it_was_saved,
    a_plan_is_refused_where_the_server_changed,
    a_plan_is_refused_after_another_run,
    where_one_plan_is_stale_no_server_is_changed,
    a_plan_without_changes_is_a_plan,
    a_plan_that_is_not_complete_is_not_saved,
    files_that_are_no_plan_are_refused,
    a_plan_that_nobody_could_read_is_not_saved,
    a_saved_plan_names_its_servers_itself,
    a_plan_of_somebody_else_is_refused,
    a_plan_that_says_something_else_by_now_is_refused,
}

/// A project with somebody to encrypt to: the holder of the login key.
fn project() -> Project {
    let project = Project::new();
    let key = project.sshd.public_key("client");
    write(
        &project.folder.join("secrets/recipients.yaml"),
        &format!("recipients:\n  ana: {{ key: {key} }}\n"),
    );
    project
}

fn infra(project: &Project, arguments: &[&str]) -> (i32, String, String) {
    let key = project.sshd.file("client");
    project.infra_with(arguments, "INFRA_IDENTITY_FILE", key.to_str().unwrap())
}

fn on_server(project: &Project, line: &str) -> String {
    let (code, out, error) = project.infra(&["ssh", "rufus", "--", line]);
    assert_eq!(code, 0, "{error}");
    out
}

fn a_saved_plan_is_applied_as_it_was_saved() {
    let project = project();
    let (code, plan, said) = infra(&project, &["diff", "rufus", "--out", "plan"]);
    assert_eq!(code, 2, "{said}");
    let (first, second) = said.split_once('\n').unwrap();
    assert_eq!(
        first,
        "made `secrets/plans.yaml.age`, the key that tells your plans from those of others, read by \
         ana: commit it"
    );
    let applies = "the plan is in `plan`: `infra apply --plan plan` applies it, until 20";
    assert!(second.starts_with(applies), "{said}");
    let file = project.folder.join("plan");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{text}");
    assert!(!text.contains("hello"), "{text}");
    let names = fs::read_dir(&project.folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, ["inventory", "plan", "roles", "secrets"]);

    // The roles of that time do not matter.
    write(&project.folder.join("roles/demo/templates/motd.j2"), "something else\n");
    let (code, done, said) = infra(&project, &["apply", "--plan", "plan", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("the plan in `plan`: made 20"), "{said}");
    let sealed = "\n  its seal says that it was made by somebody who reads \
                  `secrets/plans.yaml.age` (ana) and is unchanged; the rest is as they say\n";
    assert!(said.ends_with(sealed), "{said}");
    assert_eq!(
        done.strip_prefix(&plan).unwrap(),
        "\
rufus  directory:/var/lib/demo  changed
rufus  file:/var/lib/demo/motd  changed
rufus  file:/var/lib/demo/last  changed
rufus  3 resources: 0 ok, 3 changed, 0 failed, 0 skipped
"
    );
    assert_eq!(on_server(&project, "cat /var/lib/demo/motd"), "one\nhello\nthree\n");
}

fn a_plan_is_refused_where_the_server_changed() {
    let project = project();
    project.infra(&["apply", "rufus", "--yes"]);
    let arguments = ["diff", "rufus", "--out", "plan", "--set", "demo.greeting=bye"];
    assert_eq!(infra(&project, &arguments).0, 2);
    on_server(&project, "echo mine > /var/lib/demo/motd; rm /var/lib/demo/last");
    let (code, text, _) = infra(&project, &["apply", "--plan", "plan", "--yes"]);
    let end = text.split_once("\nerror: ").unwrap().1;
    assert_eq!(
        end,
        "\
the plan of `rufus` is stale
 --> rufus
caused by: `file:/var/lib/demo/last` was as it should be, and is to be created now
caused by: `file:/var/lib/demo/motd` is not as it was
hint: nothing was changed; make a new plan with `infra diff`
"
    );
    assert_eq!(code, 3);
    assert_eq!(on_server(&project, "cat /var/lib/demo/motd"), "mine\n");
}

fn a_plan_is_refused_after_another_run() {
    let project = project();
    infra(&project, &["diff", "rufus", "--out", "plan"]);
    assert_eq!(infra(&project, &["apply", "--plan", "plan", "--yes"]).0, 0);
    // Even where everything is as it was.
    on_server(&project, "rm -r /var/lib/demo");
    let (code, text, _) = infra(&project, &["apply", "--plan", "plan", "--yes"]);
    let end = text.split_once("\nerror: ").unwrap().1;
    let cause = "caused by: there was another run since, by ";
    assert!(
        end.starts_with(&format!("the plan of `rufus` is stale\n --> rufus\n{cause}")),
        "{end}"
    );
    assert_eq!(code, 3);
    assert_eq!(on_server(&project, "ls /var/lib/demo 2>/dev/null || echo gone"), "gone\n");
}

fn where_one_plan_is_stale_no_server_is_changed() {
    let project = project();
    let other = project.sshd.another();
    let settings = other.settings();
    write(
        &project.folder.join("inventory/mikado.yaml"),
        &format!(
            "ssh:\n  host: 127.0.0.1\n  user: root\n  port: {}\n  host_key: \"{}\"\n\
             roles: {{ demo: {{}} }}\n",
            other.port, settings.host_keys[0],
        ),
    );
    assert_eq!(infra(&project, &["diff", "all", "--out", "plan"]).0, 2);
    on_server(&project, "mkdir /var/lib/demo");
    let (code, text, _) = infra(&project, &["apply", "--plan", "plan", "--yes"]);
    assert!(
        text.contains("mikado  warning: left as it is, because the plan of `rufus` is stale\n"),
        "{text}"
    );
    assert!(text.contains("`directory:/var/lib/demo` was to be created, and is to be changed now"));
    assert_eq!(code, 3);
    on_server(&project, "rmdir /var/lib/demo");
    let (code, text, _) = infra(&project, &["apply", "--plan", "plan", "--yes"]);
    assert!(text.contains("mikado  3 resources: 0 ok, 3 changed, 0 failed, 0 skipped\n"), "{text}");
    assert!(text.contains("rufus   3 resources: 0 ok, 3 changed, 0 failed, 0 skipped\n"), "{text}");
    assert_eq!(code, 0);
}

fn a_plan_without_changes_is_a_plan() {
    let project = project();
    project.infra(&["apply", "rufus", "--yes"]);
    assert_eq!(infra(&project, &["diff", "rufus", "--out", "plan"]).0, 0);
    let (code, text, _) = infra(&project, &["apply", "--plan", "plan", "--yes"]);
    assert_eq!((code, text.as_str()), (0, "rufus  3 resources: 3 ok\n"));
}

fn a_plan_that_is_not_complete_is_not_saved() {
    let project = project();
    project.server("faremis", 1, "");
    let (code, _, error) = infra(&project, &["diff", "all", "--out", "plan"]);
    let made = "made `secrets/plans.yaml.age`, the key that tells your plans from those of others, \
                read by ana: commit it\n";
    let why = "`plan` was not written: not everything could be checked\n";
    assert_eq!(error, format!("{made}{why}"));
    assert_eq!(code, 4);
    assert!(!project.folder.join("plan").exists());
}

fn files_that_are_no_plan_are_refused() {
    let project = project();
    infra(&project, &["diff", "rufus", "--out", "plan"]);
    let whole = fs::read_to_string(project.folder.join("plan")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let middle = lines.len() / 2;
    let damaged = [&lines[..middle], &lines[middle + 1..]].concat().join("\n") + "\n";
    write(&project.folder.join("damaged"), &damaged);
    write(&project.folder.join("cut"), &(lines[..middle].join("\n") + "\n"));
    write(&project.folder.join("other"), "roles: {}\n");
    let cannot_open = |file: &str, cause: &str| {
        format!("error: cannot open `{file}`\ncaused by: {cause}\nhint: make it again\n")
    };
    let no_plan = "is not a saved plan\nhint: `infra diff TARGET --out FILE` saves one\n";
    for (file, expected) in [
        ("other", format!("error: `other` {no_plan}")),
        (
            "missing",
            "error: cannot read `missing`\n\
             caused by: No such file or directory (os error 2)\n"
                .to_owned(),
        ),
        ("damaged", cannot_open("damaged", "it is damaged")),
        ("cut", cannot_open("cut", "it is damaged")),
    ] {
        let (code, _, error) = infra(&project, &["apply", "--plan", file, "--yes"]);
        assert_eq!((code, error), (1, expected), "{file}");
    }
    let other = project.sshd.file("other_client");
    let arguments = ["apply", "--plan", "plan", "--yes"];
    let (code, _, error) =
        project.infra_with(&arguments, "INFRA_IDENTITY_FILE", other.to_str().unwrap());
    assert_eq!(
        error,
        format!(
            "error: cannot open `plan`\n\
             caused by: it is not encrypted to `{}`\n\
             hint: it is encrypted to those who read its secrets: name such an identity with \
             `--identity`; a plan for the lab needs `--lab`\n",
            other.display()
        )
    );
    assert_eq!(code, 1);
}

fn a_plan_that_nobody_could_read_is_not_saved() {
    let project = Project::new();
    let (code, text, error) = project.infra(&["diff", "rufus", "--out", "plan"]);
    assert_eq!(
        error,
        "error: cannot encrypt `plan`\n\
         caused by: there is no `secrets/recipients.yaml`\n\
         hint: name one in `secrets/recipients.yaml`: `recipients: { you: { key: age1… } }`\n"
    );
    assert_eq!((code, text.as_str()), (1, ""));
}

fn a_saved_plan_names_its_servers_itself() {
    let project = project();
    for (arguments, expected) in [
        (
            &["apply", "rufus", "--plan", "plan"][..],
            "error: the argument '[TARGET]...' cannot be used with '--plan <FILE>'\n",
        ),
        (&["apply"], "error: the following required arguments were not provided:\n  <TARGET>...\n"),
    ] {
        let (code, _, error) = project.infra(arguments);
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(code, 1);
    }
}

/// Somebody who knows all that is public makes a plan: the project, the recipients, the build. It is
/// encrypted to `ana`, and nothing of it is done.
fn a_plan_of_somebody_else_is_refused() {
    let (project, eve) = (project(), project());
    assert_eq!(infra(&project, &["diff", "rufus", "--out", "own"]).0, 2);
    let recipients = "secrets/recipients.yaml";
    fs::copy(project.folder.join(recipients), eve.folder.join(recipients)).unwrap();
    write(
        &eve.folder.join("roles/demo/role.yaml"),
        "resources:\n  - command: { name: a, run: [touch, /var/lib/forged], unless: [touch, \
         /var/lib/forged] }\n",
    );
    let (code, _, said) = eve.infra(&["diff", "rufus", "--out", "plan"]);
    assert!(said.contains("the plan is in `plan`"), "{said}");
    assert_eq!(code, 0);
    fs::copy(eve.folder.join("plan"), project.folder.join("plan")).unwrap();
    // Nothing is asked of the server before: a check of a forged plan would run its programs.
    let (code, _, error) = infra(&project, &["apply", "--plan", "plan", "--yes"]);
    assert_eq!(
        error,
        "error: nobody who makes plans for this project made `plan`\n\
         caused by: its seal was not made with the key in `secrets/plans.yaml.age`\n\
         hint: do not apply it; if it is your own, the key has changed since: make it again \
         with `infra diff TARGET --out FILE`\n"
    );
    assert_eq!(code, 1);
    assert_eq!(on_server(&project, "ls /var/lib/forged 2>/dev/null || echo none"), "none\n");

    fs::remove_file(project.folder.join("secrets/plans.yaml.age")).unwrap();
    let mut command = project.command(&["diff", "rufus", "--out", "own"]);
    let in_ci = command.env("CI", "true").output().unwrap();
    assert_eq!(
        String::from_utf8(in_ci.stderr).unwrap(),
        "error: cannot seal a plan: `secrets/plans.yaml.age` is not there\n\
         hint: make a plan on your own machine once, and commit the file\n"
    );
    let (_, _, error) = infra(&project, &["apply", "--plan", "own", "--yes"]);
    assert_eq!(
        error,
        "error: cannot tell who made `own`\n\
         caused by: `secrets/plans.yaml.age` is not there\n\
         hint: the first `infra diff TARGET --out FILE` makes it: commit it then\n"
    );
}

/// A plan for another server of the same name, and one whose time is over.
fn a_plan_that_says_something_else_by_now_is_refused() {
    let project = project();
    assert_eq!(infra(&project, &["diff", "rufus", "--out", "plan"]).0, 2);
    let inventory = project.folder.join("inventory/rufus.yaml");
    let text = fs::read_to_string(&inventory).unwrap();
    let (key, other) = (project.sshd.public_key("host"), project.sshd.public_key("other_host"));
    for (from, to, name) in [
        ("host: 127.0.0.1", "host: localhost", "ssh.host"),
        ("  user: root\n", "", "ssh.user"),
        (&key, &other, "ssh.host_key"),
    ] {
        assert!(text.contains(from), "{text}");
        write(&inventory, &text.replace(from, to));
        let (code, out, error) = infra(&project, &["apply", "--plan", "plan", "--yes"]);
        let error = error.split_once("error: ").unwrap_or_else(|| panic!("{error}")).1;
        assert_eq!(
            error,
            format!(
                "the plan in `plan` is for another `rufus`\n\
                 caused by: `{name}` in its inventory has changed since\n\
                 hint: make a new plan with `infra diff TARGET --out FILE`\n"
            )
        );
        assert_eq!((code, out.as_str()), (1, ""));
    }
    write(&inventory, &text);
    for (times, expected) in [
        (
            (1_000, 604_800),
            "the plan in `plan` has expired\ncaused by: it could be applied until \
                            1970-01-08 00:00 UTC\nhint: make a new plan with `infra diff TARGET \
                            --out FILE`\n",
        ),
        (
            (1 << 33, 1 << 34),
            "the plan in `plan` is from the future\ncaused by: it was made \
                              2242-03-16 12:56 UTC, and it is 20",
        ),
    ] {
        let folder = folder(&project);
        let key = folder.plan_key().unwrap().unwrap();
        let path = project.folder.join("plan");
        let bytes = fs::read(&path).unwrap();
        let text = folder.unwrap_own("plan", &bytes, false).unwrap();
        let mut plan = SavedPlan::parse("plan", &text, &key).unwrap();
        (plan.header.made, plan.header.expires) = times;
        let text = plan.text(&key).unwrap();
        fs::write(&path, folder.wrap("plan", &text, &["plans".to_owned()]).unwrap()).unwrap();
        let (code, out, error) = infra(&project, &["apply", "--plan", "plan", "--yes"]);
        let error = error.strip_prefix("error: ").unwrap_or_else(|| panic!("{error}"));
        assert!(error.starts_with(expected), "{error}");
        assert_eq!((code, out.as_str()), (1, ""));
    }
}

fn folder(project: &Project) -> Folder {
    let file = Some(project.sshd.file("client"));
    Folder::new(&project.folder, &IdentitySource { file, ..IdentitySource::default() })
}
