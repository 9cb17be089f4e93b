//! The password of the login user, for `sudo`: from the inventory, or asked once a run.

use tokio::sync::Mutex;

use super::{Login, failure};
use crate::error::{Context as _, Error, Result};
use crate::secret::Secret;

/// Asks a person for a password; the argument is the question.
pub type Ask = Box<dyn Fn(&str) -> std::io::Result<String> + Send + Sync>;

/// Passwords as far as they are known.
pub struct Passwords {
    ask: Option<std::sync::Arc<Ask>>,
    /// What was typed; it is tried on every server that wants one.
    typed: Mutex<Option<Secret>>,
}

impl Passwords {
    /// `ask` is `None` where there is no terminal.
    pub fn new(ask: Option<Ask>) -> Self {
        Self { ask: ask.map(std::sync::Arc::new), typed: Mutex::new(None) }
    }

    /// Whether a person can be asked.
    pub(super) fn can_ask(&self) -> bool {
        self.ask.is_some()
    }

    /// The password for sudo on a server.
    pub(super) async fn of(&self, login: Login<'_>) -> Result<Secret> {
        if let Some(password) = &login.settings.sudo_password {
            return Ok(password.clone());
        }
        let Some(ask) = self.ask.clone() else {
            return Err(failure::no_sudo_password(login.server, login.settings));
        };
        let mut typed = self.typed.lock().await;
        if let Some(password) = &*typed {
            return Ok(password.clone());
        }
        let user = login.settings.user.as_deref().unwrap_or("the login user");
        let question = format!("sudo password of {user} on {}: ", login.server);
        let answer = tokio::task::spawn_blocking(move || ask(&question))
            .await
            .map_err(|error| Error::failed("cannot ask for a password").because(error))?;
        let password = Secret::new(answer.context(|| "cannot ask for a password".to_owned())?);
        *typed = Some(password.clone());
        Ok(password)
    }
}
