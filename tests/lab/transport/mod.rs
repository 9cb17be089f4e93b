//! Connections to a real sshd: the agent starts and answers, and every way to fail says so.

pub(crate) mod limits;
pub(crate) mod many;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use infra::error::Error;
use infra::events::Event;
use infra::inventory::connection::SshSettings;
use infra::resources::Facts;
use infra::secret::Secret;
use infra::transport::{Login, Person, Terminal, Transport};
use infra::wire::Request;

use crate::sshd::{Setup, Sshd};

crate::tests! {
    the_agent_is_uploaded_once,
    two_agents_are_kept,
    one_login_serves_several_runs,
    a_master_that_died_is_replaced,
    text_of_the_login_shell_is_skipped,
    a_login_shell_that_talks_too_much_is_refused,
    a_host_without_an_address_is_told,
    a_refused_connection_is_told,
    a_silent_server_is_told = 10,
    an_unknown_host_key_is_refused,
    a_changed_host_key_is_refused,
    a_wrong_login_key_is_told,
    sudo_gets_the_password,
    sudo_without_anybody_to_ask_is_told,
    a_wrong_sudo_password_is_told,
    a_refusal_of_sudo_is_told,
    a_server_without_sudo_is_told,
    the_password_of_one_server_goes_to_no_other = 6,
    a_full_disk_is_told,
    a_processor_without_an_agent_is_told,
}

/// Connects to `rufus`, asks for the facts, and waits for the end.
fn facts_with(
    folder: &Path,
    settings: &SshSettings,
    terminal: Option<Arc<dyn Terminal>>,
) -> Result<Facts, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let transport = Transport::new(Some(folder), Person::new(terminal), Some(relay()))?;
        let mut link = transport.connect(Login { server: "rufus", settings }).await?;
        link.send(&Request::Facts).await?;
        let Event::Started { facts } = link.receive().await? else { panic!("no facts") };
        assert_eq!(link.receive().await?, Event::Finished);
        Ok(facts)
    })
}

/// The program whose `dial` ssh connects through.
fn relay() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_infra"))
}

fn facts(sshd: &Sshd, settings: &SshSettings) -> Result<Facts, Error> {
    facts_with(sshd.folder.path(), settings, None)
}

/// The error of a connection that must fail, with what differs from run to run replaced.
fn failure(sshd: &Sshd, settings: &SshSettings) -> String {
    let error = facts(sshd, settings).unwrap_err().to_string();
    error.replace(&sshd.port.to_string(), "PORT")
}

fn the_agent_is_uploaded_once() {
    let sshd = Sshd::start(&Setup {
        before: Some("ls /var/lib/infra/agent 2>/dev/null | wc -l >>\"$(dirname \"$0\")/count\""),
        ..Setup::default()
    });
    let settings = sshd.settings();
    assert_eq!(facts(&sshd, &settings).unwrap().arch, std::env::consts::ARCH);
    assert_eq!(facts(&sshd, &settings).unwrap().arch, std::env::consts::ARCH);
    let count = std::fs::read_to_string(sshd.file("count")).unwrap();
    assert_eq!(count.split_whitespace().collect::<Vec<_>>(), ["0", "1"]);
}

fn two_agents_are_kept() {
    let sshd = Sshd::start(&Setup {
        before: Some(
            "cd /var/lib; mkdir -p infra/agent; cd infra/agent\n\
             for old in 1 2 3; do [ -e ../made ] || touch -d 2020-01-0$old old$old; done\n\
             touch ../made; ls >\"$(dirname \"$0\")/list\"; cd /",
        ),
        ..Setup::default()
    });
    facts(&sshd, &sshd.settings()).unwrap();
    facts(&sshd, &sshd.settings()).unwrap();
    let list = std::fs::read_to_string(sshd.file("list")).unwrap();
    let names: Vec<&str> = list.split_whitespace().collect();
    assert_eq!((names.len(), names[1]), (2, "old3"));
}

