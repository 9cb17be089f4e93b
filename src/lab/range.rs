//! Choosing the addresses of a lab: a block that nothing else on this machine uses.

use std::net::Ipv4Addr;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// The length of a lab's block: room for 1021 servers.
const PREFIX: u8 = 22;

/// Where blocks are taken from: private addresses, those least often used first.
const POOLS: [Range; 3] = [
    Range { base: Ipv4Addr::new(10, 128, 0, 0), prefix: 9 },
    Range { base: Ipv4Addr::new(172, 16, 0, 0), prefix: 12 },
    Range { base: Ipv4Addr::new(192, 168, 0, 0), prefix: 16 },
];

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    base: Ipv4Addr,
    prefix: u8,
}

impl Range {
    /// From `10.1.2.0/24`, `10.1.2.3` or `default`, as `ip route` prints them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "default" {
            return Some(Self { base: Ipv4Addr::UNSPECIFIED, prefix: 0 });
        }
        let (base, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        Some(Self { base: base.parse().ok()?, prefix })
    }

    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = self.mask() & other.mask();
        self.base.to_bits() & mask == other.base.to_bits() & mask
    }

    /// The block of `prefix` that holds the `number`th address of this one.
    fn block(self, number: u32) -> Self {
        Self {
            base: Ipv4Addr::from_bits((self.base.to_bits() & self.mask()) + number),
            prefix: PREFIX,
        }
    }

    /// The machine's own address, that the servers send everything else to.
    pub(super) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits() + 1)
    }

    /// The address of the server with this number, from 2 on.
    ///
    /// # Errors
    /// When the block is full.
    pub(super) fn server(self, number: u32) -> Result<Ipv4Addr> {
        let size = 1_u32 << (32 - u32::from(self.prefix).min(31));
        if (2..size - 1).contains(&number) {
            return Ok(Ipv4Addr::from_bits(self.base.to_bits() + number));
        }
        Err(Error::failed("the lab is full")
            .because(format!("`{}` has {} addresses for servers", self.text(), size - 3))
            .hint("run `infra lab down` for servers that you do not need"))
    }

    pub(super) fn prefix(self) -> u8 {
        self.prefix
    }

    /// `10.200.4.0/22`.
    pub(super) fn text(self) -> String {
        format!("{}/{}", self.base, self.prefix)
    }
}

/// Six hexadecimal digits that tell the labs of one machine apart.
pub(super) fn id(folder: &str) -> String {
    let mut digits = format!("{:x}", Sha256::digest(folder));
    digits.truncate(6);
    digits
}

/// The block for the lab in `folder`: the same each time, unless it overlaps one of `taken`.
///
/// # Errors
/// When every private address is in use.
pub(super) fn choose(folder: &str, taken: &[Range]) -> Result<Range> {
    let digest = Sha256::digest(folder);
    let seed = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    for pool in POOLS {
        let count = 1_u32 << (PREFIX - pool.prefix);
        let size = 1_u32 << (32 - PREFIX);
        let blocks = (0..count).map(|step| pool.block((seed.wrapping_add(step) % count) * size));
        for block in blocks {
            // The default route covers everything and takes nothing.
            if !taken.iter().any(|other| other.prefix > 0 && other.overlaps(block)) {
                return Ok(block);
            }
        }
    }
    Err(Error::failed("there are no free addresses for the lab")
        .because("the routes of this machine cover every private network"))
}

/// The destinations of `ip -json route show`.
pub(super) fn of_routes(json: &str) -> Vec<Range> {
    #[derive(Deserialize)]
    struct Route {
        dst: String,
    }
    let routes: Vec<Route> = serde_json::from_str(json).unwrap_or_default();
    routes.iter().filter_map(|route| Range::parse(&route.dst)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        Range::parse(text).unwrap()
    }

    #[test]
    fn two_labs_have_different_blocks_and_each_its_own_again() {
        let first = choose("/var/lib/infra-lab", &[]).unwrap();
        assert_eq!(choose("/var/lib/infra-lab", &[]), Ok(first));
        assert_eq!(first.text(), "10.165.12.0/22");
        assert_ne!(choose("/tmp/lab", &[]), Ok(first));
        assert_ne!(id("/var/lib/infra-lab"), id("/tmp/lab"));
    }

    #[test]
    fn moves_away_from_what_is_there() {
        let first = choose("/tmp/lab", &[]).unwrap();
        let taken = [range("default"), range(&first.gateway().to_string())];
        let second = choose("/tmp/lab", &taken).unwrap();
        assert_ne!(first, second);
        assert!(second.text().starts_with("10."), "{second:?}");
        let vpn = [range("10.0.0.0/8")];
        assert!(choose("/tmp/lab", &vpn).unwrap().text().starts_with("172."));
        let all = [range("10.0.0.0/8"), range("172.16.0.0/12"), range("192.168.0.0/16")];
        assert_eq!(
            choose("/tmp/lab", &all).unwrap_err().message,
            "there are no free addresses for the lab"
        );
    }

    #[test]
    fn numbers_servers_within_the_block() {
        let block = range("10.200.4.0/22");
        assert_eq!(block.gateway().to_string(), "10.200.4.1");
        assert_eq!(block.server(2).unwrap().to_string(), "10.200.4.2");
        assert_eq!(block.server(1022).unwrap().to_string(), "10.200.7.254");
        for number in [0, 1, 1023] {
            assert_eq!(block.server(number).unwrap_err().message, "the lab is full");
        }
    }

    #[test]
    fn reads_routes() {
        let json = r#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]},
            {"dst":"192.0.2.0/24","dev":"eth0"},{"dst":"198.51.100.7","dev":"eth1"}]"#;
        assert_eq!(
            of_routes(json),
            [range("default"), range("192.0.2.0/24"), range("198.51.100.7/32")]
        );
        assert_eq!(of_routes("not json"), []);
        assert_eq!(Range::parse("10.0.0.0/33"), None);
        assert!(!range("10.1.0.0/16").overlaps(range("10.2.0.0/16")));
        assert!(range("10.0.0.0/8").overlaps(range("10.2.0.0/16")));
    }
}
