//! The server that plays the outside world for the others: they ask it for names and trust what it
//! signs, and programs on this machine can do so too.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::program::Program;
use super::server::Server;
use super::{Lab, network, not_up};
use crate::error::{Context as _, Error, Result};
use crate::inventory::INTERNET;

/// The script that each server runs to be part of the lab.
const REJOIN: &str = include_str!("rejoin.sh");

/// The certificates of the lab's authorities, on the server that has them.
const ROOTS: &str = "/var/lib/lab-internet/roots.pem";

/// The program that names the resolvers for all that the lab does not know, on that server.
const UPSTREAM: &str = "/usr/local/lib/lab-internet/upstream";

/// The program that lists mail and prints messages, on that server.
const MAIL: &str = "/usr/local/lib/lab-internet/mail";

/// The most that these certificates may hold, in bytes.
const MOST_ROOTS: usize = 64 * 1024;

/// How long the authorities may take to start, which they do with certificates of their own.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a server may take to ask for all of its certificates anew.
const REJOIN_TIMEOUT: Duration = Duration::from_mins(10);

/// The certificates that programs of this machine trust.
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Runs a program with other files in three places of its own view of the file system.
const WITH_FILES: &str = "\
mount --bind \"$1/resolv.conf\" /etc/resolv.conf &&
mount --bind \"$1/nsswitch.conf\" /etc/nsswitch.conf &&
mount --bind \"$1/ca-certificates.crt\" /etc/ssl/certs/ca-certificates.crt || exit 125
shift
exec \"$@\"";

/// Names are asked of the resolver that `resolv.conf` names, and of nobody beside it.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

impl Lab {
    /// Lets all servers that are up ask the outside world of the lab for names and trust its
    /// authorities. Certificates that it gave before it started anew are made anew.
    ///
    /// # Errors
    /// When a server cannot be reached, or cannot become part of the lab.
    pub fn join(&self, notice: &dyn Fn(&str)) -> Result<()> {
        let internet = self.find_up(INTERNET)?;
        let mut words = vec!["systemctl", "start", "lab-pebble", "&&"];
        // This machine may be in another network than when the server was saved.
        let upstreams = network::upstreams();
        if !upstreams.is_empty() {
            words.push(UPSTREAM);
            words.extend(upstreams.iter().map(String::as_str));
            words.push("&&");
        }
        words.extend(["cat", ROOTS]);
        let roots = internet.ssh(&self.folder, &words, START_TIMEOUT)?;
        if !roots.success || roots.stdout.len() > MOST_ROOTS || !roots.stdout.contains("BEGIN") {
            return Err(Error::failed(format!("`{INTERNET}` has no certificates of the lab"))
                .because(roots.complaint)
                .hint(format!("run `infra apply {INTERNET} --lab`")));
        }
        let address = internet.address.to_string();
        self.write_view(&address, &roots.stdout)?;
        let servers = Server::all(&self.folder)?;
        let others: Vec<&Server> = servers
            .iter()
            .filter(|server| server.name != INTERNET && server.process(&self.folder).is_some())
            .collect();
        let join = |server: &Server| self.join_one(server, &address, &roots.stdout);
        let results: Vec<Result<Vec<String>>> = std::thread::scope(|scope| {
            let running: Vec<_> =
                others.iter().map(|server| scope.spawn(move || join(server))).collect();
            let ended = |name: &str| Err(Error::failed(format!("`{name}` could not be asked")));
            let named = running.into_iter().zip(&others);
            named.map(|(it, server)| it.join().unwrap_or_else(|_| ended(&server.name))).collect()
        });
        for warning in results.into_iter().collect::<Result<Vec<_>>>()?.concat() {
            notice(&warning);
        }
        notice(&format!("{INTERNET}: the names of the lab resolve on {} servers", others.len()));
        Ok(())
    }

    /// Returns what the server warns of.
    fn join_one(&self, server: &Server, address: &str, roots: &str) -> Result<Vec<String>> {
        let script = format!("sh -c '{}' rejoin {address}", REJOIN.replace('\'', "'\\''"));
        let config = self.folder.ssh_config();
        let config = config.to_string_lossy();
        let arguments = ["ssh", "-F", &config, "-o", "BatchMode=yes", &server.name, &script];
        let output = Program::new(arguments).stdin(roots).timeout(REJOIN_TIMEOUT).output()?;
        if !output.success {
            let message = format!("`{}` cannot become part of the lab", server.name);
            return Err(Error::failed(message).because(output.complaint));
        }
        // Its first line says how the program ended.
        let warnings = output.complaint.lines().skip(1);
        Ok(warnings.map(|line| format!("{}: {line}", server.name)).collect())
    }

    /// The list of all mail that was sent, a line of JSON for each message, or the message `number`.
    ///
    /// # Errors
    /// When the server that keeps the mail is not up, or has no such message.
    pub fn mail(&self, number: Option<u32>) -> Result<String> {
        let internet = self.find_up(INTERNET)?;
        let number = number.map(|number| number.to_string());
        let words: Vec<&str> = match &number {
            Some(number) => vec!["show", number],
            None => vec!["list"],
        };
        // The account that took a message reads it.
        let words = [&["runuser", "-u", "lab-mail", "--", MAIL], &words[..]].concat();
        let output = internet.ssh(&self.folder, &words, Duration::from_secs(30))?;
        if output.success {
            return Ok(output.stdout);
        }
        Err(Error::failed("the mail of the lab cannot be read").because(output.complaint))
    }

    /// Writes the files that programs of this machine see instead of their own.
    fn write_view(&self, address: &str, roots: &str) -> Result<()> {
        let folder = self.view();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).context(|| format!("cannot write `{}`", path.display()))
        };
        fs::create_dir_all(&folder).context(|| format!("cannot make `{}`", folder.display()))?;
        let trusted = fs::read_to_string(TRUSTED).unwrap_or_default();
        write("ca-certificates.crt", &format!("{trusted}\n{roots}"))?;
        write("nsswitch.conf", NSSWITCH)?;
        write("resolv.conf", &format!("nameserver {address}\n"))
    }

    fn view(&self) -> PathBuf {
        self.folder.root().join("view")
    }

    /// The beginning of a command line: what follows it runs on this machine, finds the names of the
    /// lab, and trusts its certificates.
    ///
    /// # Errors
    /// When the server that has them is not up, or this machine has no file that can be covered.
    pub fn inside(&self) -> Result<Vec<String>> {
        self.find_up(INTERNET)?;
        if !self.view().join("resolv.conf").exists() {
            return Err(not_up(INTERNET));
        }
        for path in [TRUSTED, "/etc/resolv.conf", "/etc/nsswitch.conf"] {
            if !Path::new(path).exists() {
                return Err(Error::failed(format!("this machine has no `{path}`"))
                    .hint("install `ca-certificates`"));
            }
        }
        let view = self.view().to_string_lossy().into_owned();
        let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", WITH_FILES];
        Ok(words.into_iter().map(str::to_owned).chain(["sh".to_owned(), view]).collect())
    }
}
