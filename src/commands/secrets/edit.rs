//! `infra secrets edit`: opens a file of secrets in an editor.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::cli::Context;
use crate::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::error::{Context as _, Error, Kind, Result};
use crate::exit_code::ExitCode;
use crate::report;
use crate::secrets::memory::{self, MemoryFolder};
use crate::secrets::{Folder, Opened, Replaced, change};
use crate::yaml;

use super::editor::Editor;
use super::watch::Watcher;

/// Opens a file in `VISUAL` or `EDITOR`, and encrypts it again. The text in the clear is in
/// memory only, and is wiped at the end.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file: `all`, a group or a server.
    #[arg(default_value = "all", value_name = "NAME")]
    name: String,
}

/// Edits until what is written is YAML and saved, or the user gives up.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    super::check_name(&args.name)?;
    let folder = super::folder(context)?;
    super::check_known(context, &folder, &args.name)?;
    let editor = Editor::find()?;
    editor.check_terminal()?;
    let before = folder.open(&args.name)?;
    let is_new = before.is_none();
    // That nobody could read the result is found before somebody has written it.
    folder.encrypt(&args.name, before.as_ref().map(|opened| opened.bytes.as_slice()), "")?;
    let memory = MemoryFolder::create()?;
    let _watcher = Watcher::start(memory.path())?;
    die_cleanly(memory.path())?;
    let shown = Folder::shown(&args.name);
    let edit = Edit { folder: &folder, name: &args.name, shown: &shown, editor, memory: &memory };
    let done = edit.run(before, report::terminal::colored_errors(context.color))?;
    if matches!(done, Done::Written) {
        super::note_readers(&folder, &args.name, is_new)?;
    }
    report::note(&match done {
        Done::Unchanged => format!("no change in `{shown}`"),
        Done::Written => format!("wrote `{shown}`"),
    });
    Ok(ExitCode::Done)
}

/// Whether Ctrl-C is the editor's business.
static IS_EDITING: AtomicBool = AtomicBool::new(false);

/// Ends the process on Ctrl-C, the text wiped; but not while an editor runs, which gets the same
/// signal and may use it for something else. Of other signals the process dies, and the watcher
/// wipes.
///
/// The signal is taken over before this returns: an editor that is started next may be
/// interrupted before another thread had its turn.
fn die_cleanly(folder: &Path) -> Result<()> {
    let folder = folder.to_owned();
    let failed = || "cannot listen for interrupts".to_owned();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context(failed)?;
    let mut interrupts = {
        let _inside = runtime.enter();
        signal(SignalKind::interrupt()).context(failed)?
    };
    std::thread::spawn(move || {
        while runtime.block_on(interrupts.recv()).is_some() {
            if !IS_EDITING.load(Ordering::Relaxed) {
                memory::wipe(&folder);
                #[expect(clippy::exit, reason = "another thread waits for the terminal")]
                std::process::exit(ExitCode::Interrupted.number().into());
            }
        }
    });
    Ok(())
}

/// How an edit ended well.
enum Done {
    Unchanged,
    Written,
}

/// What the user wants when asked.
#[derive(PartialEq, Eq)]
enum Answer {
    /// A line without anything.
    Enter,
    Word(String),
    /// There is nobody to ask.
    Nobody,
}

struct Edit<'a> {
    folder: &'a Folder,
    name: &'a str,
    shown: &'a str,
    editor: Editor,
    memory: &'a MemoryFolder,
}

/// What the user's text is compared with: the file as it was read last.
struct Base {
    /// `None` if there is no file.
    bytes: Option<Vec<u8>>,
    text: Zeroizing<String>,
    /// Whether the editor was given this text, so that leaving it as it is means no change.
    is_shown: bool,
}

impl Base {
    fn new(opened: Option<Opened>, is_shown: bool) -> Self {
        match opened {
            Some(Opened { bytes, text }) => Self { bytes: Some(bytes), text, is_shown },
            None => Self { bytes: None, text: Zeroizing::default(), is_shown },
        }
    }
}

