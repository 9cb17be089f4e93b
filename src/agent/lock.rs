//! One apply at a time on a server: a lock that the agent's own process holds, so that it cannot
//! outlive it.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result};

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of `folder`, waiting for at most `wait`. `who` is what others are shown.
    pub fn take(folder: &str, who: &str, wait: Duration) -> Result<Self> {
        let path = format!("{folder}/lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let descriptor = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))
            .context(|| format!("cannot open `{path}`"))?;
        let mut file = File::from(descriptor);
        let end = Instant::now() + wait;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(Errno::WOULDBLOCK) => return Err(held(&mut file)),
                Err(error) => {
                    return Err(Error::failed(format!("cannot lock `{path}`")).because(error));
                }
            }
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(who.as_bytes()));
        written.context(|| format!("cannot write `{path}`"))?;
        Ok(Self { _file: file })
    }
}

/// Who holds the lock of `folder`, such as `ana@laptop since 22:10 UTC`; `None` if nobody does.
pub fn holder(folder: &str) -> Option<String> {
    let mut file = File::open(format!("{folder}/lock")).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Some(name(&mut file)),
        _ => None,
    }
}

fn held(file: &mut File) -> Error {
    Error::new(Kind::Locked, format!("the server is locked by {}", name(file)))
        .hint("wait for it with `--lock-wait 5m`")
}

/// What the holder has written.
fn name(file: &mut File) -> String {
    let mut holder = String::new();
    match file.rewind().and_then(|()| file.read_to_string(&mut holder)) {
        Ok(_) if !holder.is_empty() => holder.trim().to_owned(),
        _ => "another run".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_run_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        let lock = Lock::take(folder, "ana@laptop since 22:10", Duration::ZERO).unwrap();
        let error = Lock::take(folder, "ben@desk", Duration::from_millis(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the server is locked by ana@laptop since 22:10\n\
             hint: wait for it with `--lock-wait 5m`"
        );
        assert_eq!(holder(folder).as_deref(), Some("ana@laptop since 22:10"));
        drop(lock);
        // A program that another test starts may have the file open until it runs.
        let lock = Lock::take(folder, "ben@desk", Duration::from_mins(1)).unwrap();
        assert_eq!(holder(folder).as_deref(), Some("ben@desk"));
        drop(lock);
        let end = Instant::now() + Duration::from_mins(1);
        while holder(folder).is_some() {
            assert!(Instant::now() < end, "nobody holds the lock, and somebody is named");
        }
    }
}
