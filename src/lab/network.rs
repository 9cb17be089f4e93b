//! The network of a lab: a bridge, and a table of nftables that lets its servers out.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::{self, Folder};
use super::program::Program;
use super::range::{self, Range};
use super::settings::{self, Held};
use crate::error::{Context as _, Result};

/// Used where there is no way out whose packets could be smaller.
const ETHERNET_MTU: u32 = 1500;

/// Beginning of the names of nftables tables.
const TABLE_PREFIX: &str = "infra-lab-";

/// The network of one lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// Six hexadecimal digits in the names of bridge, table and interfaces.
    id: String,
    /// The addresses.
    pub(super) range: Range,
    /// The largest packet that reaches the world, in bytes.
    pub(super) mtu: u32,
    /// The interface that leads to the world.
    uplink: Option<String>,
}

/// What is remembered of a network while servers are up.
#[derive(Serialize, Deserialize)]
struct Record {
    range: String,
    mtu: u32,
    uplink: Option<String>,
}

impl Network {
    /// The network of the lab in `folder`; a new one is chosen where none is up.
    ///
    /// # Errors
    /// When the machine's own network cannot be read, or no addresses are free.
    pub(super) fn of(folder: &Folder) -> Result<Self> {
        if let Some(network) = Self::recorded(folder) {
            return Ok(network);
        }
        let routes = Program::new(["ip", "-4", "-json", "route", "show", "table", "all"]).run()?;
        let mut taken = range::of_routes(&routes);
        taken.extend(resolver().lines().filter_map(nameserver).filter_map(Range::parse));
        let root = folder.root().to_string_lossy();
        let uplink = uplink(&routes);
        let mtu = uplink.as_deref().and_then(mtu).unwrap_or(ETHERNET_MTU);
        Ok(Self { id: range::id(&root), range: range::choose(&root, &taken)?, mtu, uplink })
    }

    /// The network that was brought up before; `None` when there is none.
    fn recorded(folder: &Folder) -> Option<Self> {
        let record = fs::read(file(folder)).ok()?;
        let record: Record = serde_json::from_slice(&record).ok()?;
        let id = range::id(&folder.root().to_string_lossy());
        let range = Range::parse(&record.range)?;
        Some(Self { id, range, mtu: record.mtu, uplink: record.uplink })
    }

    /// The name of the bridge, and of the interface of the machine in it.
    pub(super) fn bridge(&self) -> String {
        format!("infra-{}", self.id)
    }

    /// The name of a machine, unique on this host. An interface is called after it: `vb-` and
    /// this, which may have 15 characters together.
    pub(super) fn machine(&self, number: u32) -> String {
        format!("i{}-{number}", self.id)
    }

    fn table(&self) -> String {
        format!("{TABLE_PREFIX}{}", self.id)
    }

    /// Creates what is missing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn up(&self, held: &Held, folder: &Folder) -> Result<()> {
        let record =
            Record { range: self.range.text(), mtu: self.mtu, uplink: self.uplink.clone() };
        let record = serde_json::to_vec(&record).context(|| "cannot note the network".into())?;
        folder::write(&file(folder), record, 0o600)?;
        let bridge = self.bridge();
        if !interface(&bridge).exists() {
            let mtu = self.mtu.to_string();
            Program::new(["ip", "link", "add", "name", &bridge, "mtu", &mtu, "type", "bridge"])
                .run()?;
        }
        let address = format!("{}/{}", self.range.gateway(), self.range.prefix());
        Program::new(["ip", "address", "replace", &address, "dev", &bridge]).run()?;
        Program::new(["ip", "link", "set", "dev", &bridge, "up"]).run()?;
        Program::new(["nft", "-f", "-"]).stdin(self.ruleset()).run()?;
        fs::write(settings::forwarding(&bridge), "1")
            .context(|| format!("cannot forward from `{bridge}`"))?;
        settings::change(held, self.uplink.as_deref())
    }

    /// Removes what [`Network::up`] made.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn down(folder: &Folder) -> Result<()> {
        let Some(network) = Self::recorded(folder) else { return Ok(()) };
        let held = settings::hold()?;
        let bridge = network.bridge();
        if interface(&bridge).exists() {
            Program::new(["ip", "link", "delete", "dev", &bridge]).run()?;
        }
        let tables = Program::new(["nft", "list", "tables"]).run()?;
        let table = network.table();
        if has_table(&tables, |name| name == table) {
            Program::new(["nft", "delete", "table", "ip", &table]).run()?;
        }
        if !has_table(&tables, |name| name.starts_with(TABLE_PREFIX) && name != table) {
            settings::put_back(&held)?;
        }
        fs::remove_file(file(folder)).context(|| "cannot forget the network".into())
    }

    /// The table of nftables, replacing the one that may be there.
    fn ruleset(&self) -> String {
        let Self { range, .. } = self;
        let (table, bridge, range) = (self.table(), self.bridge(), range.text());
        format!(
            "table ip {table} {{}}\n\
             delete table ip {table}\n\
             table ip {table} {{\n\
             \tchain postrouting {{\n\
             \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
             \t\tip saddr {range} oifname != \"{bridge}\" masquerade\n\
             \t}}\n\
             \tchain forward {{\n\
             \t\ttype filter hook forward priority filter - 1; policy accept;\n\
             \t\tiifname \"{bridge}\" accept\n\
             \t\toifname \"{bridge}\" ct state established,related accept\n\
             \t\toifname \"{bridge}\" iifname != \"{bridge}\" drop\n\
             \t}}\n\
             }}\n"
        )
    }
}

