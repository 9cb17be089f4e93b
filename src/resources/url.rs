//! Addresses of the web and of other servers, as far as a program that takes one needs it to be right.

/// Says what is wrong with an address of `http` or `https`.
///
/// # Errors
/// A lowercase phrase.
pub(super) fn check(url: &str) -> Result<(), String> {
    let wrong = || format!("`{url}` is not a URL such as `https://flus.fr/login`");
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).ok_or_else(wrong)?;
    let has_odd = |c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '\\';
    if url.contains(has_odd) {
        return Err(wrong());
    }
    // A user and a password stand before the last `@`.
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, behind) = rest.split_once(']').ok_or_else(wrong)?;
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            let port = behind.strip_prefix(':');
            if !is_address || !behind.is_empty() && port.is_none() {
                return Err(wrong());
            }
            (address, port)
        }
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(wrong());
    }
    check_port(url, port)
}

/// Says what is wrong with the host or the port of an address whose scheme is one of `schemes`; every other
/// address is left to the program that takes it.
///
/// # Errors
/// A lowercase phrase.
pub(super) fn check_server(url: &str, schemes: &[&str]) -> Result<(), String> {
    let Some((scheme, rest)) = url.split_once("://") else { return Ok(()) };
    if !schemes.contains(&scheme) {
        return Ok(());
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((_, behind)) = authority.rsplit_once(']') {
        return check_port(url, behind.strip_prefix(':'));
    }
    let server = authority.rsplit('@').next().unwrap_or_default();
    match server.split_once(':') {
        // Git takes an address of IPv6 also without brackets.
        Some((_, port)) if port.contains(':') => Ok(()),
        Some(("", _)) => Err(format!("`{url}` names no host")),
        Some((_, port)) => check_port(url, Some(port)),
        None if server.is_empty() => Err(format!("`{url}` names no host")),
        None => Ok(()),
    }
}

fn check_port(url: &str, port: Option<&str>) -> Result<(), String> {
    match port {
        Some(port) if !is_port(port) => {
            Err(format!("the port of `{url}` is not a number from 1 to 65535"))
        }
        _ => Ok(()),
    }
}

/// Nothing behind the colon stands for the usual port (RFC 3986, 3.2.3).
fn is_port(text: &str) -> bool {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.is_empty() || is_number && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_and_a_host() {
        for right in [
            "https://flus.fr",
            "http://localhost:8080/x?y=1:2",
            "https://[::1]:443/",
            "https://[2001:db8::1]",
            "https://ada:p@ss@flus.fr:443/",
            "https://flus.fr:/",
            "https://flus.fr?x",
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for wrong in [
            "flus.fr",
            "ftp://flus.fr/",
            "https:///x",
            "https://:443/",
            "https://ada@/",
            "http://a b/",
            "http://a/\n",
            "http://a/\"",
            "https://[::1",
            "https://[flus]/",
            "https://[::1]443/",
        ] {
            let message = format!("`{wrong}` is not a URL such as `https://flus.fr/login`");
            assert_eq!(check(wrong), Err(message));
        }
        for wrong in ["https://flus.fr:99999/", "http://a:0", "http://[::1]:x/", "http://a:+1/"] {
            let message = format!("the port of `{wrong}` is not a number from 1 to 65535");
            assert_eq!(check(wrong), Err(message));
        }
    }

    #[test]
    fn a_server_has_a_host_and_a_port() {
        let check = |url: &str| check_server(url, &["https", "ssh", "tor+https"]);
        for right in [
            "https://flus.fr/a.git",
            "https://ada:p@ss@flus.fr:8443/a.git",
            "https://flus.fr:/a.git",
            "ssh://git@flus.fr:2222/a.git",
            "ssh://git@[::1]:22/a.git",
            "ssh://[git@::1]/a.git",
            "ssh://::1/a.git",
            "tor+https://flus.onion/debian",
            "git@flus.fr:flusio/a.git",
            "[git@flus.fr:2222]:a.git",
            "/srv/git/a.git",
            "file:///srv/git/a.git",
            "mirror+file:/etc/apt/mirrors.txt",
            "cdrom:[Debian 13]/",
            "ext::ssh -p 99999 flus.fr",
            "other://x:99999/",
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for wrong in ["https:///a.git", "https://ada@/a.git", "ssh://:22/a.git", "https://"] {
            assert_eq!(check(wrong), Err(format!("`{wrong}` names no host")));
        }
        for wrong in [
            "https://x:99999/a.git",
            "ssh://git@x:99999/a.git",
            "ssh://git@x:flusio/a.git",
            "tor+https://[::1]:0/",
        ] {
            let message = format!("the port of `{wrong}` is not a number from 1 to 65535");
            assert_eq!(check(wrong), Err(message));
        }
    }
}