fn one_login_serves_several_runs() {
    let sshd = Sshd::start(&Setup::default());
    let settings = sshd.settings();
    facts(&sshd, &settings).unwrap();
    // The client's key is gone: only a connection that is kept can still work.
    std::fs::remove_file(sshd.file("client")).unwrap();
    facts(&sshd, &settings).unwrap();
}

fn a_master_that_died_is_replaced() {
    let sshd = Sshd::start(&Setup::default());
    let settings = sshd.settings();
    facts(&sshd, &settings).unwrap();
    let sockets = || {
        let entries = std::fs::read_dir(sshd.file("infra")).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_none())
    };
    let socket = sockets().next().unwrap();
    // A socket on which nobody listens, as a crash leaves it.
    std::fs::remove_file(&socket).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    facts(&sshd, &settings).unwrap();
}

fn text_of_the_login_shell_is_skipped() {
    let sshd = Sshd::start(&Setup {
        before: Some("echo Welcome; printf '\\000infra'; echo warning >&2"),
        ..Setup::default()
    });
    facts(&sshd, &sshd.settings()).unwrap();
}

fn a_login_shell_that_talks_too_much_is_refused() {
    let sshd = Sshd::start(&Setup {
        before: Some("head -c 70000 /dev/zero | tr '\\0' x"),
        ..Setup::default()
    });
    assert_eq!(
        failure(&sshd, &sshd.settings()),
        "the login shell of `rufus` prints too much\n\
         caused by: more than 64 KiB came before the agent started\n\
         hint: make its profile quiet where the shell is not interactive"
    );
}

fn a_host_without_an_address_is_told() {
    let sshd = Sshd::start(&Setup::default());
    let settings = SshSettings { host: "no-such-host.invalid".to_owned(), ..sshd.settings() };
    let error = failure(&sshd, &settings);
    assert!(
        error.starts_with(
            "cannot reach `rufus`: there is no host `no-such-host.invalid`\n\
             caused by: ssh: Could not resolve hostname no-such-host.invalid: "
        ),
        "{error}"
    );
    assert!(
        error.ends_with("hint: check `ssh.host` in `inventory/rufus.yaml`, and the network"),
        "{error}"
    );
}

fn a_refused_connection_is_told() {
    let sshd = Sshd::start(&Setup::default());
    let settings = SshSettings { port: Some(1), ..sshd.settings() };
    assert_eq!(
        failure(&sshd, &settings),
        "cannot reach `rufus`: `127.0.0.1` refuses connections\n\
         caused by: ssh: connect to host 127.0.0.1 port 1: Connection refused\n\
         hint: check `ssh.host` and `ssh.port` in `inventory/rufus.yaml`, and that sshd runs"
    );
}

fn a_silent_server_is_told() {
    let sshd = Sshd::start(&Setup::default());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let settings = SshSettings { port: Some(port), ..sshd.settings() };
    assert_eq!(
        failure(&sshd, &settings),
        "cannot reach `rufus`: `127.0.0.1` does not answer\n\
         caused by: Connection timed out during banner exchange\n\
         hint: check `ssh.host` and `ssh.port` in `inventory/rufus.yaml`, the network and the \
         firewall"
    );
}

fn an_unknown_host_key_is_refused() {
    let sshd = Sshd::start(&Setup::default());
    let config = sshd.file("ssh_config_unknown");
    std::fs::write(&config, "UserKnownHostsFile /dev/null\nGlobalKnownHostsFile /dev/null\n")
        .unwrap();
    let settings =
        SshSettings { host_keys: Vec::new(), config_file: Some(config), ..sshd.settings() };
    assert_eq!(
        failure(&sshd, &settings),
        "the host key of `rufus` is not known\n\
         caused by: No ED25519 host key is known for [127.0.0.1]:PORT and you have requested \
         strict checking.\n  Host key verification failed.\n\
         hint: compare what `ssh-keyscan -p PORT 127.0.0.1` prints with the server's own \
         `/etc/ssh/ssh_host_ed25519_key.pub`, then write it into `inventory/rufus.yaml` as \
         `ssh.host_key`"
    );
}

