//! What well-known packages bring, so that a preview of a bare server can see past them.
//!
//! No question to apt can tell what a package that is not downloaded yet will put in place. For
//! the packages here it is written down, as Debian 12 and 13 have them: units, users, groups, and
//! those folders and files that configuration usually replaces or removes. What is not listed is
//! not predicted, and resources that need it are previewed as new.

use crate::resources::account;
use crate::resources::prediction::Prediction;
use crate::resources::probe::{Facts, GroupEntry, Probe, Unit, UserEntry};

/// One thing that a package brings.
enum Thing {
    /// A unit that is enabled when its package is installed.
    Unit(&'static str),
    /// A unit that stays disabled.
    DisabledUnit(&'static str),
    /// A unit that others pull in.
    StaticUnit(&'static str),
    /// A user with a primary group of the same name, its home and its shell.
    User(&'static str, &'static str, &'static str),
    /// A group.
    Group(&'static str),
    /// A folder of root with mode 0755.
    Folder(&'static str),
    /// A folder with an owner, a group and a mode.
    OwnedFolder(&'static str, &'static str, &'static str, u32),
    /// A file of root with mode 0644, whose content is not known.
    File(&'static str),
    /// A symlink and its target.
    Link(&'static str, &'static str),
    /// Everything that another package of this table brings.
    Package(&'static str),
}

use Thing::{
    DisabledUnit, File, Folder, Group, Link, OwnedFolder, Package, StaticUnit, Unit as EnabledUnit,
    User,
};

const NOLOGIN: &str = "/usr/sbin/nologin";

/// Packages by name, sorted. `{php}` and `{pg}` are the versions of PHP and PostgreSQL that the
/// name holds or, for the packages without a version, that the release of Debian has.
const TABLE: &[(&str, &[Thing])] = &[
    ("borgmatic", &[StaticUnit("borgmatic.service"), EnabledUnit("borgmatic.timer")]),
    (
        "certbot",
        &[
            StaticUnit("certbot.service"),
            EnabledUnit("certbot.timer"),
            Folder("/etc/letsencrypt"),
            File("/etc/letsencrypt/cli.ini"),
        ],
    ),
    (
        "chrony",
        &[
            EnabledUnit("chrony.service"),
            User("_chrony", "/var/lib/chrony", NOLOGIN),
            Folder("/etc/chrony"),
            File("/etc/chrony/chrony.conf"),
            Folder("/etc/chrony/conf.d"),
            Folder("/etc/chrony/sources.d"),
        ],
    ),
    // Docker's own packages: https://docs.docker.com/engine/install/debian/ names them.
    ("containerd.io", &[EnabledUnit("containerd.service")]),
    (
        "cron",
        &[
            EnabledUnit("cron.service"),
            Group("crontab"),
            Folder("/etc/cron.d"),
            File("/usr/sbin/cron"),
        ],
    ),
    (
        "docker-ce",
        &[
            EnabledUnit("containerd.service"),
            EnabledUnit("docker.service"),
            EnabledUnit("docker.socket"),
            Group("docker"),
            Folder("/etc/docker"),
        ],
    ),
    (
        "docker.io",
        &[
            EnabledUnit("containerd.service"),
            EnabledUnit("docker.service"),
            EnabledUnit("docker.socket"),
            Group("docker"),
            Folder("/etc/docker"),
        ],
    ),
    (
        "fail2ban",
        &[
            EnabledUnit("fail2ban.service"),
            Folder("/etc/fail2ban"),
            Folder("/etc/fail2ban/action.d"),
            Folder("/etc/fail2ban/fail2ban.d"),
            Folder("/etc/fail2ban/filter.d"),
            Folder("/etc/fail2ban/jail.d"),
            File("/etc/fail2ban/jail.d/defaults-debian.conf"),
        ],
    ),
    (
        "haproxy",
        &[
            EnabledUnit("haproxy.service"),
            User("haproxy", "/var/lib/haproxy", NOLOGIN),
            Folder("/etc/haproxy"),
            File("/etc/haproxy/haproxy.cfg"),
        ],
    ),
    ("logrotate", &[StaticUnit("logrotate.service"), EnabledUnit("logrotate.timer")]),
    (
        "mariadb-server",
        &[
            EnabledUnit("mariadb.service"),
            User("mysql", "/nonexistent", "/bin/false"),
            Folder("/etc/mysql"),
            Folder("/etc/mysql/conf.d"),
            Folder("/etc/mysql/mariadb.conf.d"),
        ],
    ),
    (
        "memcached",
        &[
            EnabledUnit("memcached.service"),
            User("memcache", "/nonexistent", "/bin/false"),
            File("/etc/memcached.conf"),
        ],
    ),
    ("nftables", &[DisabledUnit("nftables.service"), File("/etc/nftables.conf")]),
    (
        "nginx",
        &[
            EnabledUnit("nginx.service"),
            Folder("/etc/nginx"),
            Folder("/etc/nginx/conf.d"),
            File("/etc/nginx/nginx.conf"),
            Folder("/etc/nginx/modules-available"),
            Folder("/etc/nginx/modules-enabled"),
            Folder("/etc/nginx/sites-available"),
            File("/etc/nginx/sites-available/default"),
            Folder("/etc/nginx/sites-enabled"),
            Link("/etc/nginx/sites-enabled/default", "/etc/nginx/sites-available/default"),
            Folder("/etc/nginx/snippets"),
            Folder("/etc/logrotate.d"),
            File("/etc/logrotate.d/nginx"),
            Folder("/var/www"),
            Folder("/var/www/html"),
        ],
    ),
    (
        "openssh-server",
        &[
            EnabledUnit("ssh.service"),
            DisabledUnit("ssh.socket"),
            Folder("/etc/ssh"),
            File("/etc/ssh/sshd_config"),
            Folder("/etc/ssh/sshd_config.d"),
        ],
    ),
    ("php-fpm", &[Package("php{php}-fpm")]),
    (
        "php{php}-fpm",
        &[
            EnabledUnit("php{php}-fpm.service"),
            Folder("/etc/php"),
            Folder("/etc/php/{php}"),
            Folder("/etc/php/{php}/cli"),
            Folder("/etc/php/{php}/cli/conf.d"),
            Folder("/etc/php/{php}/fpm"),
            Folder("/etc/php/{php}/fpm/conf.d"),
            File("/etc/php/{php}/fpm/php-fpm.conf"),
            File("/etc/php/{php}/fpm/php.ini"),
            Folder("/etc/php/{php}/fpm/pool.d"),
            File("/etc/php/{php}/fpm/pool.d/www.conf"),
            Folder("/etc/php/{php}/mods-available"),
        ],
    ),
    (
        "postfix",
        &[
            EnabledUnit("postfix.service"),
            User("postfix", "/var/spool/postfix", NOLOGIN),
            Group("postdrop"),
            Folder("/etc/postfix"),
            File("/etc/postfix/main.cf"),
            File("/etc/postfix/master.cf"),
        ],
    ),
    ("postgresql", &[Package("postgresql-{pg}")]),
    (
        "postgresql-{pg}",
        &[
            EnabledUnit("postgresql.service"),
            EnabledUnit("postgresql@{pg}-main.service"),
            User("postgres", "/var/lib/postgresql", "/bin/bash"),
            Group("ssl-cert"),
            OwnedFolder("/etc/postgresql", "postgres", "postgres", 0o755),
            OwnedFolder("/etc/postgresql/{pg}", "postgres", "postgres", 0o755),
            OwnedFolder("/etc/postgresql/{pg}/main", "postgres", "postgres", 0o755),
            OwnedFolder("/etc/postgresql/{pg}/main/conf.d", "postgres", "postgres", 0o755),
            OwnedFolder("/var/lib/postgresql", "postgres", "postgres", 0o755),
        ],
    ),
    (
        "redis-server",
        &[
            EnabledUnit("redis-server.service"),
            User("redis", "/var/lib/redis", NOLOGIN),
            OwnedFolder("/etc/redis", "redis", "redis", 0o2770),
        ],
    ),
    (
        "rsyslog",
        &[EnabledUnit("rsyslog.service"), Folder("/etc/rsyslog.d"), File("/etc/rsyslog.conf")],
    ),
    ("sudo", &[Group("sudo"), OwnedFolder("/etc/sudoers.d", "root", "root", 0o755)]),
    (
        "unattended-upgrades",
        &[
            EnabledUnit("unattended-upgrades.service"),
            File("/etc/apt/apt.conf.d/20auto-upgrades"),
            File("/etc/apt/apt.conf.d/50unattended-upgrades"),
        ],
    ),
];

/// Records what the installation of `package` brings, as far as it is known.
pub(super) fn predict_installation(package: &str, world: &mut Prediction<'_>) {
    let Some((things, versions)) = look_up(package, world.facts()) else { return };
    for thing in things {
        predict_thing(thing, &versions, world);
    }
}

/// Records which units go with `package`. Its users and its configuration stay.
pub(super) fn predict_removal(package: &str, world: &mut Prediction<'_>) {
    let Some((things, versions)) = look_up(package, world.facts()) else { return };
    for thing in things {
        if let EnabledUnit(name) | DisabledUnit(name) | StaticUnit(name) = thing {
            world.unit_state(&versions.fill(name), Unit::default());
        }
    }
}

fn predict_thing(thing: &Thing, versions: &Versions, world: &mut Prediction<'_>) {
    match thing {
        EnabledUnit(name) => predict_unit(&versions.fill(name), "enabled", world),
        DisabledUnit(name) => predict_unit(&versions.fill(name), "disabled", world),
        StaticUnit(name) => predict_unit(&versions.fill(name), "static", world),
        User(name, home, shell) => {
            predict_group(name, world);
            if matches!(world.user(name), Ok(None)) {
                let entry = UserEntry {
                    uid: account::UNKNOWN,
                    group: (*name).to_owned(),
                    home: (*home).to_owned(),
                    shell: (*shell).to_owned(),
                    ..UserEntry::default()
                };
                world.user_entry(name, Some(entry));
            }
        }
        Group(name) => predict_group(name, world),
        Folder(path) => predict_folder(&versions.fill(path), "root", "root", 0o755, world),
        OwnedFolder(path, owner, group, mode) => {
            predict_folder(&versions.fill(path), owner, group, *mode, world);
        }
        File(path) => {
            let path = versions.fill(path);
            if is_free(&path, world) {
                world.unknown_file(&path);
            }
        }
        Link(path, target) => {
            if is_free(path, world) {
                world.symlink(path, target);
            }
        }
        Package(name) => predict_installation(&versions.fill(name), world),
    }
}

/// Whether nothing is at `path`: the configuration that a removed package left stays as it is.
fn is_free(path: &str, world: &Prediction<'_>) -> bool {
    matches!(world.stat(path), Ok(None))
}

fn predict_folder(path: &str, owner: &str, group: &str, mode: u32, world: &mut Prediction<'_>) {
    if is_free(path, world) {
        world.directory(path, owner, group, mode);
    }
}

fn predict_group(name: &str, world: &mut Prediction<'_>) {
    if matches!(world.group(name), Ok(None)) {
        let group = GroupEntry { gid: account::UNKNOWN, ..GroupEntry::default() };
        world.group_entry(name, Some(group));
    }
}

/// The unit will be there and, because installations hold services, will not run.
fn predict_unit(name: &str, unit_file_state: &str, world: &mut Prediction<'_>) {
    if world.unit(name).is_ok_and(|unit| unit.exists()) {
        return;
    }
    let is_timer = name.rsplit_once('.').is_some_and(|(_, suffix)| suffix == "timer");
    let unit = Unit {
        load_state: "loaded".to_owned(),
        active_state: if is_timer { "active" } else { "inactive" }.to_owned(),
        sub_state: if is_timer { "waiting" } else { "dead" }.to_owned(),
        unit_file_state: unit_file_state.to_owned(),
        ..Unit::default()
    };
    world.unit_state(name, unit);
}

/// The versions that stand for `{php}` and `{pg}`.
struct Versions {
    php: String,
    pg: String,
}

impl Versions {
    /// Those of the release of Debian.
    fn of(facts: &Facts) -> Self {
        let (php, pg) = match facts.os.as_str() {
            "debian-11" => ("7.4", "13"),
            "debian-13" => ("8.4", "17"),
            _ => ("8.2", "15"),
        };
        Self { php: php.to_owned(), pg: pg.to_owned() }
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{php}", &self.php).replace("{pg}", &self.pg)
    }
}

/// What the table has for `package`, whose name may hold a version.
fn look_up(package: &str, facts: &Facts) -> Option<(&'static [Thing], Versions)> {
    let mut versions = Versions::of(facts);
    let is_version = |text: &&str| {
        text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let php = package.strip_prefix("php").and_then(|rest| rest.strip_suffix("-fpm"));
    let pg = package.strip_prefix("postgresql-");
    let pattern = if let Some(version) = php.filter(is_version) {
        version.clone_into(&mut versions.php);
        "php{php}-fpm"
    } else if let Some(version) = pg.filter(is_version) {
        version.clone_into(&mut versions.pg);
        "postgresql-{pg}"
    } else {
        package
    };
    let (_, things) = TABLE.iter().find(|(name, _)| *name == pattern)?;
    Some((things, versions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_name_or_the_release() {
        let facts = Facts { os: "debian-13".into(), ..Facts::default() };
        let php =
            |package| look_up(package, &facts).map(|(_, versions)| versions.fill("{php} {pg}"));
        assert_eq!(php("php-fpm").as_deref(), Some("8.4 17"));
        assert_eq!(php("php8.2-fpm").as_deref(), Some("8.2 17"));
        assert_eq!(php("postgresql-16").as_deref(), Some("8.4 16"));
        assert_eq!(php("postgresql-client"), None);
        assert_eq!(php("php-xml"), None);
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.is_sorted_by_key(|(name, _)| *name));
    }
}
