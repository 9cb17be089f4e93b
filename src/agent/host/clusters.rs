//! The PostgreSQL clusters of the host: those that Debian's tools have set up, and those that run.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::accounts::Accounts;
use super::files;
use crate::error::{Error, Kind, Result};
use crate::resources::probe;

/// Where Debian's clusters have their sockets.
pub(super) const SOCKETS: &str = "/run/postgresql";

/// Where Debian's clusters have their configuration, by version and name.
const CLUSTERS: &str = "/etc/postgresql";

/// One running cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// Its version and name, such as `15/main`; nothing for one that Debian's tools do not know.
    name: Option<String>,
    pub(super) port: u16,
    /// Whose it is: the user that may connect as its superuser.
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// One that Debian's tools have set up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configured {
    version: u32,
    /// Version and name, such as `15/main`.
    name: String,
    /// Whether it starts with the host: `pg_upgradecluster` leaves the old one with `manual`.
    starts: bool,
}

/// The running cluster that is meant.
///
/// # Errors
/// When there is none, when it is stopped, or when several could be meant.
pub(super) fn find(wanted: &probe::Cluster) -> Result<Running> {
    choose(wanted, running(), &configured(Path::new(CLUSTERS)))
}

fn choose(
    wanted: &probe::Cluster,
    running: Vec<Running>,
    configured: &[Configured],
) -> Result<Running> {
    match wanted {
        probe::Cluster::Named(name) => named(name, running, configured),
        probe::Cluster::Port(port) => {
            let found = running.into_iter().find(|cluster| cluster.port == *port);
            found.ok_or_else(|| {
                let message = format!("no PostgreSQL cluster answers on port {port}");
                let hint = "`pg_lsclusters` on the server lists the clusters and their ports";
                Error::new(Kind::ToolMissing, message).hint(hint)
            })
        }
        probe::Cluster::Only => only(running, configured),
    }
}

fn named(name: &str, running: Vec<Running>, configured: &[Configured]) -> Result<Running> {
    let is_there = configured.iter().any(|cluster| cluster.name == name);
    let found = running.into_iter().find(|cluster| cluster.name.as_deref() == Some(name));
    found.ok_or_else(|| {
        if is_there {
            return stopped(name);
        }
        Error::new(Kind::ToolMissing, format!("there is no PostgreSQL cluster `{name}`"))
            .hint("`pg_lsclusters` on the server lists the clusters")
    })
}

/// The one cluster that the host starts; or the one that runs, if it starts none by itself.
fn only(mut running: Vec<Running>, configured: &[Configured]) -> Result<Running> {
    let started: Vec<&Configured> = configured.iter().filter(|cluster| cluster.starts).collect();
    match (started.as_slice(), running.len()) {
        ([one], _) => named(&one.name, running, configured),
        ([], 1) => running.pop().ok_or_else(|| not_answering(configured)),
        (_, 0) => Err(not_answering(configured)),
        ([], _) => Err(several(&running.iter().map(described).collect::<Vec<_>>())),
        (several_start, _) => {
            let names = several_start.iter().map(|cluster| cluster.name.clone());
            Err(several(&names.collect::<Vec<_>>()))
        }
    }
}

fn described(cluster: &Running) -> String {
    cluster.name.clone().unwrap_or_else(|| format!("port {}", cluster.port))
}

fn several(clusters: &[String]) -> Error {
    let listed = clusters.join("`, `");
    Error::failed(format!("several PostgreSQL clusters could be meant: `{listed}`")).hint(
        "say which by `cluster` or `port`; a cluster whose `start.conf` says `manual` does not count",
    )
}

fn stopped(name: &str) -> Error {
    let unit = format!("postgresql@{}", name.replacen('/', "-", 1));
    Error::new(Kind::ToolMissing, format!("the PostgreSQL cluster `{name}` is stopped"))
        .hint(format!("declare `service: {unit}` before this"))
}

/// `postgresql.service` itself counts as active while all of its clusters are stopped.
fn not_answering(configured: &[Configured]) -> Error {
    let newest = configured.iter().rev().min_by_key(|cluster| {
        (!cluster.starts, std::cmp::Reverse(cluster.version), cluster.name.clone())
    });
    if let Some(newest) = newest {
        return stopped(&newest.name);
    }
    Error::new(Kind::ToolMissing, format!("PostgreSQL does not answer on `{SOCKETS}`"))
        .hint("declare the package `postgresql` and its service before this resource")
}

/// The clusters below a folder like `/etc/postgresql`, sorted.
fn configured(folder: &Path) -> Vec<Configured> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let mut clusters = Vec::new();
    for version in names(folder) {
        let Ok(number) = version.parse() else { continue };
        for name in names(&folder.join(&version)) {
            let start = folder.join(&version).join(&name).join("start.conf");
            let start = start.to_str().and_then(text_of).unwrap_or_default();
            let name = format!("{version}/{name}");
            clusters.push(Configured { version: number, name, starts: starts(&start) });
        }
    }
    clusters.sort();
    clusters
}

/// Whether a `start.conf` lets the cluster start with the host, which it does by default.
fn starts(start_conf: &str) -> bool {
    let lines = start_conf.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.into_iter().find(|line| !line.is_empty()).is_none_or(|word| word == "auto")
}

