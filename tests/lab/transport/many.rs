//! Many servers behind one sshd, which lets few people wait at its door.

use std::path::PathBuf;
use std::sync::Arc;

use infra::error::Error;
use infra::inventory::connection::SshSettings;
use infra::transport::{Login, Person, Transport};
use tokio::task::JoinSet;

use super::relay;
use crate::sshd::{Setup, Sshd};

crate::tests! {
    fifty_names_of_one_server_are_reached = 15,
    fifty_servers_behind_one_host_are_reached = 20,
    a_server_that_turns_everybody_away_is_told = 10,
}

/// As sshd has it where nothing is said.
const USUAL: &str = "MaxStartups 10:30:100";

/// Connects to fifty servers at once, in two runs that know nothing of each other; returns the errors.
fn connect_all(sshd: &Sshd, settings: &SshSettings) -> Vec<Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut logins = JoinSet::new();
        for run in 0..2 {
            let folder = sshd.folder.path();
            let transport = Transport::new(Some(folder), Person::new(None), Some(relay())).unwrap();
            let transport = Arc::new(transport);
            for number in 0..25 {
                let (transport, settings) = (Arc::clone(&transport), settings.clone());
                logins.spawn(async move {
                    let server = format!("s{run}-{number}");
                    let login = Login { server: &server, settings: &settings };
                    transport.connect(login).await.map(drop)
                });
            }
        }
        let ended = logins.join_all().await;
        ended.into_iter().filter_map(Result::err).collect()
    })
}

fn fifty_names_of_one_server_are_reached() {
    let sshd = Sshd::start(&Setup { config: USUAL, ..Setup::default() });
    let errors = connect_all(&sshd, &sshd.settings());
    assert!(errors.is_empty(), "{} of 50: {}", errors.len(), errors[0]);
}

/// A configuration that reaches the sshd `behind` over the sshd `gate` alone.
fn jump(gate: &Sshd, behind: &Sshd) -> PathBuf {
    let config = gate.file("ssh_config_jump");
    let text = format!(
        "Host jump\n  HostName 127.0.0.1\n  Port {}\n  User root\n  IdentityFile {}\n  \
         UserKnownHostsFile {}\n  StrictHostKeyChecking yes\nHost behind\n  HostName 127.0.0.1\n  \
         Port {}\n  ProxyJump jump\n",
        gate.port,
        gate.file("client").display(),
        gate.file("known").display(),
        behind.port,
    );
    std::fs::write(&config, text).unwrap();
    let known = format!("[127.0.0.1]:{} {}\n", gate.port, gate.public_key("host"));
    std::fs::write(gate.file("known"), known).unwrap();
    config
}

fn fifty_servers_behind_one_host_are_reached() {
    let gate = Sshd::start(&Setup { config: USUAL, ..Setup::default() });
    let behind = Sshd::start(&Setup { config: "MaxStartups 200", ..Setup::default() });
    let settings = SshSettings {
        host: "behind".to_owned(),
        port: None,
        config_file: Some(jump(&gate, &behind)),
        ..behind.settings()
    };
    let errors = connect_all(&gate, &settings);
    assert!(errors.is_empty(), "{} of 50: {}", errors.len(), errors[0]);
}

fn a_server_that_turns_everybody_away_is_told() {
    let sshd = Sshd::start(&Setup::default());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    let attempts = std::thread::spawn(move || {
        let attempts = closed.incoming().take(4).map(|stream| drop(stream.unwrap()));
        attempts.count()
    });
    let settings = SshSettings { port: Some(port), ..sshd.settings() };
    let error = super::failure(&sshd, &settings);
    let told = "`rufus` closed the connection before the login\n";
    assert!(error.starts_with(told), "{error}");
    assert_eq!(attempts.join().unwrap(), 4);
}
