//! `port_check`: a TCP port that has to accept connections, or must not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Resource;
use super::fields::yes;
use super::patience::{self, Patience};
use super::prediction::Prediction;
use super::probe::Probe;
use super::state::{Change, Current, State};
use super::system::System;
use crate::error::{Error, Result};

/// A TCP port that has to accept connections, once the changes before it are made.
///
/// It is asked from the server itself, and again for `within_seconds` while what listens there is
/// starting. It never changes anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PortCheck {
    /// The port.
    pub port: u16,
    /// The address to connect to.
    #[serde(default = "default_host")]
    pub host: String,
    /// Whether it should accept connections; `false` checks that nothing listens.
    #[serde(default = "yes")]
    pub open: bool,
    /// For how long it is asked again after changes, until it is right.
    #[serde(default = "default_within")]
    pub within_seconds: u32,
}

fn default_host() -> String {
    "127.0.0.1".to_owned()
}

fn default_within() -> u32 {
    30
}

const TIMEOUT: Duration = Duration::from_secs(3);

/// Between two attempts.
const PAUSE_MILLISECONDS: u32 = 250;

impl PortCheck {
    /// `localhost` needs no DNS; other names would make the answer depend on it.
    fn address(&self) -> Option<IpAddr> {
        if self.host == "localhost" {
            return Some(Ipv4Addr::LOCALHOST.into());
        }
        self.host.parse().ok()
    }

    fn is_open(&self, probe: &dyn Probe) -> Result<bool> {
        let address = self.address().ok_or_else(|| Error::input(self.wrong_host()))?;
        probe.connects(SocketAddr::new(address, self.port), TIMEOUT)
    }

    fn wrong_host(&self) -> String {
        format!("`{}` is not an address such as `127.0.0.1`", self.host)
    }
}

impl Resource for PortCheck {
    const KIND: &'static str = "port_check";
    const PRIMARY: Option<&'static str> = Some("port");
    const EXAMPLE: &'static str = "\
- port_check: 443
- port_check: { port: 5432, host: 192.0.2.10, open: false }
";

    fn identity(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn validate(&self) -> Result<(), String> {
        if self.port == 0 {
            return Err("a port is between 1 and 65535".to_owned());
        }
        self.address().ok_or_else(|| self.wrong_host())?;
        patience::check("within_seconds", self.within_seconds)
    }

    fn desired(&self) -> Option<State> {
        Some(State::new().with("open", self.open))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        Ok(Current::Present(State::new().with("open", self.is_open(probe)?)))
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if change.is_remove() {
            return Ok(());
        }
        let mut patience = Patience::new(self.within_seconds, PAUSE_MILLISECONDS);
        while self.is_open(system)? != self.open {
            if !patience.pause(system) {
                let what = if self.open { "does not accept connections" } else { "is still open" };
                let seconds = patience.elapsed().as_secs();
                let message = format!("`{}` {what} after {seconds} s", self.identity());
                return Err(Error::failed(message));
            }
        }
        Ok(())
    }

    fn predict(&self, _: &Change, _: &mut Prediction<'_>) {}

    fn verifies(&self) -> bool {
        true
    }
}