impl Edit<'_> {
    fn run(&self, before: Option<Opened>, colored: bool) -> Result<Done> {
        let mut base = Base::new(before, true);
        let file = self.put(&base.text)?;
        loop {
            let bytes = self.edited(&file)?;
            let error = match self.save(&mut base, &bytes, colored) {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => continue,
                Err(error) => error,
            };
            if error.kind == Kind::Interrupted || !report::terminal::can_ask() {
                return Err(error);
            }
            // A full disk, a mistake in the list of recipients: what was typed is not lost.
            report::note(&format!("error: {error}"));
            reopen_or_give_up()?;
            base.is_shown = false;
        }
    }

    /// Puts a text before the editor.
    fn put(&self, text: &str) -> Result<PathBuf> {
        self.memory.write(&format!("{}.yaml", self.name), text)
    }

    /// Runs the editor, and returns what it left.
    fn edited(&self, file: &Path) -> Result<Zeroizing<Vec<u8>>> {
        IS_EDITING.store(true, Ordering::Relaxed);
        let edited = self.editor.edit(file);
        IS_EDITING.store(false, Ordering::Relaxed);
        edited?;
        let bytes = std::fs::read(file).context(|| format!("cannot read `{}`", file.display()))?;
        Ok(Zeroizing::new(bytes))
    }

    /// Saves what is right and new; `None` if the editor has to be opened again.
    fn save(&self, base: &mut Base, bytes: &[u8], colored: bool) -> Result<Option<Done>> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("not UTF-8 from byte {} on", error.valid_up_to());
                let mistakes = Diagnostics::from(Diagnostic::nowhere(message));
                self.tell(&mistakes, &String::from_utf8_lossy(bytes), colored)?;
                return Ok(None);
            }
        };
        // Notes of a merge go by saving, also where the values are right as they are.
        let cleaned = change::without_notes(text);
        if base.is_shown && text == *base.text && text == *cleaned {
            return Ok(Some(Done::Unchanged));
        }
        if let Err(mistakes) = check(self.shown, &cleaned) {
            self.tell(&mistakes, &cleaned, colored)?;
            return Ok(None);
        }
        if self.folder.replace(self.name, base.bytes.as_deref(), &cleaned)? == Replaced::Done {
            return Ok(Some(Done::Written));
        }
        // Somebody else has changed the file: what they wrote becomes the base, and what is in
        // the editor is a change then, even if the user leaves it as it is.
        let other = Base::new(self.folder.open(self.name)?, false);
        let text = match self.both(&base.text, &other.text, &cleaned)? {
            Both::Merged(text) => {
                if self.folder.replace(self.name, other.bytes.as_deref(), &text)? == Replaced::Done
                {
                    return Ok(Some(Done::Written));
                }
                text
            }
            Both::Reopen(text) => text,
        };
        self.put(&text)?;
        *base = other;
        Ok(None)
    }

    /// Says what is wrong, and returns when the user wants to mend it.
    fn tell(&self, mistakes: &Diagnostics, text: &str, colored: bool) -> Result<()> {
        if !report::terminal::can_ask() {
            // A snippet would show values, and whatever this is written to may be kept.
            let place = mistakes.iter().flat_map(|mistake| &mistake.places).next();
            let line = place.map_or(1, |place| place.span.line());
            let error = Error::input(format!("cannot save the edit of `{}`", self.shown));
            return Err(self.aside(error.because(format!("line {line} is not YAML")), text));
        }
        report::terminal::print_mistakes(mistakes, colored);
        reopen_or_give_up()
    }

    /// What becomes of two changes of `base`: somebody else's, which is in the file, and the
    /// user's.
    fn both(&self, base: &str, other: &str, edited: &str) -> Result<Both> {
        let merged = change::merge(self.name, base, other, edited)?;
        let shown = self.shown;
        if merged.conflicts.is_empty() {
            report::note(&format!("`{shown}` was changed while you edited it, at other keys"));
            return match ask("Enter saves both changes, `r` shows them in the editor first: ")? {
                Answer::Word(word) if word == "r" => Ok(Both::Reopen(merged.text)),
                Answer::Enter | Answer::Nobody => Ok(Both::Merged(merged.text)),
                Answer::Word(_) => Err(given_up()),
            };
        }
        let names = merged.conflict_names();
        let mine = change::merge(self.name, base, edited, other)?;
        report::note(&format!(
            "`{shown}` was changed while you edited it, and both changed {names}"
        ));
        match ask("Enter opens the editor with your values, the others as notes; `q` gives up: ")? {
            Answer::Enter => {
                let conflicts = &mine.conflicts;
                let who = "somebody else";
                change::with_notes(self.name, &mine.text, other, conflicts, who).map(Both::Reopen)
            }
            Answer::Word(_) => Err(given_up()),
            Answer::Nobody => {
                let error = Error::input(format!("cannot save the edit of `{shown}`"));
                let error = error.because(format!("somebody else has changed {names} as well"));
                Err(self.aside(error, edited))
            }
        }
    }

    /// Keeps what the user wrote, encrypted beside the file, and says so in the error.
    fn aside(&self, error: Error, text: &str) -> Error {
        match self.folder.set_aside(self.name, text) {
            Ok(name) => error.hint(format!("your edit is in `{}`", Folder::shown(&name))),
            Err(worse) => error.because(worse),
        }
    }
}

/// What to do with two changes.
enum Both {
    Merged(Zeroizing<String>),
    Reopen(Zeroizing<String>),
}

fn reopen_or_give_up() -> Result<()> {
    match ask("Enter opens the editor again, `q` gives up and changes nothing: ")? {
        Answer::Enter => Ok(()),
        _ => Err(given_up()),
    }
}

fn given_up() -> Error {
    Error::new(Kind::Interrupted, "given up: nothing was changed")
}

fn ask(question: &str) -> Result<Answer> {
    if !report::terminal::can_ask() || !std::io::stdin().is_terminal() {
        return Ok(Answer::Nobody);
    }
    let line = report::terminal::line(question);
    Ok(match line.context(|| "cannot read the answer".to_owned())?.trim() {
        "" => Answer::Enter,
        word => Answer::Word(word.to_owned()),
    })
}

/// Refuses what is not YAML, and what is no map.
fn check(shown: &str, text: &str) -> Result<(), Diagnostics> {
    let document = yaml::parse(&Source::new(shown, text))?;
    if document.as_map().is_some() || document.is_null() {
        return Ok(());
    }
    let message = format!("the file is {}, and must be a map of names", document.kind());
    Err(Diagnostic::at(&document.span, message).hint("write `name: value`").into())
}