fn a_changed_host_key_is_refused() {
    let sshd = Sshd::start(&Setup::default());
    let settings =
        SshSettings { host_keys: vec![sshd.public_key("other_host")], ..sshd.settings() };
    let [shown, known] = ["host", "other_host"].map(|key| {
        let listed = std::process::Command::new("ssh-keygen")
            .arg("-lf")
            .arg(sshd.file(key))
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        listed.split_whitespace().nth(1).unwrap().to_owned()
    });
    assert_eq!(
        failure(&sshd, &settings),
        format!(
            "`rufus` shows another host key than the one we know: someone may be in between, or the \
             server was installed anew\n\
             caused by: the server shows `{shown}`, its inventory has `{known}`\n\
             hint: ask whoever runs the server; if the new key is right, change `ssh.host_key` in \
             `inventory/rufus.yaml`"
        )
    );
}

fn a_wrong_login_key_is_told() {
    let sshd = Sshd::start(&Setup::default());
    let settings =
        SshSettings { identity_file: Some(sshd.file("other_client")), ..sshd.settings() };
    assert_eq!(
        failure(&sshd, &settings),
        "`rufus` does not let `root@127.0.0.1` in\n\
         caused by: root@127.0.0.1: Permission denied (publickey).\n\
         hint: check that `ssh root@127.0.0.1` works; `ssh.user` in \
         `inventory/rufus.yaml` and `--ssh-identity` say who we are"
    );
}

/// Stands for a login user that is not root: `id` says so until sudo has run.
const NOT_ROOT: (&str, &str) = ("id", "if [ -n \"$SUDO\" ]; then echo 0; else echo 1000; fi");

/// A sudo that wants `hunter2`.
const SUDO: (&str, &str) = (
    "sudo",
    "printf %s \"$3\" >&2; read -r password\n\
     if [ \"$password\" = hunter2 ]; then shift 4; SUDO=1 exec \"$@\"; fi\n\
     echo 'Sorry, try again.' >&2; printf %s \"$3\" >&2; read -r password\n\
     echo 'sudo: 2 incorrect password attempts' >&2; exit 1",
);

/// Somebody who knows the password.
struct Typist;

impl Terminal for Typist {
    fn ask(&self, question: &str) -> std::io::Result<String> {
        assert_eq!(question, "sudo password of the login user on rufus: ");
        Ok("hunter2".to_owned())
    }

    fn is_asking(&self, _: bool) {}
}

/// Settings that do not say that the login user is root.
fn as_a_user(sshd: &Sshd) -> SshSettings {
    let settings = SshSettings { user: None, ..sshd.settings() };
    std::fs::write(settings.config_file.as_ref().unwrap(), "User root\n").unwrap();
    settings
}

/// Somebody who types the password of one server, and writes down what is asked.
#[derive(Default)]
struct Careful {
    questions: std::sync::Mutex<Vec<String>>,
}

impl Terminal for Careful {
    fn ask(&self, question: &str) -> std::io::Result<String> {
        self.questions.lock().unwrap().push(question.to_owned());
        let is_known = question.contains("on rufus");
        is_known.then(|| "hunter2".to_owned()).ok_or_else(|| std::io::Error::other("not for it"))
    }

    fn is_asking(&self, _: bool) {}
}

