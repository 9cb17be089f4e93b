//! Command lines to look at a server of the lab with, for the end of an apply.

use std::net::IpAddr;

use super::Server;
use crate::resources::Spec;

/// Command lines that show what a server of the lab does: each page that its roles check, and the
/// way in. `has_names`: programs on this machine can find the names of this lab.
pub(super) fn of(server: &Server, has_names: bool) -> Vec<String> {
    let name = &server.manifest.server;
    let mut lines = Vec::new();
    for resource in &server.manifest.resources {
        let Spec::HttpCheck(check) = &resource.spec else { continue };
        let Some(url) = &check.url else { continue };
        // Its certificate is one of the lab, which nobody else trusts.
        if has_names && url.starts_with("https://") && !check.insecure {
            lines.push(format!("infra lab run -- curl {url}"));
            continue;
        }
        lines.extend(visit(url, check.insecure, name, &server.ssh.host));
    }
    lines.push(format!("infra lab ssh {name}"));
    lines
}

/// A command line that fetches `url` from the server at `address`. The names of the lab are in no
/// DNS, so curl is told the address; an address in `url` means the server itself, and is asked there.
fn visit(url: &str, insecure: bool, server: &str, address: &str) -> Option<String> {
    let insecure = if insecure { "--insecure " } else { "" };
    let (scheme, rest) = url.split_once("://")?;
    let place = rest.split(['/', '?', '#']).next()?;
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let (name, port) = match place.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => (name, port),
        _ => (place, if scheme == "https" { "443" } else { "80" }),
    };
    let ip: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
    if ip.is_some() || name == "localhost" {
        return Some(format!("infra lab ssh {server} curl {insecure}{url}"));
    }
    Some(format!("curl {insecure}--resolve {name}:{port}:{address} {url}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_fetched_from_the_server_that_has_it() {
        for (url, expected) in [
            ("http://flus.fr/about", "curl --resolve flus.fr:80:10.0.0.2 http://flus.fr/about"),
            ("https://flus.fr", "curl --resolve flus.fr:443:10.0.0.2 https://flus.fr"),
            ("http://flus.fr:8080/", "curl --resolve flus.fr:8080:10.0.0.2 http://flus.fr:8080/"),
            ("http://127.0.0.1:8080/", "infra lab ssh rufus curl http://127.0.0.1:8080/"),
            ("http://[::1]:8080/", "infra lab ssh rufus curl http://[::1]:8080/"),
            ("http://[::1]/", "infra lab ssh rufus curl http://[::1]/"),
            ("http://localhost?a=b:1", "infra lab ssh rufus curl http://localhost?a=b:1"),
        ] {
            assert_eq!(visit(url, false, "rufus", "10.0.0.2").as_deref(), Some(expected));
        }
        let insecure = visit("https://flus.fr/", true, "rufus", "10.0.0.2");
        let expected = "curl --insecure --resolve flus.fr:443:10.0.0.2 https://flus.fr/";
        assert_eq!(insecure.as_deref(), Some(expected));
    }
}
