//! An identity in the environment, taken out of the environment.
//!
//! Every program that is started inherits the variables of this one; some, as age's plugins, are
//! started by libraries. So the process runs itself once more without the variable, and hands the
//! identity to itself in a pipe. The second process has the number of the first, its name and its
//! arguments.

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use super::{IDENTITY_VARIABLE, Secret};
use crate::error::{Error, Result};

/// Says which process finds the identity in which pipe.
const PIPE_VARIABLE: &str = "INFRA_IDENTITY_PIPE";

/// A pipe holds as much without anybody who reads, in bytes.
const LONGEST: usize = 32 * 1024;

static IDENTITY: OnceLock<Secret> = OnceLock::new();

/// The identity that was in `INFRA_IDENTITY`.
pub fn identity() -> Option<String> {
    IDENTITY.get().map(|secret| secret.expose().to_owned())
}

/// Takes an identity out of the environment. Has to be called before any program is started; where
/// there is an identity, it does not return the first time.
///
/// # Errors
/// If the identity is too long, or the process cannot run itself.
pub fn hide_identity() -> Result<()> {
    let own = format!("{}:", std::process::id());
    let given = std::env::var_os(IDENTITY_VARIABLE).filter(|text| !text.is_empty());
    // Where both are set, the pipe is somebody else's.
    let pipe = std::env::var(PIPE_VARIABLE).ok().filter(|_| given.is_none());
    if let Some(pipe) = pipe.and_then(|pipe| pipe.strip_prefix(&own)?.parse::<u32>().ok()) {
        let mut text = String::new();
        let file = std::fs::File::open(format!("/proc/self/fd/{pipe}"));
        let read = file.and_then(|file| file.take(LONGEST as u64).read_to_string(&mut text));
        read.map_err(|error| failed().because(error))?;
        let _first = IDENTITY.set(Secret::new(text));
        return Ok(());
    }
    let Some(text) = given else { return Ok(()) };
    let text = text.into_string().map_err(|_| failed().because("it is no text"))?;
    if text.len() > LONGEST {
        return Err(failed().because(format!("it has more than {LONGEST} bytes")));
    }
    let hand_over = || -> std::io::Result<std::io::Error> {
        let (reader, mut writer) = std::io::pipe()?;
        // A pipe that is smaller than usual is an error, and not waited for.
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK)?;
        writer.write_all(text.as_bytes())?;
        drop(writer);
        rustix::io::fcntl_setfd(&reader, rustix::io::FdFlags::empty())?;
        let mut arguments = std::env::args_os();
        let mut command = Command::new("/proc/self/exe");
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        command.args(arguments).env_remove(IDENTITY_VARIABLE);
        Ok(command.env(PIPE_VARIABLE, format!("{own}{}", reader.as_raw_fd())).exec())
    };
    let error = hand_over().unwrap_or_else(|error| error);
    Err(failed().because(error))
}

fn failed() -> Error {
    Error::input(format!("cannot use the identity in `{IDENTITY_VARIABLE}`"))
        .hint("write it to a file and name the file with `INFRA_IDENTITY_FILE`")
}
