//! `infra dial`: what ssh is told to reach servers through, where nothing else is configured.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::Context;
use crate::exit_code::ExitCode;
use crate::transport::dial;

/// The arguments of `infra dial`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The host to connect to.
    host: String,
    /// Its port.
    port: u16,
    /// Give up on an address after so many seconds.
    #[arg(long, default_value_t = 10)]
    timeout: u64,
    /// Where to write down why it failed: ssh closes our standard error.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Carries bytes between ssh and the host.
pub fn run(args: &Args, _context: &Context) -> anyhow::Result<ExitCode> {
    let timeout = Duration::from_secs(args.timeout);
    // The connection outlives the run, and a Ctrl-C that is meant for the run must not end it.
    // This fails only for the leader of a process group, which ssh does not make of us.
    let _own_session = rustix::process::setsid();
    let output = crate::report::terminal::raw_output()?;
    let done = dial::dial(&args.host, args.port, timeout, io::stdin(), output);
    if let (Err(error), Some(log)) = (&done, &args.log) {
        let mut log = OpenOptions::new().append(true).create(true).mode(0o600).open(log)?;
        // In the form in which ssh would have said it.
        let causes: Vec<String> = error.causes.iter().map(|cause| format!(": {cause}")).collect();
        writeln!(log, "ssh: {}{}", error.message, causes.concat())?;
    }
    done?;
    Ok(ExitCode::Done)
}
