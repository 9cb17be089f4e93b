//! One line a server that shows what is going on, on a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::events::Event;
use crate::shown;

/// More lines than a terminal has would only scroll.
const MOST_LINES: usize = 12;

/// How often a line moves by itself, so that a long step does not look dead.
const TICK: Duration = Duration::from_millis(120);

/// The lines at the bottom of a terminal; nothing where there is none.
pub(super) struct Progress {
    all: MultiProgress,
    lines: BTreeMap<String, ProgressBar>,
    width: usize,
    is_shown: bool,
}

/// All lines at the bottom of a terminal, as far as others than the report see them.
#[derive(Clone, Debug)]
pub struct ProgressLines {
    all: MultiProgress,
    is_shown: bool,
}

impl ProgressLines {
    /// Where nothing is drawn.
    pub fn none() -> Self {
        Self { all: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()), is_shown: false }
    }

    /// Takes the lines away, or shows them again.
    pub fn pause(&self, yes: bool) {
        if !self.is_shown {
            return;
        }
        if yes {
            // A terminal that cannot be cleared cannot be asked at either.
            let _ = self.all.clear();
            self.all.set_draw_target(ProgressDrawTarget::hidden());
        } else {
            self.all.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Progress {
    /// `is_shown` is false for machine-readable output.
    pub(super) fn new(is_shown: bool, width: usize) -> Self {
        let target =
            if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        // Standard error is no terminal, then.
        let is_shown = !all.is_hidden();
        Self { all, lines: BTreeMap::new(), width, is_shown }
    }

    /// The lines as others see them.
    pub(super) fn lines(&self) -> ProgressLines {
        ProgressLines { all: self.all.clone(), is_shown: self.is_shown }
    }

    /// Runs `write` while the lines are out of the way.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.all.suspend(write)
    }

    /// Says what a server is doing.
    pub(super) fn say(&mut self, server: &str, text: &str) {
        if !self.is_shown {
            return;
        }
        if !self.lines.contains_key(server) && self.lines.len() < MOST_LINES {
            let line = self.all.add(ProgressBar::new_spinner());
            // The template is ours; a mistake in it shows in the tests, not here.
            if let Ok(style) = ProgressStyle::with_template("{prefix}  {spinner} {wide_msg}") {
                line.set_style(style);
            }
            line.set_prefix(format!("{server:width$}", width = self.width));
            line.enable_steady_tick(TICK);
            self.lines.insert(server.to_owned(), line);
        }
        if let Some(line) = self.lines.get(server) {
            line.set_message(shown::line(text));
        }
    }

    /// Shows an event.
    pub(super) fn event(&mut self, server: &str, event: &Event) {
        match event {
            Event::Started { .. } => self.say(server, "looking"),
            Event::Applying { id } => self.say(server, &id.to_string()),
            Event::Progress { id, percent: Some(percent), message } => {
                self.say(server, &format!("{id}  {percent:.0} %  {message}"));
            }
            Event::Progress { id, percent: None, message } => {
                self.say(server, &format!("{id}  {message}"));
            }
            Event::PlanComplete | Event::Finished | Event::Aborted { .. } => self.done(server),
            _ => {}
        }
    }

    /// Takes the line of a server away.
    pub(super) fn done(&mut self, server: &str) {
        if let Some(line) = self.lines.remove(server) {
            line.finish_and_clear();
            self.all.remove(&line);
        }
    }
}
