//! Running the programs that the lab is made of, each with a timeout.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Context as _, Error, Result};

/// Where programs are looked for. A root shell made by `su` has no `sbin` in its `PATH`.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How much of a program's messages an error repeats, in lines.
const LINES_IN_ERRORS: usize = 15;

/// A program to run: a list of arguments, never a shell line.
pub(super) struct Program {
    arguments: Vec<OsString>,
    stdin: Vec<u8>,
    folder: Option<PathBuf>,
    timeout: Duration,
}

/// What a program that ended has said.
pub(super) struct Output {
    /// Whether it ended with exit code 0.
    pub(super) success: bool,
    /// Its standard output; what is not UTF-8 is replaced.
    pub(super) stdout: String,
    /// How it ended and what it said on standard error.
    pub(super) complaint: String,
}

impl Program {
    /// `arguments` begins with the program's name; it may run for ten seconds.
    pub(super) fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self {
            arguments: arguments.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            stdin: Vec::new(),
            folder: None,
            timeout: Duration::from_secs(10),
        }
    }

    /// What the program reads.
    pub(super) fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = text.into();
        self
    }

    /// The folder from which the program understands relative paths.
    pub(super) fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// How long it may run.
    pub(super) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the program and returns its standard output.
    ///
    /// # Errors
    /// When it cannot run, fails, or takes too long.
    pub(super) fn run(self) -> Result<String> {
        let name = self.name();
        let output = self.output()?;
        if output.success {
            return Ok(output.stdout);
        }
        Err(Error::failed(format!("`{name}` failed")).because(output.complaint))
    }

    /// Runs the program, whatever it ends with.
    ///
    /// # Errors
    /// When it cannot run or takes too long.
    pub(super) fn output(self) -> Result<Output> {
        let name = self.name();
        let cannot_run = || format!("cannot run `{name}`");
        // Files instead of pipes: a program that leaves a child behind cannot keep us waiting.
        let mut stdin = tempfile::tempfile().context(cannot_run)?;
        stdin.write_all(&self.stdin).context(cannot_run)?;
        stdin.seek(SeekFrom::Start(0)).context(cannot_run)?;
        let mut stdout = tempfile::tempfile().context(cannot_run)?;
        let mut stderr = tempfile::tempfile().context(cannot_run)?;
        let (program, arguments) = self.resolve()?;
        let mut command = Command::new(program);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            // The system call that newer versions of mount prefer takes 255 characters of layers.
            .env("LIBMOUNT_FORCE_MOUNT2", "always")
            .stdin(stdin)
            .stdout(stdout.try_clone().map_or_else(|_| Stdio::null(), Stdio::from))
            .stderr(stderr.try_clone().map_or_else(|_| Stdio::null(), Stdio::from))
            .spawn()
            .context(cannot_run)?;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().context(cannot_run)? {
                break status;
            }
            if started.elapsed() > self.timeout {
                // It may have ended in the meantime; then there is nothing to kill.
                let _ = child.kill();
                child.wait().context(cannot_run)?;
                let seconds = self.timeout.as_secs();
                let error = Error::failed(format!("`{name}` did not end within {seconds} seconds"));
                let said = last_lines(&read(&mut stderr).context(cannot_run)?);
                return Err(if said.is_empty() { error } else { error.because(said) });
            }
            std::thread::sleep(POLL);
        };
        let said = read(&mut stderr).context(cannot_run)?;
        Ok(Output {
            success: status.success(),
            stdout: read(&mut stdout).context(cannot_run)?,
            complaint: format!("{status}\n{}", last_lines(&said)).trim_end().to_owned(),
        })
    }

    /// The program and its first argument, enough to recognise it in an error.
    fn name(&self) -> String {
        let words: Vec<_> =
            self.arguments.iter().take(3).map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    fn resolve(&self) -> Result<(PathBuf, &[OsString])> {
        let Some((name, arguments)) = self.arguments.split_first() else {
            return Err(Error::failed("no program to run"));
        };
        let path = find(&name.to_string_lossy())
            .ok_or_else(|| Error::failed(format!("`{}` is not installed", name.display())))?;
        Ok((path, arguments))
    }
}

/// Where the program `name` is; a name with a `/` is its own answer.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// The end of `text`, as much as an error should repeat.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES_IN_ERRORS)..].join("\n")
}

fn read(file: &mut std::fs::File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_text_in_and_out() {
        assert_eq!(Program::new(["cat"]).stdin("a\nb").run(), Ok("a\nb".to_owned()));
    }

    #[test]
    fn says_why_a_program_failed() {
        assert_eq!(
            Program::new(["sh", "-c", "echo broken >&2; exit 4"]).run().unwrap_err().to_string(),
            "`sh -c echo broken >&2; exit 4` failed\ncaused by: exit status: 4\n  broken"
        );
        assert_eq!(
            Program::new(["no-such-program"]).run().unwrap_err().to_string(),
            "`no-such-program` is not installed"
        );
    }

    #[test]
    fn ends_a_program_that_hangs() {
        let error = Program::new(["sleep", "60"]).timeout(Duration::ZERO).run().unwrap_err();
        assert_eq!(error.to_string(), "`sleep 60` did not end within 0 seconds");
    }

    #[test]
    fn keeps_the_end_of_long_output() {
        let lines: Vec<String> = (0..100).map(|n| format!("line {n}\n")).collect();
        let kept = last_lines(&lines.join("\n"));
        assert!(kept.starts_with("line 85\n") && kept.ends_with("line 99"), "{kept}");
    }
}
