//! The rules as nftables reads them, and how to know them again in the kernel.

use std::net::IpAddr;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::{Allow, Firewall, Policy, Protocol};

/// The table that is ours, in the family `inet`.
pub(super) const TABLE: &str = "infra";

/// The second line of the file, by which it is known as ours.
pub(super) const HEADING: &str = "# Managed by infra: one table, which is replaced whole.";

/// Removes the table, whether it is there or not.
pub(super) const NO_TABLE: &str = "table inet infra\ndelete table inet infra\n";

/// The rules of one chain, in order, without the mark that names them.
pub(super) struct Rules {
    policy: Policy,
    lines: Vec<String>,
}

impl Rules {
    /// The rules of a spec.
    pub(super) fn new(spec: &Firewall) -> Self {
        let mut lines = vec![
            "ct state invalid drop".to_owned(),
            "iifname \"lo\" accept".to_owned(),
            "meta l4proto { icmp, ipv6-icmp } accept".to_owned(),
            "ip6 saddr fe80::/10 udp dport 546 accept comment \"DHCPv6\"".to_owned(),
        ];
        if spec.allow_ssh {
            lines.push(format!("tcp dport {} accept comment \"ssh\"", spec.ssh_port));
        }
        lines.extend(spec.allow.iter().flat_map(openings));
        Self { policy: spec.policy, lines }
    }

    /// Changes with any change of the rules; the kernel keeps it as the comment of the first.
    fn mark(&self) -> String {
        let digest = Sha256::digest(format!("{}\n{}", self.policy_word(), self.lines.join("\n")));
        let start = digest.iter().take(8).fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        format!("infra {start:016x}")
    }

    fn policy_word(&self) -> &'static str {
        match self.policy {
            Policy::Drop => "drop",
            Policy::Accept => "accept",
        }
    }

    /// The whole file.
    pub(super) fn file(&self) -> String {
        let known = format!("ct state established,related accept comment \"{}\"", self.mark());
        let chain =
            format!("type filter hook input priority filter; policy {};", self.policy_word());
        let lines = [chain, known].into_iter().chain(self.lines.iter().cloned());
        let lines: String =
            lines.flat_map(|line| ["\t\t".to_owned(), line, "\n".to_owned()]).collect();
        format!(
            "#!/usr/sbin/nft -f\n{HEADING}\n\n{NO_TABLE}\n\
             table inet {TABLE} {{\n\tchain input {{\n{lines}\t}}\n}}\n"
        )
    }
}

/// Whether two listings of `nft --json list table` show the same: all but the numbers that the kernel
/// gives, and the versions of nft.
pub(super) fn are_same(one: &Json, other: &Json) -> bool {
    let objects = |listing: &Json| {
        let objects = listing.get("nftables").and_then(Json::as_array).cloned();
        let mut objects = objects.unwrap_or_default();
        objects.retain(|object| object.get("metainfo").is_none());
        objects.iter_mut().for_each(forget_numbers);
        objects
    };
    objects(one) == objects(other)
}

/// Takes the handles out of a listing.
fn forget_numbers(value: &mut Json) {
    match value {
        Json::Object(fields) => {
            fields.remove("handle");
            fields.values_mut().for_each(forget_numbers);
        }
        Json::Array(items) => items.iter_mut().for_each(forget_numbers),
        _ => {}
    }
}

/// Whether the table that `nft --json list table` shows is what these rules made, as far as that shows
/// without another one beside it: the mark, the policy, and as many rules as there should be.
pub(super) fn is_loaded(rules: &Rules, listing: &Json) -> bool {
    let objects = listing.get("nftables").and_then(Json::as_array);
    let objects: Vec<&Json> = objects.into_iter().flatten().collect();
    let live: Vec<&Json> = objects.iter().filter_map(|object| object.get("rule")).collect();
    let comment = live.first().and_then(|rule| rule.get("comment")).and_then(Json::as_str);
    let mut chains = objects.iter().filter_map(|object| object.get("chain"));
    let policy = chains.next().and_then(|chain| chain.get("policy")).and_then(Json::as_str);
    comment == Some(&rules.mark())
        && policy == Some(rules.policy_word())
        && live.len() == rules.lines.len() + 1
}

