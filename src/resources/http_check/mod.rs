//! `http_check`: a page that has to answer, asked from the server itself.

mod request;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fields::{AbsolutePath, OneOrMany};
use super::patience::{self, Patience};
use super::prediction::Prediction;
use super::probe::Probe;
use super::state::{Change, Current, State};
use super::system::System;
use super::{Resource, url};
use crate::error::{Error, Result};

use request::Answer;

/// A page that has to answer as it should, once the changes before it are made.
///
/// It is asked from the server itself, by `curl`, or past the web server straight from PHP-FPM
/// (`fastcgi`, which needs the package `libfcgi-bin`). It never changes anything; while what it
/// asks is starting, it asks again for `within_seconds`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// The page. Exactly one of `url` and `fastcgi` is given.
    #[serde(default)]
    pub url: Option<String>,
    /// Asks PHP-FPM instead of a web server.
    #[serde(default)]
    pub fastcgi: Option<FastCgi>,
    /// The method of the request.
    #[serde(default = "default_method")]
    pub method: String,
    /// The status that is right, or several of them.
    #[serde(default = "default_status")]
    pub status: OneOrMany,
    /// A text that the answer has to contain.
    #[serde(default)]
    pub contains: Option<String>,
    /// The `Host` header, where it is not the host of the URL.
    #[serde(default)]
    pub host: Option<String>,
    /// The address to connect to instead of asking the DNS: `127.0.0.1` to ask this very server.
    #[serde(default)]
    pub resolve: Option<String>,
    /// Accepts a certificate that cannot be verified, such as a self-signed one.
    #[serde(default)]
    pub insecure: bool,
    /// Follows redirections, and looks at the last answer.
    #[serde(default)]
    pub follow: bool,
    /// How long one request may take. A page that does not answer a `GET` or `HEAD` within three
    /// seconds is asked a second time.
    #[serde(default = "default_timeout")]
    pub timeout_seconds: u32,
    /// For how long it is asked again after changes, until the answer is right.
    #[serde(default = "default_within")]
    pub within_seconds: u32,
}

/// A request to PHP-FPM, as a web server would make it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FastCgi {
    /// The socket of the pool.
    pub socket: AbsolutePath,
    /// The PHP file that answers.
    pub script: AbsolutePath,
    /// The folder that is the root of the site; the folder of `script` if not given.
    #[serde(default)]
    pub document_root: Option<AbsolutePath>,
    /// The path of the page, with its query.
    #[serde(default = "default_uri")]
    pub uri: String,
    /// The name of the site.
    #[serde(default = "default_host")]
    pub host: String,
}

fn default_method() -> String {
    "GET".to_owned()
}

fn default_status() -> OneOrMany {
    OneOrMany(vec!["200".to_owned()])
}

fn default_timeout() -> u32 {
    10
}

fn default_within() -> u32 {
    30
}

fn default_uri() -> String {
    "/".to_owned()
}

fn default_host() -> String {
    "localhost".to_owned()
}

/// How long the first request may take. Where PHP-FPM starts its workers on demand, a request that
/// arrives just as the last idle worker ends waits for the next request.
const FIRST_TRY_SECONDS: u32 = 3;

/// Between two requests of one check.
const PAUSE_MILLISECONDS: u32 = 500;

/// For how long a certificate that is not trusted may still become another one.
const CERTIFICATE: Duration = Duration::from_secs(3);

impl HttpCheck {
    /// The answer to a request, and where none comes in a short time, to one more.
    fn ask(&self, probe: &dyn Probe) -> Result<Answer> {
        // A request that changes something may be at work although no answer has come.
        if !matches!(self.method.as_str(), "GET" | "HEAD") {
            return self.ask_once(self.timeout_seconds, probe);
        }
        let first = self.ask_once(self.timeout_seconds.min(FIRST_TRY_SECONDS), probe)?;
        if first.is_late { self.ask_once(self.timeout_seconds, probe) } else { Ok(first) }
    }

    fn ask_once(&self, seconds: u32, probe: &dyn Probe) -> Result<Answer> {
        match (&self.url, &self.fastcgi) {
            (_, Some(fastcgi)) => request::fastcgi(self, fastcgi, seconds, probe),
            (Some(url), None) => request::http(self, url, seconds, probe),
            (None, None) => Err(Error::input("an `http_check` needs a `url` or `fastcgi`")),
        }
    }

    fn wanted_status(&self) -> String {
        self.status.0.join(" or ")
    }

    fn state_of(&self, answer: &Answer) -> State {
        let status = match answer.status {
            Some(status) if self.status.0.contains(&status.to_string()) => self.wanted_status(),
            Some(status) => status.to_string(),
            None => format!("no answer ({})", answer.complaint),
        };
        let found = self.contains.as_ref().map(|text| answer.body.contains(text));
        State::new().with("status", status).with_some("contains", found)
    }

