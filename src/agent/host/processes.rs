//! Running programs: argument lists, a small fixed environment, a time limit.

use std::io::{ErrorKind, Read, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::error::{Context, Error, Kind, Result};
use crate::resources::probe::{PROGRAMS, UserEntry};
use crate::resources::{Command, Output};

/// More output than this is read and dropped: a program that floods must not fill the memory.
const OUTPUT_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// How long a program that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How long to wait for the rest of the output after a program ended: a daemon that it started
/// may hold the pipe open for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// The longest line of a status that is passed on.
const LONGEST_LINE_BYTES: usize = 64 * 1024;

/// How often a program that runs is looked at, whether it has to be stopped.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Set to end the program in hand. The agent runs one program at a time, for one laptop.
static END_ONE: AtomicBool = AtomicBool::new(false);

/// Ends the program in hand; those that come after it, such as what puts things back, run.
pub(in crate::agent) fn end_one() {
    END_ONE.store(true, Ordering::Relaxed);
}

/// Set where no program may run any more: nobody is there for whom it would.
static END_ALL: AtomicBool = AtomicBool::new(false);

/// Ends the program in hand and each that comes after it.
pub(in crate::agent) fn end_all() {
    END_ALL.store(true, Ordering::Relaxed);
}

/// Called with each status line of a program.
pub(super) type OnLine<'a> = &'a mut dyn FnMut(&str);

/// Where and as whom a program runs.
#[derive(Debug, Default)]
pub(super) struct Setting<'a> {
    /// The user; root if `None`.
    pub(super) account: Option<&'a UserEntry>,
    /// The folder, opened; `/` if `None`. Its path may lead elsewhere by now.
    pub(super) folder: Option<OwnedFd>,
}

/// Runs `command` to its end. With `on_line`, what it writes to file descriptor 3 is passed on
/// line by line, and its standard output is joined to its standard error.
pub(super) fn run(
    command: &Command,
    setting: &Setting<'_>,
    on_line: Option<OnLine<'_>>,
) -> Result<Output> {
    let program = command.program();
    if !is_there(program, command.cwd.as_deref().unwrap_or("/")) {
        return Err(Error::tool_missing(program));
    }
    let mut child = prepare(command, setting, on_line.is_some())
        .spawn()
        .context(|| format!("cannot start `{}`", command.display()))?;
    feed(&mut child, command.stdin.clone());
    let stderr = collect(child.stderr.take());
    let (lines, stdout) = match (on_line, child.stdout.take()) {
        (Some(on_line), Some(stream)) => {
            (Some(StatusLines { stream, rest: Vec::new(), on_line }), None)
        }
        (_, stream) => (None, Some(collect(stream))),
    };
    let status = wait(&mut child, command, lines)?;
    Ok(Output {
        status: exit_code(status),
        stdout: stdout.map(Collected::finish).unwrap_or_default(),
        stderr: stderr.finish(),
    })
}

fn is_there(program: &str, cwd: &str) -> bool {
    if program.contains('/') {
        return Path::new(cwd).join(program).exists();
    }
    PROGRAMS.iter().any(|folder| Path::new(folder).join(program).exists())
}

fn prepare(command: &Command, setting: &Setting<'_>, with_status: bool) -> std::process::Command {
    let account = setting.account;
    // The kernel's name of the open folder, looked up by the child, which has it open as well.
    let folder = setting.folder.as_ref();
    let folder = folder.map_or("/".to_owned(), |it| format!("/proc/self/fd/{}", it.as_raw_fd()));
    let mut argv: Vec<&str> = Vec::new();
    let user = command.user.as_deref().unwrap_or("root");
    if let Some(account) = account {
        // `setpriv` gives the supplementary groups as well, which std cannot.
        let switch = ["setpriv", "--reuid", user, "--regid", &account.group, "--init-groups", "--"];
        argv.extend(switch);
    }
    if with_status {
        // The script is fixed and the program is its argument: nothing is quoted or split.
        argv.extend(["/bin/sh", "-c", "exec \"$@\" 3>&1 1>&2", "sh"]);
    }
    argv.extend(command.argv.iter().map(String::as_str));
    let (program, arguments) = argv.split_first().map_or(("", &[][..]), |(p, a)| (*p, a));
    let mut prepared = std::process::Command::new(program);
    prepared
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", PROGRAMS.join(":"))
        .env("LANG", "C.UTF-8")
        .env("HOME", account.map_or("/root", |account| account.home.as_str()))
        .env("USER", user)
        .env("LOGNAME", user)
        .envs(&command.env)
        .stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    prepared
}

/// Writes the input beside the work, so that a program that never reads it cannot block us.
fn feed(child: &mut Child, input: Option<Vec<u8>>) {
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        std::thread::spawn(move || {
            // A program may end without reading all of it; its exit code tells the rest.
            let _written = stdin.write_all(&input);
        });
    }
}

/// What a stream has given so far, read beside the work.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

impl Collected {
    /// All of it, or what came until shortly after the program ended.
    fn finish(self) -> Vec<u8> {
        let _held_open = self.end.recv_timeout(DRAIN);
        self.bytes.lock().map(|mut bytes| std::mem::take(&mut *bytes)).unwrap_or_default()
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> Collected {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let (sender, end) = channel();
    let collected = Collected { bytes: Arc::clone(&bytes), end };
    if let Some(mut stream) = stream {
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length) = stream.read(&mut buffer) {
                let Ok(mut bytes) = bytes.lock() else { break };
                if length == 0 {
                    break;
                }
                if bytes.len() < OUTPUT_LIMIT_BYTES {
                    bytes.extend_from_slice(&buffer[..length]);
                }
            }
            let _nobody_waits = sender.send(());
        });
    }
    collected
}

