//! One request, by `curl` or `cgi-fcgi`, and what came back.

use std::net::IpAddr;

use super::super::excerpt;
use super::super::probe::Probe;
use super::super::query::Query;
use super::{FastCgi, HttpCheck};
use crate::error::{Kind, Result};

/// How many lines of an answer an error shows.
const MOST_LINES: usize = 8;

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status; `None` where nothing answered.
    pub status: Option<u16>,
    /// The body.
    pub body: String,
    /// What the program that asked had to complain about, in one line.
    pub complaint: String,
    /// Whether the certificate is none that the asking server trusts.
    pub is_untrusted: bool,
    /// Whether the time of the request was up before anything answered.
    pub is_late: bool,
}

impl Answer {
    /// No answer within the time of one request: the next request may have more luck.
    fn late(seconds: u32) -> Self {
        let complaint = format!("no answer within {seconds} s");
        Self { status: None, body: String::new(), complaint, is_untrusted: false, is_late: true }
    }
}

/// The exit code of curl for a certificate that it does not trust (`CURLE_PEER_FAILED_VERIFICATION`).
const UNTRUSTED: i32 = 60;

/// The exit code of curl whose time is up (`CURLE_OPERATION_TIMEDOUT`).
const LATE: i32 = 28;

/// What `curl` writes after the body: on a line of its own, so that it is found again.
const WRITE_OUT: &str = "\\n%{http_code}";

/// Asks a web server, which has `seconds` to answer.
pub(super) fn http(
    check: &HttpCheck,
    url: &str,
    seconds: u32,
    probe: &dyn Probe,
) -> Result<Answer> {
    let query = Query::http(&curl_config(check, url, seconds), seconds);
    let output = match probe.query(&query) {
        Err(error) if error.kind == Kind::TimedOut => return Ok(Answer::late(seconds)),
        output => output?,
    };
    if output.status == LATE {
        return Ok(Answer::late(seconds));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    // curl says 000 where there was no answer at all.
    let status = status.trim().parse().ok().filter(|status| *status != 0);
    Ok(Answer {
        status,
        body: body.to_owned(),
        complaint: complaint(&output.stderr),
        is_untrusted: output.status == UNTRUSTED,
        is_late: false,
    })
}

/// Asks PHP-FPM, which has `seconds` to answer.
pub(super) fn fastcgi(
    check: &HttpCheck,
    request: &FastCgi,
    seconds: u32,
    probe: &dyn Probe,
) -> Result<Answer> {
    let variables = cgi_variables(&check.method, request);
    // `cgi-fcgi` has no limit of its own, unlike curl.
    let output = match probe.query(&Query::fastcgi(request.socket.as_str(), variables, seconds)) {
        Err(error) if error.kind == Kind::TimedOut => return Ok(Answer::late(seconds)),
        output => output?,
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let (status, body) = cgi_answer(&text);
    Ok(Answer {
        status: status.filter(|_| output.success()),
        body,
        complaint: complaint(&output.stderr),
        is_untrusted: false,
        is_late: false,
    })
}

/// The options of one request in the form of a file, which curl reads from its input: a URL with
/// a token in it shows in no list of processes.
fn curl_config(check: &HttpCheck, url: &str, seconds: u32) -> String {
    let mut options = vec![
        ("url", url.to_owned()),
        ("max-time", seconds.to_string()),
        ("user-agent", "infra".to_owned()),
        ("noproxy", "*".to_owned()),
        ("write-out", WRITE_OUT.to_owned()),
    ];
    // curl knows itself what it has to do differently for these two.
    if !matches!(check.method.as_str(), "GET" | "HEAD") {
        options.push(("request", check.method.clone()));
    }
    if let Some(host) = &check.host {
        options.push(("header", format!("Host: {host}")));
    }
    match check.resolve.as_deref().map(str::parse) {
        Some(Ok(IpAddr::V6(address))) => options.push(("connect-to", format!("::[{address}]:"))),
        Some(Ok(IpAddr::V4(address))) => options.push(("connect-to", format!("::{address}:"))),
        _ => {}
    }
    let switches = [
        ("silent", true),
        ("show-error", true),
        ("globoff", true),
        ("head", check.method == "HEAD"),
        ("insecure", check.insecure),
        ("location", check.follow),
    ];
    let switches = switches.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned());
    let options = options.iter().map(|(name, value)| format!("{name} = {}", quoted(name, value)));
    switches.chain(options).map(|line| line + "\n").collect()
}

/// As curl's configuration files quote a value.
fn quoted(option: &str, value: &str) -> String {
    // The line break of `write-out` is written as an escape already.
    let value = if option == "write-out" { value.to_owned() } else { value.replace('\\', "\\\\") };
    format!("\"{}\"", value.replace('"', "\\\"").replace('\n', "\\n"))
}

/// What a web server tells PHP-FPM.
fn cgi_variables(method: &str, request: &FastCgi) -> Vec<(&'static str, String)> {
    let script = request.script.as_str();
    let (folder, name) = script.rsplit_once('/').unwrap_or(("", script));
    let root = request.document_root.as_ref().map_or(folder, |root| root.as_str());
    let below_root = script.strip_prefix(root).filter(|rest| rest.starts_with('/'));
    let script_name = below_root.map_or_else(|| format!("/{name}"), str::to_owned);
    let (path, query) = request.uri.split_once('?').unwrap_or((&request.uri, ""));
    let text = str::to_owned;
    vec![
        ("DOCUMENT_ROOT", text(root)),
        ("DOCUMENT_URI", text(path)),
        ("GATEWAY_INTERFACE", text("CGI/1.1")),
        ("HTTPS", text("on")),
        ("HTTP_HOST", request.host.clone()),
        ("QUERY_STRING", text(query)),
        ("REMOTE_ADDR", text("127.0.0.1")),
        ("REQUEST_METHOD", text(method)),
        ("REQUEST_SCHEME", text("https")),
        ("REQUEST_URI", request.uri.clone()),
        ("SCRIPT_FILENAME", text(script)),
        ("SCRIPT_NAME", script_name),
        ("SERVER_NAME", request.host.clone()),
        ("SERVER_PORT", text("443")),
        ("SERVER_PROTOCOL", text("HTTP/1.1")),
    ]
}

/// The status and the body of what a CGI program printed. A program that names no status means
/// 200; one that printed no header has not answered.
fn cgi_answer(text: &str) -> (Option<u16>, String) {
    let split = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n"));
    let Some((head, body)) = split else { return (None, text.to_owned()) };
    let status = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("status").then(|| value.trim())
    });
    let status = match status {
        None => Some(200),
        Some(value) => value.split_whitespace().next().and_then(|code| code.parse().ok()),
    };
    (status, body.to_owned())
}