/// One opening as rules: one for each family of addresses it names, one if it names none.
fn openings(allow: &Allow) -> Vec<String> {
    let protocol = match allow.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let ports = set(&allow.port.0).map(|ports| format!("{protocol} dport {ports} "));
    let ports = ports.unwrap_or_default();
    let comment = allow.comment.as_ref().map(|text| format!(" comment \"{text}\""));
    let comment = comment.unwrap_or_default();
    let (v6, v4): (Vec<String>, Vec<String>) =
        allow.from.0.iter().cloned().partition(|address| address.contains(':'));
    let families = [("ip", v4), ("ip6", v6)];
    let mut sources: Vec<String> = families
        .iter()
        .filter_map(|(family, addresses)| Some(format!("{family} saddr {} ", set(addresses)?)))
        .collect();
    if sources.is_empty() {
        sources.push(String::new());
    }
    sources.iter().map(|source| format!("{source}{ports}accept{comment}")).collect()
}

/// One value, or several in braces; `None` for none.
fn set(values: &[String]) -> Option<String> {
    match values {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("{{ {} }}", many.join(", "))),
    }
}

/// Says what is wrong with one opening.
pub(super) fn check(allow: &Allow) -> Result<(), String> {
    if allow.port.0.is_empty() && allow.from.0.is_empty() {
        return Err("a rule of `allow` needs a `port` or a `from`".to_owned());
    }
    let ports = allow.port.0.iter().map(|text| port_range(text)).collect::<Result<Vec<_>, _>>()?;
    check_overlap(ports)?;
    let sources = allow.from.0.iter().map(|text| network(text)).collect::<Result<Vec<_>, _>>()?;
    let (v6, v4) = sources.into_iter().partition(|range| range.text.contains(':'));
    check_overlap(v4)?;
    check_overlap(v6)?;
    let comment = allow.comment.as_deref().unwrap_or_default();
    if comment.len() > 100 || comment.contains(|c: char| c.is_control() || "\"\\".contains(c)) {
        return Err("a `comment` is one short line without quotes and backslashes".to_owned());
    }
    Ok(())
}

/// What a text stands for, first and last included.
struct Range<'a> {
    text: &'a str,
    first: u128,
    last: u128,
}

fn port_range(text: &str) -> Result<Range<'_>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => {
            Ok(Range { text, first: first.into(), last: last.into() })
        }
        _ => Err(format!("`{text}` is not a port such as `443` or `8000-8100`")),
    }
}

fn network(text: &str) -> Result<Range<'_>, String> {
    let wrong = || format!("`{text}` is not an address such as `10.0.0.0/8` or `2001:db8::1`");
    let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let (bits, start) = match address {
        IpAddr::V4(v4) => (32, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (128, v6.to_bits()),
    };
    let length = length.map_or(Ok(bits), str::parse::<u32>).map_err(|_| wrong())?;
    let host_bits = bits.checked_sub(length).ok_or_else(wrong)?;
    let mask = 1_u128.checked_shl(host_bits).map_or(u128::MAX, |end| end - 1);
    Ok(Range { text, first: start & !mask, last: start | mask })
}