/// Waits for the end of the program, or ends its whole process group when its time is over.
fn wait(
    child: &mut Child,
    command: &Command,
    mut lines: Option<StatusLines<'_>>,
) -> Result<ExitStatus> {
    // Nothing was in hand when it was set.
    END_ONE.store(false, Ordering::Relaxed);
    let end = Instant::now() + Duration::from_secs(u64::from(command.timeout_seconds));
    // Kernels before 5.3 cannot tell of the end.
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let process = process.and_then(|it| pidfd_open(it, PidfdFlags::empty()).ok());
    loop {
        let status =
            child.try_wait().context(|| format!("cannot wait for `{}`", command.display()));
        if let Some(status) = status? {
            return Ok(status);
        }
        if END_ONE.swap(false, Ordering::Relaxed) || END_ALL.load(Ordering::Relaxed) {
            end_group(child);
            let message = format!("`{}` was stopped half-way", command.display());
            return Err(Error::new(Kind::Interrupted, message));
        }
        if Instant::now() >= end {
            end_group(child);
            let seconds = command.timeout_seconds;
            let message =
                format!("`{}` did not end within {seconds} s and was stopped", command.display());
            return Err(Error::new(Kind::TimedOut, message));
        }
        if has_line(process.as_ref(), lines.as_ref()) {
            lines = lines.and_then(StatusLines::read);
        }
    }
}

/// Waits until the program ends or writes a status line, and for a moment at most: it may have to be
/// stopped. Whether it wrote.
fn has_line(process: Option<&OwnedFd>, lines: Option<&StatusLines<'_>>) -> bool {
    let stream = lines.map(|lines| &lines.stream);
    let mut waited: Vec<PollFd<'_>> = Vec::new();
    waited.extend(stream.map(|stream| PollFd::new(stream, PollFlags::IN)));
    waited.extend(process.map(|process| PollFd::new(process, PollFlags::IN)));
    // An interrupted call looks again.
    let found = poll(&mut waited, Some(&LOOK)).is_ok_and(|found| found > 0);
    found && stream.is_some() && !waited[0].revents().is_empty()
}

/// The lines that a program writes to its file descriptor 3.
struct StatusLines<'a> {
    stream: ChildStdout,
    /// The begin of a line.
    rest: Vec<u8>,
    on_line: OnLine<'a>,
}

impl StatusLines<'_> {
    /// Passes on what there is to read. `None` after the end.
    fn read(mut self) -> Option<Self> {
        let mut buffer = [0; 8192];
        let length = match self.stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Some(self),
            read => read.unwrap_or_default(),
        };
        self.rest.extend_from_slice(&buffer[..length]);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            (self.on_line)(String::from_utf8_lossy(&line).trim_end());
        }
        // A line without an end is none of a status, and would be looked through again and again.
        if self.rest.len() > LONGEST_LINE_BYTES {
            self.rest.clear();
        }
        (length > 0).then_some(self)
    }
}

fn end_group(child: &mut Child) {
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    let _gone = kill_process_group(group, Signal::TERM);
    is_ended(child);
    let _gone = kill_process_group(group, Signal::KILL);
    // A program can have moved itself into another group.
    let _gone = child.kill();
    // A program that the kernel cannot end, such as on a dead file system, is left behind.
    is_ended(child);
}

/// Waits for the end of a program, for as long as one that was asked to end may take.
fn is_ended(child: &mut Child) -> bool {
    let end = Instant::now() + GRACE;
    while Instant::now() < end {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// The exit code as a shell gives it: 128 + the signal's number if a signal ended the program.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_arguments_input_and_environment_untouched() {
        let command = Command::new(["/bin/sh", "-c", "cat; echo \"$1 $NAME\"", "sh", "a  $b"])
            .stdin("in ")
            .env("NAME", "x'y");
        let output = run(&command, &Setting::default(), None).unwrap();
        assert_eq!((output.status, output.text().as_str()), (0, "in a  $b x'y"));
    }

    #[test]
    fn ends_the_whole_group_when_the_time_is_over() {
        let command = Command::new(["/bin/sh", "-c", "sleep 61 & sleep 62"]).timeout_seconds(1);
        let error = run(&command, &Setting::default(), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`/bin/sh -c sleep 61 & sleep 62` did not end within 1 s and was stopped"
        );
    }

    #[test]
    fn names_a_missing_program() {
        let error = run(&Command::new(["no-such-program"]), &Setting::default(), None).unwrap_err();
        assert_eq!(error.message, "`no-such-program` is not on the server");
        assert_eq!(error.kind, crate::error::Kind::ToolMissing);
    }

    #[test]
    fn passes_status_lines_on() {
        let folder = tempfile::tempdir().unwrap();
        let heard = folder.path().join("heard");
        let mut lines = Vec::new();
        let mut on_line = |line: &str| {
            lines.push(line.to_owned());
            std::fs::write(&heard, "").unwrap();
        };
        // The program ends when its line was heard.
        let script = "echo one >&3; echo out; until [ -e \"$1\" ]; do sleep 0.01; done";
        let words = ["/bin/sh", "-c", script, "sh", heard.to_str().unwrap()];
        let output = run(&Command::new(words), &Setting::default(), Some(&mut on_line)).unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "out\n");
        assert_eq!(lines, ["one"]);
    }

    /// That the call returns is the proof: the daemon ends only by the signal.
    #[test]
    fn does_not_wait_for_a_daemon_that_keeps_the_output() {
        let words = ["/bin/sh", "-c", "sleep infinity & echo $!"];
        let output = run(&Command::new(words), &Setting::default(), None).unwrap();
        assert!(output.success());
        let daemon = Pid::from_raw(output.text().parse().unwrap()).unwrap();
        rustix::process::kill_process(daemon, Signal::KILL).unwrap();
    }
}
