//! The laptop's part of the lock-out guard: the proof that a new connection gets in.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{News, Sender, send};
use crate::error::{Error, Kind, Result};
use crate::events::Event;
use crate::transport::{Link, Login, Refusal, Transport, may_pass};
use crate::wire::Request;

/// How long to wait where nobody listens: a service that was told to read its configuration anew
/// may still be about it.
const PAUSE: Duration = Duration::from_secs(1);

/// How much longer than it should take the server may stay silent about what it put back.
const SLACK: Duration = Duration::from_secs(15);

/// Tries to log in anew, and tells the agent what came of it; without a proof, waits until it has
/// told that everything is put back.
///
/// # Errors
/// If the agent cannot be told, or says nothing after it was told that there is no proof.
pub(super) async fn answer(
    transport: &Transport,
    login: Login<'_>,
    link: &mut Link,
    seconds: u32,
    sender: &Sender,
) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(u64::from(seconds));
    // The rest of the time is for the agent to hear of it.
    let last = Instant::now() + Duration::from_secs(u64::from(seconds)) * 2 / 3;
    let Err(Refusal { error, is_password_wrong }) = prove(transport, login, last).await else {
        link.send(&Request::Confirm).await.map_err(|error| silent(login, seconds, error))?;
        return transport.retire(login).await;
    };
    let refute = Request::Refute { error: error.clone(), is_password_wrong };
    let told = timeout(PAUSE, link.send(&refute)).await;
    if let Ok(Err(_)) = told {
        return Err(silent(login, seconds, error));
    }
    loop {
        let Ok(Ok(event)) = timeout_at(end + SLACK, link.receive()).await else {
            return Err(silent(login, seconds, error));
        };
        // The server may know that it has another password now.
        let is_decided = matches!(event, Event::Reverted { .. } | Event::Proved { .. });
        send(sender, login.server, News::Event(event)).await;
        if is_decided {
            return Ok(());
        }
    }
}

/// Until one connection gets in, until the server refuses us, or until `last`.
async fn prove(transport: &Transport, login: Login<'_>, last: Instant) -> Result<(), Refusal> {
    loop {
        let Refusal { error, is_password_wrong } =
            match timeout_at(last, transport.prove(login)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(refusal)) => refusal,
                Err(_) => {
                    let server = login.server;
                    return Err(Error::new(Kind::Reverted, "no new connection gets in")
                        .because(format!("`{server}` does not answer"))
                        .into());
                }
            };
        if !may_pass(&error) || Instant::now() + PAUSE > last {
            let error = error.context("no new connection gets in");
            let error = Error { kind: Kind::Reverted, hint: None, ..error };
            return Err(Refusal { error, is_password_wrong });
        }
        sleep(PAUSE).await;
    }
}

/// Nobody can tell from here how it went on.
fn silent(login: Login<'_>, seconds: u32, error: Error) -> Error {
    let server = login.server;
    let message = format!("no new connection gets into `{server}`, and the old one is broken");
    Error { kind: Kind::Reverted, hint: None, ..error.context(message) }.hint(format!(
        "the server puts the guarded changes back by itself within {seconds} s; then look with \
         `infra status {server}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::SshSettings;

    #[test]
    fn says_what_happens_when_nobody_answers() {
        let settings = SshSettings::default();
        let login = Login { server: "rufus", settings: &settings };
        let refused = Error::new(Kind::Unreachable, "`rufus` does not answer");
        let error = silent(login, 60, refused);
        assert_eq!(error.kind, Kind::Reverted);
        assert_eq!(
            error.to_string(),
            "no new connection gets into `rufus`, and the old one is broken\n\
             caused by: `rufus` does not answer\n\
             hint: the server puts the guarded changes back by itself within 60 s; then look \
             with `infra status rufus`"
        );
    }
}