/// The running clusters, as the lock files beside the sockets tell.
fn running() -> Vec<Running> {
    let entries = std::fs::read_dir(SOCKETS).into_iter().flatten().flatten();
    let clusters = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let port = name.strip_prefix(".s.PGSQL.")?.parse().ok()?;
        let socket = entry.metadata().ok()?;
        let lock = entry.path().with_file_name(format!("{name}.lock"));
        let pid = lock_owner(&text_of(lock.to_str()?)?)?;
        // The lock of a cluster that was killed stays.
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let name = cluster_of(&String::from_utf8_lossy(&arguments));
        Some(Running { name, port, uid: socket.uid(), gid: socket.gid() })
    });
    clusters.collect()
}

/// The text of a file that PostgreSQL's user may have put there.
fn text_of(path: &str) -> Option<String> {
    let (content, _) = files::read(path, &Accounts::default()).ok()??;
    String::from_utf8(content).ok()
}

/// The process that a socket's lock file names in its first line.
fn lock_owner(lock: &str) -> Option<u32> {
    lock.lines().next()?.trim().parse().ok()
}

/// The version and name that Debian's tools start a server with:
/// `-c config_file=/etc/postgresql/15/main/postgresql.conf`.
fn cluster_of(arguments: &str) -> Option<String> {
    let start = format!("config_file={CLUSTERS}/");
    let path = arguments.split('\0').find_map(|argument| argument.strip_prefix(&start))?;
    let mut parts = path.split('/');
    Some(format!("{}/{}", parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(name: &str, port: u16) -> Running {
        let name = (!name.is_empty()).then(|| name.to_owned());
        Running { name, port, uid: 1, gid: 1 }
    }

    fn set_up(version: u32, name: &str, starts: bool) -> Configured {
        Configured { version, name: format!("{version}/{name}"), starts }
    }

    #[test]
    fn reads_whose_a_socket_is() {
        let lock = "4242\n/var/lib/postgresql/15/main\n1733050000\n5432\n/run/postgresql\n";
        assert_eq!((lock_owner(lock), lock_owner("")), (Some(4242), None));
        let arguments = "/usr/lib/postgresql/15/bin/postgres\0-D\0/mnt/data\0-c\0\
                         config_file=/etc/postgresql/15/main/postgresql.conf\0";
        assert_eq!(cluster_of(arguments).as_deref(), Some("15/main"));
        assert_eq!(cluster_of("postgres\0-D\0/srv/pg\0"), None);
    }

    #[test]
    fn reads_what_is_set_up() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(configured(folder.path()), []);
        for (cluster, start) in
            [("9/main", "# automatic\n\nmanual # now\n"), ("15/main", "auto\n"), ("old/main", "")]
        {
            std::fs::create_dir_all(folder.path().join(cluster)).unwrap();
            std::fs::write(folder.path().join(cluster).join("start.conf"), start).unwrap();
        }
        std::fs::create_dir_all(folder.path().join("15/archive")).unwrap();
        let expected =
            [set_up(9, "main", false), set_up(15, "archive", true), set_up(15, "main", true)];
        assert_eq!(configured(folder.path()), expected);
    }

    /// The name or port that is found, or the error.
    fn found(wanted: &probe::Cluster, run: &[Running], set_up: &[Configured]) -> String {
        match choose(wanted, run.to_vec(), set_up) {
            Ok(cluster) => described(&cluster),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_only_cluster_is_the_one_that_starts() {
        let only = probe::Cluster::Only;
        let both = [running("13/main", 5433), running("15/main", 5432)];
        // As `pg_upgradecluster` leaves them; the old one was started once more to compare.
        let upgraded = [set_up(13, "main", false), set_up(15, "main", true)];
        assert_eq!(found(&only, &both, &upgraded), "15/main");
        // The new one has ended: nothing goes to the old one for it.
        assert_eq!(
            found(&only, &both[..1], &upgraded),
            "the PostgreSQL cluster `15/main` is stopped\n\
             hint: declare `service: postgresql@15-main` before this"
        );
        let beside = [set_up(13, "main", true), set_up(15, "main", true)];
        assert_eq!(
            found(&only, &both, &beside),
            "several PostgreSQL clusters could be meant: `13/main`, `15/main`\n\
             hint: say which by `cluster` or `port`; a cluster whose `start.conf` says `manual` does \
             not count"
        );
        assert_eq!(found(&only, &[running("", 5432)], &[]), "port 5432");
        let none = "PostgreSQL does not answer on `/run/postgresql`\n\
                    hint: declare the package `postgresql` and its service before this resource";
        assert_eq!(found(&only, &[], &[]), none);
        let stopped = "the PostgreSQL cluster `15/main` is stopped\n\
                       hint: declare `service: postgresql@15-main` before this";
        assert_eq!(found(&only, &[], &beside), stopped);
    }

    #[test]
    fn a_cluster_is_named_or_has_a_port() {
        let both = [running("13/main", 5433), running("15/main", 5432)];
        let set_up = [set_up(13, "main", true), set_up(14, "x", true), set_up(15, "main", true)];
        let find = |wanted: probe::Cluster| found(&wanted, &both, &set_up);
        let named = |name: &str| probe::Cluster::Named(name.to_owned());
        assert_eq!(find(named("13/main")), "13/main");
        assert_eq!(find(probe::Cluster::Port(5433)), "13/main");
        assert_eq!(
            find(named("14/x")),
            "the PostgreSQL cluster `14/x` is stopped\n\
             hint: declare `service: postgresql@14-x` before this"
        );
        assert_eq!(
            find(named("16/main")),
            "there is no PostgreSQL cluster `16/main`\n\
             hint: `pg_lsclusters` on the server lists the clusters"
        );
        assert_eq!(
            find(probe::Cluster::Port(1)),
            "no PostgreSQL cluster answers on port 1\n\
             hint: `pg_lsclusters` on the server lists the clusters and their ports"
        );
    }
}
