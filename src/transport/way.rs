//! The way to a server, as the user's ssh configuration describes it.

/// The way, of what `ssh -G` prints.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way<'a> {
    /// The first host that is connected to, with its port; or the command that connects.
    pub(super) hop: String,
    /// Host and port of the server, where nothing stands between.
    pub(super) direct: Option<(&'a str, &'a str)>,
}

impl<'a> Way<'a> {
    /// Reads the output of `ssh -G`; `None` where that names no host.
    pub(super) fn of(configuration: &'a str) -> Option<Self> {
        let value = |wanted: &str| {
            let mut pairs = configuration.lines().filter_map(|line| line.split_once(' '));
            pairs.find(|(key, _)| *key == wanted).map(|(_, value)| value.trim())
        };
        let set = |key: &str| value(key).filter(|value| *value != "none");
        let is_unset = |key: &str, default: &str| value(key).is_none_or(|value| value == default);
        let (host, port) = (value("hostname")?, value("port")?);
        let hop = match (set("proxyjump"), set("proxycommand")) {
            // The first one of several is connected to first.
            (Some(jumps), _) => jumps.split(',').next().unwrap_or(jumps).to_owned(),
            (None, Some(command)) => command.to_owned(),
            (None, None) => format!("{host}:{port}"),
        };
        let is_direct = set("proxycommand").is_none()
            && set("proxyjump").is_none()
            && is_unset("addressfamily", "any")
            && is_unset("bindaddress", "none")
            && is_unset("bindinterface", "none")
            && is_unset("canonicalizehostname", "false");
        Some(Self { hop, direct: is_direct.then_some((host, port)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_way_is_left_alone() {
        let plain = "user root\nhostname rufus.flus.io\nport 22\naddressfamily any\n";
        let way = Way::of(plain).unwrap();
        assert_eq!(way.direct, Some(("rufus.flus.io", "22")));
        assert_eq!(way.hop, "rufus.flus.io:22");
        for (line, hop) in [
            ("proxyjump ada@bastion:2222,inner", "ada@bastion:2222"),
            ("proxycommand ssh -W %h:%p bastion", "ssh -W %h:%p bastion"),
            ("bindaddress 10.0.0.1", "rufus.flus.io:22"),
        ] {
            let text = format!("{line}\n{plain}");
            let way = Way::of(&text).unwrap();
            assert_eq!((way.direct, way.hop.as_str()), (None, hop), "{line}");
        }
        assert_eq!(Way::of("user root\n"), None);
    }
}
