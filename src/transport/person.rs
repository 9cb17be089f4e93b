//! The person at the terminal: asked by one connection after the other, for what ssh and sudo
//! want to know.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use super::{Login, failure};
use crate::error::{Context as _, Error, Result};
use crate::secret::Secret;

/// The terminal that a person sits at.
pub trait Terminal: Send + Sync {
    /// Asks for a password; it is not shown.
    fn ask(&self, question: &str) -> io::Result<String>;

    /// Whether questions are about to be asked, so that nothing else may be drawn.
    fn is_asking(&self, yes: bool);
}

/// Who can be asked; nobody where there is no terminal.
pub struct Person {
    terminal: Option<Arc<dyn Terminal>>,
    /// Whose turn it is to ask, and the passwords for sudo that were typed, by the server that
    /// each was typed for: no other server gets it.
    turn: Mutex<BTreeMap<String, Secret>>,
}

/// While it is held, no other connection asks anything.
pub(super) struct Turn<'a> {
    terminal: &'a Arc<dyn Terminal>,
    typed: MutexGuard<'a, BTreeMap<String, Secret>>,
}

impl Person {
    /// `terminal` is `None` where there is none.
    pub fn new(terminal: Option<Arc<dyn Terminal>>) -> Self {
        Self { terminal, turn: Mutex::default() }
    }

    /// Waits until nobody else asks; `None` if there is nobody to ask.
    pub(super) async fn turn(&self) -> Option<Turn<'_>> {
        let terminal = self.terminal.as_ref()?;
        let typed = self.turn.lock().await;
        terminal.is_asking(true);
        Some(Turn { terminal, typed })
    }

    /// The password of the login user, for sudo: from the inventory, or asked
    /// once a run for each server.
    pub(super) async fn sudo_password(&self, login: Login<'_>) -> Result<Secret> {
        if let Some(password) = &login.settings.sudo_password {
            return Ok(password.clone());
        }
        let Some(mut turn) = self.turn().await else {
            return Err(failure::no_sudo_password(login.server, login.settings));
        };
        if let Some(password) = turn.typed.get(login.server) {
            return Ok(password.clone());
        }
        let user = login.settings.user.as_deref().unwrap_or("the login user");
        let question = format!("sudo password of {user} on {}: ", login.server);
        let terminal = Arc::clone(turn.terminal);
        let answer = tokio::task::spawn_blocking(move || terminal.ask(&question))
            .await
            .map_err(|error| Error::failed("cannot ask for a password").because(error))?;
        let password = Secret::new(answer.context(|| "cannot ask for a password".to_owned())?);
        turn.typed.insert(login.server.to_owned(), password.clone());
        Ok(password)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.terminal.is_asking(false);
    }
}