/// The first lines of a body, and those that name an error.
pub(super) fn lines_of(body: &str) -> String {
    let lines = body.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
    let lines = excerpt::first(&lines.collect::<Vec<_>>().join("\n"), MOST_LINES);
    let short = lines.lines().map(|line| line.chars().take(200).collect::<String>());
    short.collect::<Vec<_>>().join("\n")
}

fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    // curl explains at length what a certificate is.
    let lines = lines.take_while(|line| !line.starts_with("More details here: "));
    let lines = excerpt::first(&lines.collect::<Vec<_>>().join("\n"), MOST_LINES);
    lines.lines().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> HttpCheck {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn curl_reads_its_options_from_its_input() {
        let check = check(
            r#"{"url": "https://flus.fr/?t=a\"b\\c", "resolve": "::1", "host": "x.fr",
                "insecure": true}"#,
        );
        assert_eq!(
            curl_config(&check, check.url.as_deref().unwrap(), 10),
            "silent\nshow-error\ngloboff\ninsecure\n\
             url = \"https://flus.fr/?t=a\\\"b\\\\c\"\n\
             max-time = \"10\"\nuser-agent = \"infra\"\nnoproxy = \"*\"\n\
             write-out = \"\\n%{http_code}\"\n\
             header = \"Host: x.fr\"\nconnect-to = \"::[::1]:\"\n"
        );
    }

    #[test]
    fn php_is_told_what_a_web_server_would_tell() {
        let check = check(
            r#"{"fastcgi": {"socket": "/run/php/x.sock", "script": "/srv/x/public/index.php",
                "uri": "/login?a=1", "host": "flus.fr"}}"#,
        );
        let variables = cgi_variables("GET", check.fastcgi.as_ref().unwrap());
        let value =
            |name| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| v.as_str());
        assert_eq!(value("SCRIPT_FILENAME"), Some("/srv/x/public/index.php"));
        assert_eq!(value("SCRIPT_NAME"), Some("/index.php"));
        assert_eq!(value("DOCUMENT_ROOT"), Some("/srv/x/public"));
        assert_eq!(value("REQUEST_URI"), Some("/login?a=1"));
        assert_eq!(value("QUERY_STRING"), Some("a=1"));
        assert_eq!(value("HTTP_HOST"), Some("flus.fr"));
    }

    #[test]
    fn reads_the_status_of_a_cgi_answer() {
        let answer = |text: &str| cgi_answer(text);
        assert_eq!(answer("Content-type: text/html\r\n\r\nhello"), (Some(200), "hello".into()));
        assert_eq!(answer("Status: 404 Not Found\r\n\r\n"), (Some(404), String::new()));
        assert_eq!(answer("status: 302\n\nx"), (Some(302), "x".into()));
        assert_eq!(answer("Could not connect"), (None, "Could not connect".into()));
    }
}
