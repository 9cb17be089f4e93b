//! A pull request of a stranger in CI, which has an identity: the preview of it shows nothing of a
//! server, starts no program and connects to nobody, unless the trusted revision asks for the same.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::run::{Project, write};

crate::tests! {
    a_pull_request_is_previewed_without_trust,
    two_revisions_are_compared_without_a_server,
}

/// What the trusted revision declares: something of each sort that a preview may meet.
const TRUSTED: &str = "\
resources:
  - directory: { path: /var/lib/demo }
  - file: { path: /var/lib/demo/motd, content: \"one\\nhello\\nthree\\n\" }
  - file: { path: /var/lib/demo/secret, mode: \"0600\", content: \"{{ secrets.canary }}\" }
  - command: { name: trusted, run: ['true'], unless: [touch, /var/lib/demo/trusted] }
  - command: { name: changed, run: ['true'], unless: ['true'] }
  - symlink: { path: /var/lib/demo/link, target: motd }
";

/// What the stranger makes of it. PORT is a port where nobody may connect.
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
rufus  warning: `ssh.port` changes from `{trusted_port}` to `{port}`
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
rufus  + file:/etc/shadow  create
           content: 1 line, owner: root, group: root, mode: 0644
rufus  + line:/etc/shadow ^root  create
           line: x, match: ^root, path: /etc/shadow
rufus  + command:spy  create
           done: yes, run: [\"true\"], timeout_seconds: 300, unless: [\"touch\",\"/var/lib/ran-spy\"]
"
    );
    assert!(out.starts_with(&expected), "{out}\n{error}");
    assert_eq!((code, error.as_str()), (2, ""));
    assert!(nobody.accept().is_err(), "somebody connected");
    assert_eq!(ci.infra(&["diff", "--since", "HEAD", "--at", "main"]).0, 0);
    let (code, out, _) =
        ci.project.infra(&["diff", "rufus", "--since", "HEAD", "--output", "json"]);
    assert_eq!(code, 2);
    assert!(out.contains("\"outcome\":\"create\",\"place\""), "{out}");
}