fn file(folder: &Folder) -> PathBuf {
    folder.root().join("network.json")
}

fn interface(name: &str) -> PathBuf {
    Path::new("/sys/class/net").join(name)
}

fn mtu(interface_name: &str) -> Option<u32> {
    fs::read_to_string(interface(interface_name).join("mtu")).ok()?.trim().parse().ok()
}

/// The interface of the first default route in `ip -json route show`.
fn uplink(routes: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Route {
        dst: String,
        dev: Option<String>,
    }
    let routes: Vec<Route> = serde_json::from_str(routes).unwrap_or_default();
    routes.into_iter().find(|route| route.dst == "default")?.dev
}

/// Whether a table that `is_it` accepts is in the output of `nft list tables`.
fn has_table(tables: &str, is_it: impl Fn(&str) -> bool) -> bool {
    tables.lines().filter_map(|line| line.strip_prefix("table ip ")).any(|name| is_it(name.trim()))
}

/// The machine's `resolv.conf`, for the servers. Where the machine asks a resolver of its own,
/// which the servers cannot reach at that address: what systemd-resolved asks in turn.
pub(super) fn resolver() -> String {
    let candidates = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let texts: Vec<String> =
        candidates.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let is_reachable = |text: &&String| {
        text.lines().filter_map(nameserver).any(|address| !address.starts_with("127."))
    };
    texts.iter().find(is_reachable).or(texts.first()).cloned().unwrap_or_default()
}

/// The resolvers that servers can ask: addresses, and nothing else.
pub(super) fn upstreams() -> Vec<String> {
    let is_address =
        |text: &&str| text.parse::<std::net::IpAddr>().is_ok_and(|it| !it.is_loopback());
    let text = resolver();
    text.lines().filter_map(nameserver).filter(is_address).map(str::to_owned).collect()
}

fn nameserver(line: &str) -> Option<&str> {
    line.strip_prefix("nameserver")?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Network {
        /// A network for tests.
        pub(in crate::lab) fn example() -> Self {
            Self {
                id: "0a1b2c".to_owned(),
                range: Range::parse("10.200.4.0/22").unwrap(),
                mtu: 1400,
                uplink: Some("eth0".to_owned()),
            }
        }
    }

    #[test]
    fn names_fit_the_kernel() {
        assert_eq!(Network::example().bridge(), "infra-0a1b2c");
        assert_eq!(format!("vb-{}", Network::example().machine(1022)), "vb-i0a1b2c-1022");
        assert!("vb-i0a1b2c-1022".len() <= 15);
    }

    #[test]
    fn the_table_lets_servers_out_and_nobody_in() {
        assert_eq!(
            Network::example().ruleset(),
            "table ip infra-lab-0a1b2c {}
delete table ip infra-lab-0a1b2c
table ip infra-lab-0a1b2c {
\tchain postrouting {
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\tip saddr 10.200.4.0/22 oifname != \"infra-0a1b2c\" masquerade
\t}
\tchain forward {
\t\ttype filter hook forward priority filter - 1; policy accept;
\t\tiifname \"infra-0a1b2c\" accept
\t\toifname \"infra-0a1b2c\" ct state established,related accept
\t\toifname \"infra-0a1b2c\" iifname != \"infra-0a1b2c\" drop
\t}
}
"
        );
    }

    #[test]
    fn finds_the_way_out() {
        let routes = r#"[{"dst":"192.0.2.0/24","dev":"eth1"},{"dst":"default","dev":"eth0"}]"#;
        assert_eq!(uplink(routes).as_deref(), Some("eth0"));
        assert_eq!(uplink("[]"), None);
        assert_eq!(mtu("lo"), Some(65536));
        assert_eq!(mtu("no-such-interface"), None);
    }

    #[test]
    fn reads_tables_and_name_servers() {
        let tables = "table inet filter\ntable ip infra-lab-0a1b2c\n";
        assert!(has_table(tables, |name| name == Network::example().table()));
        assert!(!has_table(tables, |name| name == "filter"));
        assert_eq!(nameserver("nameserver 192.0.2.53 # office"), Some("192.0.2.53"));
        assert_eq!(nameserver("search example.org"), None);
    }
}
