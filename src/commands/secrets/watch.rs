//! `infra secrets watch`: wipes a folder in memory as soon as who started it is gone.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Context as _, Error, Result};
use crate::exit_code::ExitCode;
use crate::report;
use crate::secrets::memory;

/// The arguments of `infra secrets watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// How long the watching process may take to start, in seconds.
const START: i64 = 10;

/// Waits until standard input ends, which the kernel sees to however the other end dies.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // In a session of its own, what a terminal sends to the others (Ctrl-C) does not end it.
    // It fails only for who leads one already.
    let _ = rustix::process::setsid();
    // What ends a whole session (systemd, a terminal that closes) must not end it before it has
    // wiped: it ends by itself as soon as the other side is gone.
    let _deaf = deaf()?;
    report::print("ready\n")?;
    let mut rest = Vec::new();
    // However it ends, the other side is gone.
    let _ = std::io::stdin().lock().read_to_end(&mut rest);
    memory::wipe(&args.folder);
    Ok(ExitCode::Done)
}

/// Takes the signals over that ask a process to end, for as long as the result lives.
fn deaf() -> Result<(tokio::runtime::Runtime, Vec<Signal>)> {
    let what = || "cannot take over signals".to_owned();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context(what)?;
    let inside = runtime.enter();
    let kinds = [
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::alarm(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    let taken: std::io::Result<Vec<Signal>> = kinds.into_iter().map(signal).collect();
    drop(inside);
    Ok((runtime, taken.context(what)?))
}

/// The process that watches over a folder. It wipes the folder when this is dropped, or when
/// this process dies in whatever way.
pub(super) struct Watcher(Child);

impl Watcher {
    /// Starts it, and waits until it watches.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let what = || "cannot start the process that wipes the secrets at the end".to_owned();
        // The program that runs now, even where its file has been replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.args(["secrets", "watch"]).arg(folder).current_dir("/").env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context(what)?;
        if let Some(out) = &mut child.stdout {
            let limit = Timespec { tv_sec: START, tv_nsec: 0 };
            let mut wanted = [PollFd::new(&*out, PollFlags::IN)];
            let count = poll(&mut wanted, Some(&limit)).context(what)?;
            let mut answer = [0; 6];
            if count == 1 && out.read_exact(&mut answer).is_ok() {
                return Ok(Self(child));
            }
        }
        Err(Error::failed(what()).because("it did not answer"))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It has nothing left to do but to end.
        let _ = self.0.wait();
    }
}