/// nftables refuses a set whose members overlap, with a message that nobody understands.
fn check_overlap(mut ranges: Vec<Range<'_>>) -> Result<(), String> {
    ranges.sort_by_key(|range| (range.first, range.last));
    let mut pairs = ranges.iter().zip(ranges.iter().skip(1));
    match pairs.find(|(one, next)| next.first <= one.last) {
        Some((one, next)) => Err(format!("`{}` and `{}` overlap", one.text, next.text)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Resource as _;
    use super::*;

    fn firewall(json: &str) -> Firewall {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn renders_one_table() {
        let spec = firewall(
            r#"{"allow": [
                {"port": [80, "8000-8100"], "comment": "web"},
                {"port": 53, "protocol": "udp", "from": ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]},
                {"from": "10.1.0.0/16"}
            ], "ssh_port": 2222}"#,
        );
        let rules = Rules::new(&spec);
        let expected = format!(
            "#!/usr/sbin/nft -f\n\
             # Managed by infra: one table, which is replaced whole.\n\n\
             table inet infra\ndelete table inet infra\n\n\
             table inet infra {{\n\tchain input {{\n\
             \t\ttype filter hook input priority filter; policy drop;\n\
             \t\tct state established,related accept comment \"{}\"\n\
             \t\tct state invalid drop\n\
             \t\tiifname \"lo\" accept\n\
             \t\tmeta l4proto {{ icmp, ipv6-icmp }} accept\n\
             \t\tip6 saddr fe80::/10 udp dport 546 accept comment \"DHCPv6\"\n\
             \t\ttcp dport 2222 accept comment \"ssh\"\n\
             \t\ttcp dport {{ 80, 8000-8100 }} accept comment \"web\"\n\
             \t\tip saddr {{ 10.0.0.0/8, 192.0.2.1 }} udp dport 53 accept\n\
             \t\tip6 saddr 2001:db8::/32 udp dport 53 accept\n\
             \t\tip saddr 10.1.0.0/16 accept\n\t}}\n}}\n",
            rules.mark()
        );
        assert_eq!(rules.file(), expected);
    }

    #[test]
    fn the_mark_changes_with_the_rules_and_the_policy() {
        let marks =
            ["{}", r#"{"ssh_port": 23}"#, r#"{"policy": "accept"}"#, r#"{"allow_ssh": false}"#]
                .map(|json| Rules::new(&firewall(json)).mark());
        let different: std::collections::BTreeSet<_> = marks.iter().collect();
        assert_eq!(different.len(), marks.len());
    }

    #[test]
    fn a_rule_added_by_hand_is_seen() {
        let rules = Rules::new(&firewall("{}"));
        let listing = |count: usize, comment: &str| {
            let rule = format!(r#"{{"rule": {{"comment": "{comment}"}}}}"#);
            let list = vec![rule; count].join(",");
            let chain = r#"{"chain": {"name": "input", "policy": "drop"}}"#;
            serde_json::from_str(&format!(r#"{{"nftables": [{chain},{list}]}}"#)).unwrap()
        };
        assert!(is_loaded(&rules, &listing(6, &rules.mark())));
        assert!(!is_loaded(&rules, &listing(7, &rules.mark())));
        assert!(!is_loaded(&rules, &listing(6, "infra 0000000000000000")));
    }

    #[test]
    fn says_what_is_wrong_with_an_opening() {
        for (allow, message) in [
            ("{}", "a rule of `allow` needs a `port` or a `from`"),
            (r#"{"port": 70000}"#, "`70000` is not a port such as `443` or `8000-8100`"),
            (r#"{"port": "90-80"}"#, "`90-80` is not a port such as `443` or `8000-8100`"),
            (r#"{"port": [80, "1-100"]}"#, "`1-100` and `80` overlap"),
            (
                r#"{"from": "10.0.0.0/33"}"#,
                "`10.0.0.0/33` is not an address such as `10.0.0.0/8` or `2001:db8::1`",
            ),
            (r#"{"from": ["10.0.0.0/8", "10.1.2.3"]}"#, "`10.0.0.0/8` and `10.1.2.3` overlap"),
            (r#"{"from": ["::/0", "2001:db8::1"]}"#, "`::/0` and `2001:db8::1` overlap"),
            (
                r#"{"port": 80, "comment": "a\" accept; #"}"#,
                "a `comment` is one short line without quotes and backslashes",
            ),
        ] {
            let spec = firewall(&format!(r#"{{"allow": [{allow}]}}"#));
            assert_eq!(spec.validate(), Err(message.to_owned()), "{allow}");
        }
        assert_eq!(firewall(r#"{"allow": [{"from": ["0.0.0.0/0", "::/0"]}]}"#).validate(), Ok(()));
    }
}
