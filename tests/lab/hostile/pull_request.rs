//! A pull request of a stranger in CI, which has an identity: the preview of it shows nothing of a
//! server, starts no program and connects to nobody, unless the trusted revision asks for the same.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::run::{Project, write};

crate::tests! {
    a_pull_request_is_previewed_without_trust,
    a_pull_request_cannot_say_what_the_trusted_revision_is,
    nothing_of_a_change_escapes_the_comparison,
    a_key_in_the_place_of_a_file_shows_nowhere,
    two_revisions_are_compared_without_a_server,
}

/// The role of the trusted revision: something of each sort that a preview may meet.
const TRUSTED: &str = "\
resources:
  - directory: { path: /var/lib/demo }
  - file: { path: /var/lib/demo/motd, content: \"one\\nhello\\nthree\\n\" }
  - file: { path: /var/lib/demo/secret, mode: \"0600\", content: \"{{ secrets.canary }}\" }
  - command: { name: trusted, run: ['true'], unless: [touch, /var/lib/demo/trusted] }
  - command: { name: changed, run: ['true'], unless: ['true'] }
  - symlink: { path: /var/lib/demo/link, target: motd }
  - file: { path: /var/lib/before, content: of infra }
";

/// The role as the stranger changes it. PORT is a port where nobody may connect.
const CHANGED: &str = "\
resources:
  - directory: { path: /var/lib/demo }
  - file: { path: /var/lib/demo/motd, content: \"one\\nbye\\nthree\\n\" }
  - file: { path: /var/lib/demo/secret, mode: \"0600\", content: mine }
  - command: { name: trusted, run: ['true'], unless: [touch, /var/lib/demo/trusted] }
  - command: { name: changed, run: ['true'], unless: [touch, /var/lib/ran-changed] }
  - symlink: { path: /var/lib/demo/link, target: /etc/shadow }
  - file: { path: /etc/shadow, content: x }
  - line: { path: /etc/shadow, match: '^root', line: x }
  - command: { name: spy, run: ['true'], unless: [touch, /var/lib/ran-spy] }
  - command: { name: harm, run: ['true'], creates: /nowhere, refuse_if: [touch, /var/lib/ran-harm] }
  - git: { path: /var/lib/clone, repository: \"http://127.0.0.1:PORT/x.git\", ref: main }
  - http_check: { url: \"http://127.0.0.1:PORT/\" }
  - port_check: { port: PORT }
  - package: hello
  - service: { name: ssh, running: true }
  - volume: { path: /var/lib/volume, device: /dev/vdx }
";

/// A repository with the trusted commit `main`, applied to the server, and the change in the work
/// tree. The identity that opens the secrets is in the environment, as in CI.
struct Ci {
    project: Project,
    identity: String,
    /// The trusted inventory of the server.
    inventory: String,
}

impl Ci {
    fn new(change: impl FnOnce(&Project)) -> Self {
        let project = Project::new();
        let folder = &project.folder;
        write(&folder.join("roles/demo/role.yaml"), TRUSTED);
        let keygen = project.infra(&["secrets", "keygen", "key"]);
        assert_eq!(keygen.0, 0, "{}", keygen.2);
        let identity = fs::read_to_string(folder.join("key")).unwrap();
        fs::remove_file(folder.join("key")).unwrap();
        let key = identity.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
        let recipients = format!("recipients: {{ ci: {{ key: {key} }} }}\n");
        write(&folder.join("secrets/recipients.yaml"), &recipients);
        let inventory = fs::read_to_string(folder.join("inventory/rufus.yaml")).unwrap();
        let ci = Self { project, identity, inventory };
        ci.set_secret("CANARY-of-the-secrets");
        for arguments in [&["init", "-q", "-b", "main"][..], &["add", "."]] {
            ci.git(arguments);
        }
        ci.git(&["commit", "-q", "-m", "trusted"]);
        // The change drops the file, so that an apply of it would bring this back.
        ci.on_server("echo CANARY-of-before >/var/lib/before");
        let (code, _, error) = ci.infra(&["apply", "rufus", "--yes"]);
        assert_eq!(code, 0, "{error}");
        change(&ci.project);
        ci
    }

    fn set_secret(&self, value: &str) {
        use std::io::Write as _;
        let mut command = self.project.command(&["secrets", "set", "canary"]);
        command.env("INFRA_IDENTITY", &self.identity).stdin(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn git(&self, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=ana", "-c", "user.email=ana@example.org", "-C"]);
        assert!(git.arg(&self.project.folder).args(arguments).status().unwrap().success());
    }

    fn infra(&self, arguments: &[&str]) -> (i32, String, String) {
        self.project.infra_with(arguments, "INFRA_IDENTITY", &self.identity)
    }

    /// Runs a shell line on the server that the trusted revision names.
    fn on_server(&self, line: &str) -> String {
        let path = self.project.folder.join("inventory/rufus.yaml");
        let changed = fs::read_to_string(&path).unwrap();
        write(&path, &self.inventory);
        let (code, out, error) = self.project.infra(&["ssh", "rufus", "--", line]);
        assert_eq!(code, 0, "{error}");
        write(&path, &changed);
        out
    }
}

/// Whether a text holds a line of `/etc/shadow`, in whatever it is wrapped.
fn shows_shadow(text: &str) -> bool {
    let shadow = fs::read_to_string("/etc/shadow").unwrap();
    assert!(shadow.lines().count() > 3);
    shadow.lines().any(|line| text.contains(line))
}

fn a_pull_request_is_previewed_without_trust() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    nobody.set_nonblocking(true).unwrap();
    let port = nobody.local_addr().unwrap().port().to_string();
    let ci = Ci::new(|project| {
        write(&project.folder.join("roles/demo/role.yaml"), &CHANGED.replace("PORT", &port));
        for name in ["rufus", "new"] {
            project.server(name, nobody.local_addr().unwrap().port(), "");
        }
    });
    ci.on_server("rm -f /var/lib/demo/trusted; echo drifted >> /var/lib/demo/motd");
    let mut all = String::new();
    for format in ["human", "json", "markdown"] {
        let (code, out, error) =
            ci.infra(&["diff", "all", "--trust", "main", "-v", "--output", format]);
        assert_eq!(code, 2, "{format}: {error}");
        all.push_str(&out);
        all.push_str(&error);
    }
    // What the trusted revision manages is compared, the rest is not.
    for expected in [
        "rufus  ~ file:/var/lib/demo/motd  change (and changed on the server since the last apply)\n",
        "-drifted",
        "+bye",
        "rufus    command:trusted  ok\n",
        "rufus  ? command:changed  change or ok, known after the change is trusted\n",
        "rufus  ? symlink:/var/lib/demo/link  change or ok, known after the change is trusted\n",
        "rufus  ? file:/etc/shadow  change or ok, known after the change is trusted\n",
        "rufus  ? http_check:http://127.0.0.1:",
        "rufus  ? file:/var/lib/before  change or ok, known after the change is trusted\n",
        "new    warning: the change adds this server: it is not asked\n",
    ] {
        assert!(all.contains(expected), "{expected} is not in:\n{all}");
    }
    assert!(!shows_shadow(&all), "{all}");
    for canary in ["CANARY", "AGE-SECRET-KEY"] {
        assert!(!all.contains(canary), "{all}");
    }
    let ran = ci.on_server("ls -d /var/lib/ran-* /var/lib/clone 2>/dev/null; ls /var/lib/demo");
    assert_eq!(ran, "link\nmotd\nsecret\ntrusted\n");
    assert!(nobody.accept().is_err(), "somebody connected");

    // The control: the same change does all of this to whoever trusts it.
    write(&ci.project.folder.join("inventory/rufus.yaml"), &ci.inventory);
    let only = "file:/etc/shadow,command:spy";
    let (_, out, _) = ci.infra(&["diff", "rufus", "--only", only]);
    assert!(shows_shadow(&out), "{out}");
    assert_eq!(ci.on_server("ls -d /var/lib/ran-spy"), "/var/lib/ran-spy\n");
}

/// The comparison needs no server that answers and no identity, and names everything that the change
/// declares otherwise.
fn two_revisions_are_compared_without_a_server() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    nobody.set_nonblocking(true).unwrap();
    let port = nobody.local_addr().unwrap().port();
    let ci = Ci::new(|project| {
        write(&project.folder.join("roles/demo/role.yaml"), &CHANGED.replace("PORT", "80"));
        project.server("rufus", port, "");
    });
    let (code, out, error) = ci.project.infra(&["diff", "--since", "main"]);
    let trusted_port = ci.project.sshd.port;
    let expected = format!(
        "\
rufus  ~ `ssh.port` changes from `{trusted_port}` to `{port}`
rufus  ~ the change touches `inventory/rufus.yaml`, `roles/demo/role.yaml`
rufus  ~ file:/var/lib/demo/motd  change
           content: 3 lines
             @@ -1 +1 @@
              one
             -hello
             +bye
              three
rufus  ~ file:/var/lib/demo/secret  change
           content: 1 line
             @@ -1 +1 @@
             -(secret canary)
             +mine
rufus  ~ command:changed  change
           unless: [\"true\"] → [\"touch\",\"/var/lib/ran-changed\"]
rufus  ~ symlink:/var/lib/demo/link  change
           target: motd → /etc/shadow
"
    );
    assert!(out.starts_with(&expected), "{out}\n{error}");
    assert_eq!((code, error.as_str()), (2, ""));
    assert!(nobody.accept().is_err(), "somebody connected");
    assert_eq!(ci.infra(&["diff", "--since", "HEAD", "--at", "main"]).0, 0);
    let (first, (code, out, _)) =
        (out, ci.project.infra(&["diff", "rufus", "--since", "HEAD", "--output", "json"]));
    assert_eq!(code, 2);
    assert!(out.contains("\"outcome\":\"create\",\"place\""), "{out}");

    // The comparison begins where the change left the branch, which has moved on since.
    for arguments in
        [&["checkout", "-q", "-b", "change"][..], &["commit", "-q", "-a", "-m", "mine"]]
    {
        ci.git(arguments);
    }
    ci.git(&["checkout", "-q", "main"]);
    write(&ci.project.folder.join("roles/demo/role.yaml"), "resources: []\n");
    ci.git(&["commit", "-q", "-a", "-m", "gone"]);
    ci.git(&["checkout", "-q", "change"]);
    let (code, later, error) = ci.project.infra(&["diff", "--since", "main"]);
    assert_eq!((code, later), (2, first), "{error}");
}

/// Files that a stranger commits are no repository to git, and a tag is no branch.
fn a_pull_request_cannot_say_what_the_trusted_revision_is() {
    let ci = Ci::new(|_| {});
    let (folder, ran) = (&ci.project.folder, ci.project.folder.join("ran"));
    // The project is a folder of the repository.
    let deploy = folder.join("deploy");
    fs::create_dir(&deploy).unwrap();
    for part in ["inventory", "roles", "secrets"] {
        fs::rename(folder.join(part), deploy.join(part)).unwrap();
    }
    ci.git(&["add", "."]);
    ci.git(&["commit", "-q", "-m", "moved"]);
    fs::create_dir_all(deploy.join("objects")).unwrap();
    fs::create_dir_all(deploy.join("refs/heads")).unwrap();
    write(&deploy.join("HEAD"), "ref: refs/heads/main\n");
    let program = format!("touch {}; false", ran.display());
    let config = format!(
        "[core]\n\trepositoryformatversion = 1\n\tbare = false\n\tworktree = .\n\tfsmonitor = \
         \"{program}\"\n[extensions]\n\tpartialClone = origin\n[remote \"origin\"]\n\turl = \
         /nowhere\n\tpromisor = true\n\tuploadpack = \"{program}\"\n"
    );
    write(&deploy.join("config"), &config);
    let deploy_text = deploy.display().to_string();
    let expected = format!(
        "error: `{deploy_text}` is a git repository without a `.git`\n\
         caused by: its settings are files that anybody may have committed\n\
         hint: remove `HEAD`, `objects` and `refs` from the folder\n"
    );
    for option in ["--trust", "--since", "--at"] {
        let arguments = ["--project", &deploy_text, "diff", "rufus", option, "main"];
        let (code, _, error) = ci.infra(&arguments);
        assert_eq!((code, error.as_str()), (1, expected.as_str()), "{option}");
    }
    let (code, _, error) = ci.infra(&["--project", &deploy_text, "diff", "rufus"]);
    assert_eq!(code, 0, "{error}");
    assert!(!ran.exists(), "git ran a program that the change names");

    let ci = Ci::new(|_| {});
    ci.git(&["update-ref", "refs/remotes/origin/main", "HEAD"]);
    ci.git(&["tag", "origin/main"]);
    for option in ["--trust", "--since", "--at"] {
        let (code, _, error) = ci.infra(&["diff", "rufus", option, "origin/main"]);
        assert_eq!(
            error,
            "error: `origin/main` names several revisions\n\
             caused by: `refs/remotes/origin/main`\n\
             caused by: `refs/tags/origin/main`\n\
             hint: write the one that you mean in full, such as `refs/remotes/origin/main`\n"
        );
        assert_eq!(code, 1);
    }
    let full = "refs/remotes/origin/main";
    assert_eq!(ci.infra(&["diff", "rufus", "--trust", full]).0, 0);
}

/// Settings that are no field of a resource are told as well, and so is a role that hides behind a
/// secret.
fn nothing_of_a_change_escapes_the_comparison() {
    let since = |change: &dyn Fn(&Project)| {
        let ci = Ci::new(change);
        let (code, out, error) = ci.project.infra(&["diff", "--since", "main"]);
        assert_eq!(code, 2, "{out}{error}");
        out
    };
    let of_server = |line: &str| {
        let line = line.to_owned();
        since(&move |project: &Project| {
            let path = project.folder.join("inventory/rufus.yaml");
            let text = fs::read_to_string(&path).unwrap();
            write(&project.folder.join("inventory/groups/staging.yaml"), "{}\n");
            write(&path, &text.replacen("ssh:\n", &line, 1));
        })
    };
    let out = of_server("groups: [staging]\nssh:\n");
    assert!(out.contains("rufus  ~ `groups` changes from `` to `staging`\n"), "{out}");
    let out = of_server("ssh:\n  sudo: { password: '{{ secrets.canary }}' }\n");
    let password =
        "rufus  ~ `ssh.sudo.password` changes from `(nothing)` to `{{ secrets.canary }}`\n";
    assert!(out.contains(password), "{out}");
    let out = of_server("expect: { os: debian-13 }\nssh:\n");
    assert!(out.contains("rufus  ~ `expect` changes from `{"), "{out}");

    // The placeholder tells the comparison from a run that has the secret.
    let hidden = TRUSTED.replace(
        "  - directory",
        "  - when: \"secrets.canary ~ '' != '(secret canary)'\"\n    command: { name: evil, run: \
         [evil], creates: /z }\n  - directory",
    );
    let out = since(&|project: &Project| {
        write(&project.folder.join("roles/demo/role.yaml"), &hidden);
    });
    assert!(out.contains("rufus  ~ the change touches `roles/demo/role.yaml`\n"), "{out}");
}

/// A variable of CI may hold a key where the path of a key is wanted.
fn a_key_in_the_place_of_a_file_shows_nowhere() {
    let project = Project::new();
    let key = fs::read_to_string(project.sshd.file("client")).unwrap();
    for (variable, option) in
        [("INFRA_SSH_IDENTITY", "--ssh-identity"), ("INFRA_SSH_CONFIG", "--ssh-config")]
    {
        let (code, out, error) = project.infra_with(&["diff", "rufus"], variable, &key);
        assert_eq!(
            error,
            format!(
                "error: `{option}` or `{variable}` does not name a file\n\
                 hint: give the path of the file, and not what is in it\n"
            )
        );
        assert_eq!((code, out.as_str()), (1, ""));
    }
}