/// A server that plays sudo, with and without the script's word that sudo is called.
fn the_password_of_one_server_goes_to_no_other() {
    let thief = "printf infra-sudo-password: >&2; read -r stolen; \
                 echo \"$stolen\" >\"$(dirname \"$0\")/stolen\"; exit 1";
    for (word, is_root, asks) in
        [("", false, 0), ("\\000infra-sudo-1\\n", false, 1), ("\\000infra-sudo-1\\n", true, 0)]
    {
        let good = Sshd::start(&Setup { programs: &[NOT_ROOT, SUDO], ..Setup::default() });
        let before = format!("printf '{word}'; {thief}");
        let evil = Sshd::start(&Setup { before: Some(&before), ..Setup::default() });
        let terminal = Arc::new(Careful::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let error = runtime.block_on(async {
            let person = Person::new(Some(Arc::clone(&terminal) as Arc<dyn Terminal>));
            let transport =
                Transport::new(Some(good.folder.path()), person, Some(relay())).unwrap();
            let settings = as_a_user(&good);
            let mut link =
                transport.connect(Login { server: "rufus", settings: &settings }).await.unwrap();
            link.send(&Request::Facts).await.unwrap();
            link.receive().await.unwrap();
            let settings = if is_root { evil.settings() } else { as_a_user(&evil) };
            let login = Login { server: "evil", settings: &settings };
            let connect =
                tokio::time::timeout(std::time::Duration::from_secs(5), transport.connect(login));
            connect.await.map(|link| link.map(drop).unwrap_err().to_string())
        });
        let questions = terminal.questions.lock().unwrap().clone();
        let evil_ones = questions.iter().filter(|question| question.contains("evil")).count();
        assert_eq!(evil_ones, asks, "{questions:?}: {error:?}");
        let stolen = std::fs::read_to_string(evil.file("stolen")).unwrap_or_default();
        assert!(!stolen.contains("hunter2"), "{stolen}");
    }
}

fn sudo_gets_the_password() {
    let sshd = Sshd::start(&Setup { programs: &[NOT_ROOT, SUDO], ..Setup::default() });
    let settings = SshSettings { sudo_password: Some(Secret::new("hunter2")), ..as_a_user(&sshd) };
    facts(&sshd, &settings).unwrap();
    facts_with(sshd.folder.path(), &as_a_user(&sshd), Some(Arc::new(Typist))).unwrap();
}

fn sudo_without_anybody_to_ask_is_told() {
    let sshd = Sshd::start(&Setup { programs: &[NOT_ROOT, SUDO], ..Setup::default() });
    assert_eq!(
        failure(&sshd, &as_a_user(&sshd)),
        "sudo on `rufus` asks for the password of `the login user`\n\
         hint: run at a terminal, set `ssh.sudo.password`, or let sudo ask for none"
    );
}

fn a_wrong_sudo_password_is_told() {
    let sshd = Sshd::start(&Setup { programs: &[NOT_ROOT, SUDO], ..Setup::default() });
    let settings = SshSettings { sudo_password: Some(Secret::new("wrong")), ..as_a_user(&sshd) };
    assert_eq!(failure(&sshd, &settings), "wrong sudo password for `the login user` on `rufus`");
}

fn a_refusal_of_sudo_is_told() {
    let refusal = ("sudo", "echo 'deploy is not in the sudoers file.' >&2; exit 1");
    let sshd = Sshd::start(&Setup { programs: &[NOT_ROOT, refusal], ..Setup::default() });
    assert_eq!(
        failure(&sshd, &as_a_user(&sshd)),
        "`the login user` may not use sudo on `rufus`\n\
         caused by: deploy is not in the sudoers file.\n\
         hint: let `the login user` use sudo there, or set `ssh.user` to `root`"
    );
}

fn a_server_without_sudo_is_told() {
    let sshd = Sshd::start(&Setup { programs: &[NOT_ROOT], ..Setup::default() });
    assert_eq!(
        failure(&sshd, &as_a_user(&sshd)),
        "`the login user` is not root on `rufus`\n\
         caused by: infra: the login user is not root and there is no sudo\n\
         hint: install sudo there, or set `ssh.user` to `root`"
    );
}

fn a_full_disk_is_told() {
    let sshd = Sshd::start(&Setup { disk: Some("64k"), ..Setup::default() });
    let error = failure(&sshd, &sshd.settings());
    assert_eq!(
        error,
        "no space is left on `rufus` for the agent\n\
         caused by: gzip: stdout: No space left on device\n  \
         infra: cannot store the agent in /var/lib/infra/agent\n\
         hint: free some space on `/var`"
    );
}

fn a_processor_without_an_agent_is_told() {
    let sshd = Sshd::start(&Setup { programs: &[("uname", "echo riscv64")], ..Setup::default() });
    assert_eq!(
        failure(&sshd, &sshd.settings()),
        "this `infra` has no agent for `riscv64`, the processor of `rufus`\n\
         caused by: it carries agents for: `x86_64`, `aarch64`\n\
         hint: build it with the target of that processor installed"
    );
}
