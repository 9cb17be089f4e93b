//! The editor that the user likes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::report;
use crate::secret::IDENTITY_VARIABLE;

/// What is tried where the environment names none, in this order.
const USUAL: &[&str] = &["editor", "nano", "vi"];

/// Editors that draw on a terminal, and wait for ever where there is none.
const ON_TERMINALS: &[&str] = &[
    "emacs",
    "hx",
    "joe",
    "kak",
    "micro",
    "nano",
    "nvim",
    "sensible-editor",
    "vi",
    "vim",
    "vim.basic",
    "vim.tiny",
];

/// Options with which such an editor runs a script.
const OF_SCRIPTS: &[&str] = &["-es", "-Es", "-s", "--headless", "--batch", "-batch"];

/// Makes vim keep no copy of the text anywhere: no swap file, no history of registers, no undo
/// file, no backup.
const VIM: &[&str] =
    &["-n", "-i", "NONE", "-c", "set nobackup nowritebackup | silent! set noundofile"];

/// The same for a vim that another program starts: it reads this in place of the user's file.
const VIMINIT: &str = "set nobackup nowritebackup noswapfile viminfo= | silent! set noundofile";

/// Reads the user's file first, as vim does without `VIMINIT`.
const VIMRC: &str = "\
set nocompatible
if has('nvim')
for g:infra_rc in ['init.lua', 'init.vim']
if filereadable(stdpath('config') . '/' . g:infra_rc)
execute 'source' fnameescape(stdpath('config') . '/' . g:infra_rc)
break
endif
endfor
else
for g:infra_rc in ['~/.vimrc', '~/.vim/vimrc', '~/.config/vim/vimrc']
if filereadable(expand(g:infra_rc))
execute 'source' fnameescape(expand(g:infra_rc))
break
endif
endfor
endif";

/// A program and its first arguments.
#[derive(Debug)]
pub(super) struct Editor {
    words: Vec<String>,
    /// Whether the environment names none.
    is_usual: bool,
}

impl Editor {
    /// The editor of `VISUAL` or `EDITOR`, else one that is there.
    pub(super) fn find() -> Result<Self> {
        let variable = |name| {
            let text = std::env::var(name).ok().filter(|text| !text.trim().is_empty())?;
            Some((name, text))
        };
        if let Some((name, text)) = variable("VISUAL").or_else(|| variable("EDITOR")) {
            let words = split(&text).filter(|words| !words.is_empty());
            let words = words.ok_or_else(|| {
                Error::input(format!("cannot use `{name}`")).because("a quote is not closed")
            })?;
            return Ok(Self { words, is_usual: false });
        }
        let usual = USUAL.iter().find(|name| program(name).is_some());
        let usual = usual.ok_or_else(|| {
            Error::input("there is no editor").hint("name one in the environment: `EDITOR=vim`")
        })?;
        Ok(Self { words: vec![(*usual).to_owned()], is_usual: true })
    }

    /// Refuses an editor that would wait for a terminal where there is none. Scripts need none, nor do
    /// editors with windows of their own.
    pub(super) fn check_terminal(&self) -> Result<()> {
        let (has_input, has_output) = report::terminal::streams();
        self.check_streams(has_input, has_output)
    }

    fn check_streams(&self, has_input: bool, has_output: bool) -> Result<()> {
        let name = self.words.first().map(String::as_str).unwrap_or_default();
        let file = Path::new(name).file_name().and_then(|file| file.to_str());
        let is_script = self.words.iter().any(|word| OF_SCRIPTS.contains(&word.as_str()));
        // Debian's `editor` is one of these; a script of this name, by its path, is somebody's own.
        let is_on_terminal = self.is_usual
            || name == "editor"
            || file.is_some_and(|file| ON_TERMINALS.contains(&file));
        if is_script || !is_on_terminal {
            return Ok(());
        }
        let stream = match (has_input, has_output) {
            (true, true) => return Ok(()),
            (false, _) => "input",
            (true, false) => "output",
        };
        Err(Error::input(format!("the editor `{name}` needs a terminal"))
            .because(format!("the standard {stream} is no terminal"))
            .hint("`infra secrets set NAME` takes a value from its input"))
    }

    /// Opens `file`, and waits until it is closed.
    pub(super) fn edit(&self, file: &Path) -> Result<()> {
        let (name, arguments) =
            self.words.split_first().ok_or_else(|| Error::input("no editor"))?;
        let refused = || Error::failed(format!("the editor `{name}` failed"));
        let mut command = Command::new(name);
        if is_vim(name) {
            command.args(VIM);
        } else {
            // It may start vim all the same: `env vim`, a script.
            let own = std::env::var("VIMINIT").ok().filter(|text| !text.trim().is_empty());
            command.env("VIMINIT", format!("{}\n{VIMINIT}", own.as_deref().unwrap_or(VIMRC)));
        }
        command.args(arguments).arg(file);
        if let Some(folder) = file.parent() {
            // What it or its plugins write aside is wiped as well.
            command.env("TMPDIR", folder);
        }
        command.env_remove(IDENTITY_VARIABLE);
        let status = command.status().map_err(|error| {
            refused().because(error).hint("name another one in the environment: `EDITOR=vim`")
        })?;
        if status.success() {
            return Ok(());
        }
        Err(refused().because(status).hint("nothing was changed"))
    }
}

/// Whether a program is vim, also where another name leads to it.
fn is_vim(name: &str) -> bool {
    let path = program(name).and_then(|path| std::fs::canonicalize(path).ok());
    let file = path.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
    file.is_some_and(|file| ["vim", "nvim"].contains(&file.split('.').next().unwrap_or_default()))
}

fn program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The words of a command as a shell would see them, with quotes and backslashes but without
/// anything that it would replace; `None` if a quote is not closed.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(characters.next()),
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_a_shell() {
        for (text, words) in [
            ("code --wait", vec!["code", "--wait"]),
            ("  vim  ", vec!["vim"]),
            ("'/opt/my editor/bin' -a\"b c\"", vec!["/opt/my editor/bin", "-ab c"]),
            ("a\\ b ''", vec!["a b", ""]),
        ] {
            assert_eq!(split(text).unwrap(), words);
        }
        assert!(split("vim 'x").is_none());
    }

    #[test]
    fn an_editor_on_a_terminal_is_refused_without_one() {
        let refused = |text: &str, is_usual, has_input, has_output| {
            let editor = Editor { words: split(text).unwrap(), is_usual };
            editor.check_streams(has_input, has_output).err().map(|error| error.to_string())
        };
        let told = |name: &str, stream: &str| {
            Some(format!(
                "the editor `{name}` needs a terminal\n\
                 caused by: the standard {stream} is no terminal\n\
                 hint: `infra secrets set NAME` takes a value from its input"
            ))
        };
        assert_eq!(refused("vim", false, false, true), told("vim", "input"));
        assert_eq!(
            refused("/usr/bin/nano -w", false, true, false),
            told("/usr/bin/nano", "output")
        );
        assert_eq!(refused("editor", true, false, false), told("editor", "input"));
        assert_eq!(refused("editor -w", false, false, false), told("editor", "input"));
        assert_eq!(refused("vim", false, true, true), None);
        for text in ["code --wait", "./editor", "sed -i s/old/new/", "env vim", "vim -es +wq"] {
            assert_eq!(refused(text, false, false, false), None, "{text}");
        }
    }
}
