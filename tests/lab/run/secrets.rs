//! Secrets on their way through a whole run: on the server, and in no output at all.

use std::fs;
use std::process::Command;

use super::{Project, write};

crate::tests! {
    no_output_holds_a_secret,
    a_missing_identity_is_told,
    other_forms_of_a_secret_show_nowhere,
}

const OLD: &str = "canary-old-5Kq1";
const NEW: &str = "canary-new-8Zr4";
/// The same in base64.
const OLD_ENCODED: &str = "Y2FuYXJ5LW9sZC01S3Ex";
const NEW_ENCODED: &str = "Y2FuYXJ5LW5ldy04WnI0";

const ROLE: &str = "\
description: secrets, plain, encoded and in a command
resources:
  - file: { path: /var/lib/app.env, template: app.env.j2, mode: \"0600\" }
  - command:
      run: [sh, -c, \"cat; cat /var/lib/app.env; exit 1\"]
      creates: /var/lib/never
      stdin: \"{{ secrets.password }}\"
";

fn run(program: &str, arguments: &[&str], project: &Project) {
    let output = Command::new(program).args(arguments).current_dir(&project.folder).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run `{program}`: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn encrypt(project: &Project, password: &str) {
    write(&project.folder.join("plain.yaml"), &format!("password: {password}\n"));
    let key = fs::read_to_string(project.folder.join("key")).unwrap();
    let recipient = key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    fs::create_dir_all(project.folder.join("secrets")).unwrap();
    let output = "secrets/all.yaml.age";
    run("age", &["-a", "-r", recipient, "-o", output, "plain.yaml"], project);
}

fn no_output_holds_a_secret() {
    let project = Project::new();
    write(&project.folder.join("roles/demo/role.yaml"), ROLE);
    write(
        &project.folder.join("roles/demo/templates/app.env.j2"),
        "PORT=80\nPASSWORD={{ secrets.password }}\nAUTH={{ secrets.password | b64encode }}\n",
    );
    run("age-keygen", &["-o", "key"], &project);
    let mut all = String::new();
    let mut infra = |arguments: &[&str]| {
        let (code, out, err) = project.infra_with(arguments, "INFRA_IDENTITY_FILE", "key");
        all.push_str(&out);
        all.push_str(&err);
        (code, out)
    };
    encrypt(&project, OLD);
    assert_eq!(infra(&["apply", "rufus", "--yes", "-v"]).0, 3, "the command fails on purpose");
    encrypt(&project, NEW);
    let (code, plan) = infra(&["diff", "rufus", "-v"]);
    assert!(plan.contains("PORT=80") && plan.contains("+PASSWORD=(secret)"), "{plan}");
    assert_eq!(code, 2);
    assert_eq!(infra(&["diff", "rufus", "--output", "json"]).0, 2);
    assert_eq!(infra(&["apply", "rufus", "--yes", "--output", "json"]).0, 3);
    for secret in [OLD, NEW, OLD_ENCODED, NEW_ENCODED] {
        assert!(!all.contains(secret), "`{secret}` shows:\n{all}");
    }
    let (_, content, _) = project.infra(&["ssh", "rufus", "--", "cat /var/lib/app.env"]);
    assert_eq!(content, format!("PORT=80\nPASSWORD={NEW}\nAUTH={NEW_ENCODED}\n"));
}

fn a_missing_identity_is_told() {
    let project = Project::new();
    write(&project.folder.join("roles/demo/role.yaml"), ROLE);
    write(&project.folder.join("roles/demo/templates/app.env.j2"), "{{ secrets.password }}\n");
    run("age-keygen", &["-o", "key"], &project);
    encrypt(&project, NEW);
    let (code, _, error) = project.infra(&["apply", "rufus", "--yes"]);
    assert_eq!(
        error,
        "error: no identity opens the secrets of `rufus`\n\
         caused by: `file:/var/lib/app.env` needs them\n\
         hint: name your key with `--identity`, or look with `infra diff --no-secrets`\n"
    );
    assert_eq!(code, 1);
    let (code, text, _) = project.infra(&["diff", "rufus", "--no-secrets"]);
    assert!(
        text.contains("warning: `file:/var/lib/app.env` depends on secrets and is not compared\n"),
        "{text}"
    );
    assert_eq!(code, 0);
}

/// Everything that has to be escaped somewhere, in eight characters.
const AWKWARD: &str = "a\"\\'% z9";

const FORMS: &str = r#"
description: secrets beside what is made of others, and printed in other forms
resources:
  - file:
      path: /var/lib/app.env
      mode: "0600"
      content: |
        u={{ secrets.password }} p={{ secrets.token | replace("e", "_") | reverse }}
  - file: { path: /var/lib/app.pin, mode: "0600", content: "{{ secrets.password }}\nx {{ secrets.pin[:4] }}" }
  - command:
      name: prints
      run:
        - sh
        - -c
        - |
          exec >&2
          printf %s "$SHOWN" | sed 's/[\\"]/\\&/g'; echo
          printf %s "$SHOWN" | sed "s/%/%25/g; s/\"/%22/g; s/ /+/g; s/'/%27/g" | sed 's/\\/%5c/g'; echo
          printf %s "$SHOWN" | base64; printf 'u:%s' "$SHOWN" | base64
          printf %s "$SHOWN" | od -An -v -tx1 | tr -d ' '; exit 1
      creates: /var/lib/never
      env: { SHOWN: "{{ secrets.password }}" }
"#;

/// Hidden content stays hidden in a plan that is saved and applied later.
fn other_forms_of_a_secret_show_nowhere() {
    use base64::Engine as _;
    let project = Project::new();
    write(&project.folder.join("roles/demo/role.yaml"), FORMS);
    run("age-keygen", &["-o", "key"], &project);
    let password = serde_json::json!(AWKWARD);
    encrypt(&project, &format!("{password}\ntoken: seven-eleven\npin: \"48291357\""));
    let key = fs::read_to_string(project.folder.join("key")).unwrap();
    let recipient = key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    let list = format!("recipients: {{ ana: {{ key: {recipient} }} }}\n");
    write(&project.folder.join("secrets/recipients.yaml"), &list);
    let mut all = String::new();
    let mut infra = |arguments: &[&str]| {
        let (code, out, err) = project.infra_with(arguments, "INFRA_IDENTITY_FILE", "key");
        all.push_str(&out);
        all.push_str(&err);
        (code, out, err)
    };
    assert_eq!(infra(&["render", "rufus"]).0, 0);
    let (code, plan, _) = infra(&["diff", "rufus", "-v", "--out", "plan"]);
    assert!(plan.contains("(hidden: depends on secrets)"), "{plan}");
    assert_eq!(code, 2);
    let (code, done, said) = infra(&["apply", "--plan", "plan", "--yes", "-vv"]);
    assert!((done + &said).contains("command:prints"), "the command fails on purpose");
    assert_eq!(code, 3);
    let base64 = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
    let hex = AWKWARD.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let json = AWKWARD.replace('\\', "\\\\").replace('"', "\\\"");
    let forms = [AWKWARD, &json, "a%22%5c%27%25+z9", &base64(AWKWARD), &hex]
        .map(str::to_owned)
        .into_iter()
        .chain([base64(&format!("u:{AWKWARD}")), "n_v_l_-n_v_s".to_owned(), "4829".to_owned()]);
    for form in forms {
        assert!(!all.contains(&form), "`{form}` shows:\n{all}");
    }
    let (_, content, _) = project.infra(&["ssh", "rufus", "--", "cat /var/lib/app.*"]);
    assert_eq!(content, format!("u={AWKWARD} p=n_v_l_-n_v_s\n{AWKWARD}\nx 4829"));
}