    fn is_right(&self, answer: &Answer) -> bool {
        Some(self.state_of(answer)) == self.desired()
    }

    /// What was wrong with the last answer.
    fn failure(&self, answer: &Answer, waited: Duration) -> Error {
        let what = self.identity();
        let seconds = waited.as_secs();
        if answer.is_untrusted {
            let message = format!("`{what}` shows a certificate that this server does not trust");
            return Error::failed(message)
                .because(&answer.complaint)
                .hint("`insecure: true` takes any certificate, such as a self-signed one");
        }
        let message = match answer.status {
            None => format!("`{what}` does not answer after {seconds} s"),
            Some(status) if !self.status.0.contains(&status.to_string()) => format!(
                "`{what}` answers {status}, not {}, after {seconds} s",
                self.wanted_status()
            ),
            Some(_) => format!(
                "`{what}` does not contain `{}` after {seconds} s",
                self.contains.as_deref().unwrap_or_default()
            ),
        };
        let excerpt = request::lines_of(&answer.body);
        [answer.complaint.clone(), excerpt]
            .into_iter()
            .filter(|cause| !cause.is_empty())
            .fold(Error::failed(message), Error::because)
    }
}

impl Resource for HttpCheck {
    const KIND: &'static str = "http_check";
    const PRIMARY: Option<&'static str> = Some("url");
    const EXAMPLE: &'static str = "\
- http_check: { url: \"https://flus.fr/login\", resolve: 127.0.0.1, contains: Flus }
- http_check: { url: \"http://flus.fr/\", resolve: 127.0.0.1, status: [301, 308] }
- http_check:
    fastcgi: { socket: /run/php/flus.sock, script: /srv/flus/current/public/index.php, uri: /login }
";

    fn identity(&self) -> String {
        let mut words = Vec::new();
        if self.method != "GET" {
            words.push(self.method.clone());
        }
        match &self.fastcgi {
            Some(fastcgi) => {
                words.push(format!("{}{}", fastcgi.host, fastcgi.uri));
                words.push(format!("on {}", fastcgi.socket));
            }
            None => words.extend(self.url.clone()),
        }
        words.extend(self.host.as_ref().map(|host| format!("as {host}")));
        words.join(" ")
    }

    fn validate(&self) -> Result<(), String> {
        match (&self.url, &self.fastcgi) {
            (Some(url), None) => url::check(url)?,
            (None, Some(fastcgi)) if !fastcgi.uri.starts_with('/') => {
                return Err(format!("`uri` begins with a slash, unlike `{}`", fastcgi.uri));
            }
            (None, Some(_)) => {
                if self.host.is_some() || self.resolve.is_some() || self.insecure || self.follow {
                    return Err("`host`, `resolve`, `insecure` and `follow` go with `url`, not \
                                with `fastcgi`"
                        .to_owned());
                }
            }
            _ => return Err("exactly one of `url` and `fastcgi` is needed".to_owned()),
        }
        let is_status = |text: &String| text.parse().is_ok_and(|n: u16| (100..=599).contains(&n));
        if let Some(wrong) = self.status.0.iter().find(|text| !is_status(text)) {
            return Err(format!("`{wrong}` is not a status such as `200`"));
        }
        if self.status.0.is_empty() {
            return Err("`status` is empty".to_owned());
        }
        if let Some(wrong) = self.resolve.iter().find(|text| text.parse::<IpAddr>().is_err()) {
            return Err(format!("`{wrong}` is not an address such as `127.0.0.1`"));
        }
        if self.method.is_empty() || !self.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(format!("`{}` is not a method such as `GET`", self.method));
        }
        if self.timeout_seconds == 0 {
            return Err("`timeout_seconds` cannot be 0".to_owned());
        }
        patience::check("timeout_seconds", self.timeout_seconds)?;
        patience::check("within_seconds", self.within_seconds)
    }

    fn desired(&self) -> Option<State> {
        let contains = self.contains.as_ref().map(|_| true);
        Some(State::new().with("status", self.wanted_status()).with_some("contains", contains))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        Ok(Current::Present(self.state_of(&self.ask(probe)?)))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if change.is_remove() {
            return Ok(());
        }
        let mut patience = Patience::new(self.within_seconds, PAUSE_MILLISECONDS);
        loop {
            let answer = self.ask(system)?;
            if self.is_right(&answer) {
                return Ok(());
            }
            // A certificate gets no better, once a web server that reads it anew has done so.
            let is_hopeless = answer.is_untrusted && patience.elapsed() >= CERTIFICATE;
            if is_hopeless || !patience.pause(system) {
                return Err(self.failure(&answer, patience.elapsed()));
            }
        }
    }

    fn predict(&self, _: &Change, _: &mut Prediction<'_>) {}

    fn verifies(&self) -> bool {
        true
    }
}
