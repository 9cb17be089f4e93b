//! The rules that Docker leaves in a firewall, apart from those of others.

/// The chains that Docker makes, of any version.
const CHAINS: [&str; 9] = [
    "DOCKER",
    "DOCKER-BRIDGE",
    "DOCKER-CT",
    "DOCKER-FORWARD",
    "DOCKER-INGRESS",
    "DOCKER-INTERNAL",
    "DOCKER-ISOLATION",
    "DOCKER-ISOLATION-STAGE-1",
    "DOCKER-ISOLATION-STAGE-2",
];

/// The chain that Docker makes for rules of the administrator.
const OF_OTHERS: &str = "DOCKER-USER";

/// The chains in which Docker has rules about its bridges; of others' rules about them, there are some in `INPUT`.
const BUILT_IN: [&str; 4] = ["FORWARD", "OUTPUT", "POSTROUTING", "PREROUTING"];

/// The rules in `saved`, the text of `iptables-save`, without those of Docker and of its `bridges`; `None` if
/// there are none of them.
pub(super) fn without_dockers(saved: &str, bridges: &[String]) -> Option<String> {
    let own = format!("-A {OF_OTHERS} ");
    let is_used = |line: &str| line.starts_with(&own) && line != format!("{own}-j RETURN");
    let keeps_users = saved.lines().any(is_used);
    let rest: Vec<&str> =
        saved.lines().filter(|line| !is_dockers(line, bridges, keeps_users)).collect();
    let is_same = rest.len() == saved.lines().count();
    (!is_same).then(|| rest.into_iter().flat_map(|line| [line, "\n"]).collect())
}

fn is_dockers(line: &str, bridges: &[String], keeps_users: bool) -> bool {
    let is_chain = |name: &str| CHAINS.contains(&name) || name == OF_OTHERS && !keeps_users;
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.first() {
        Some(chain) if chain.starts_with(':') => is_chain(chain.trim_start_matches(':')),
        Some(&"-A") => {
            let chain = words.get(1).copied().unwrap_or_default();
            let behind = |options: &[&str]| -> Vec<&str> {
                let pairs = words.iter().zip(words.iter().skip(1));
                pairs.filter(|(word, _)| options.contains(word)).map(|(_, value)| *value).collect()
            };
            let leads = behind(&["-j", "-g"]).iter().any(|target| is_chain(target));
            let is_of_bridge =
                behind(&["-i", "-o"]).iter().any(|name| bridges.iter().any(|it| it == name));
            // Docker has rules for ports of containers in chains of its own.
            let is_of_port = chain == "FORWARD" && !behind(&["-p", "-s", "-d"]).is_empty();
            is_chain(chain) || leads || is_of_bridge && BUILT_IN.contains(&chain) && !is_of_port
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
:MY-DOCKER-RULES - [0:0]
-A INPUT -i docker0 -p tcp -m tcp --dport 5432 -j ACCEPT
-A INPUT -i br-lan -j ACCEPT
-A INPUT -m comment --comment \"no DOCKER here\" -j MY-DOCKER-RULES
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i br-lan -o eth0 -j ACCEPT
-A FORWARD -s 192.0.2.0/24 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
";

    #[test]
    fn rules_of_others_stay() {
        let bridges = ["docker0".to_owned()];
        let rest = without_dockers(SAVED, &bridges).unwrap();
        assert_eq!(
            rest,
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:MY-DOCKER-RULES - [0:0]\n\
             -A INPUT -i docker0 -p tcp -m tcp --dport 5432 -j ACCEPT\n-A INPUT -i br-lan -j ACCEPT\n\
             -A INPUT -m comment --comment \"no DOCKER here\" -j MY-DOCKER-RULES\n\
             -A FORWARD -i br-lan -o eth0 -j ACCEPT\n-A FORWARD -s 192.0.2.0/24 -o docker0 -j ACCEPT\n\
             COMMIT\n"
        );
        assert_eq!(without_dockers(&rest, &bridges), None);
    }

    #[test]
    fn rules_of_the_administrator_stay_in_their_chain() {
        let own = "-A DOCKER-USER -s 203.0.113.9/32 -j DROP\n-A DOCKER-USER -j RETURN\n";
        let saved = SAVED.replace("-A DOCKER-USER -j RETURN\n", own);
        let rest = without_dockers(&saved, &["docker0".to_owned()]).unwrap();
        assert!(
            rest.contains(own) && rest.contains(":DOCKER-USER ") && rest.contains("-j DOCKER-USER")
        );
        assert!(!rest.contains(":DOCKER -"), "{rest}");
    }
}
