//! `infra secrets rekey` killed at any moment: all files have their new readers, or none.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use infra::secrets::Header;
use infra::secrets::recipients::Recipients;
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use rustix::io::Errno;

use super::Project;
use crate::support::files_holding;

/// How many files are replaced together.
const FILES: usize = 8;

/// A file is opened for its readers, for its text, for a last comparison, and just before it is
/// renamed: by then the replacement of all files is decided.
const TO_RENAME: u32 = 4;

/// In how many parts the times of a run are cut.
const PARTS: u32 = 15;

/// When the process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// As the process opens this file for the nth time.
    Opening(usize, u32),
    /// After so many parts of the time that a whole run takes.
    Running(u32),
    /// After so many parts of the time that the writing takes, once all files have been compared.
    Writing(u32),
}

/// Fifty of them.
fn moments() -> Vec<Moment> {
    let reading =
        (1..TO_RENAME).flat_map(|time| [0, FILES - 1].map(|file| Moment::Opening(file, time)));
    let renaming = (0..FILES).map(|file| Moment::Opening(file, TO_RENAME));
    let (running, writing) = ((0..16).map(Moment::Running), (0..20).map(Moment::Writing));
    reading.chain(renaming).chain(running).chain(writing).collect()
}

/// How long a whole run takes, and its writing.
struct Pace {
    whole: Duration,
    writing: Duration,
}

/// A file whose readers wait for the test. In its place is a pipe, a new one for each time that the
/// file is opened: nobody reads content that is meant for another time.
struct Gate {
    path: PathBuf,
    content: Vec<u8>,
}

impl Gate {
    fn new(project: &Project, file: usize) -> Self {
        let path = project.secrets("ada").file(&format!("file{file}"));
        let content = fs::read(&path).unwrap();
        let gate = Self { path, content };
        gate.renew();
        gate
    }

    fn renew(&self) {
        let fresh = self.path.with_extension("fresh");
        mkfifoat(CWD, &fresh, Mode::from_raw_mode(0o644)).unwrap();
        fs::rename(fresh, &self.path).unwrap();
    }

    /// Puts the file itself in its place again.
    fn put_back(&self) {
        let fresh = self.path.with_extension("fresh");
        fs::write(&fresh, &self.content).unwrap();
        fs::rename(fresh, &self.path).unwrap();
    }

    /// Waits until the process opens the file; returns the other end of the pipe.
    fn opened(&self, process: &mut Child) -> File {
        let start = Instant::now();
        loop {
            // Refused for as long as nobody has the pipe open for reading.
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            match rustix::fs::open(&self.path, flags, Mode::empty()) {
                Ok(end) => return end.into(),
                Err(error) => assert_eq!(error, Errno::NXIO),
            }
            assert!(process.try_wait().unwrap().is_none(), "the process has ended");
            assert!(
                start.elapsed() < Duration::from_mins(3),
                "nobody opens {}",
                self.path.display()
            );
            // How often is looked, not how long is waited.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets the process read the file once.
    fn pass(&self, process: &mut Child) {
        let mut end = self.opened(process);
        self.renew();
        end.write_all(&self.content).unwrap();
    }

    /// Lets the process read the file until it is to be renamed, and find the file itself then.
    fn pass_to_rename(&self, process: &mut Child) {
        for _ in 2..TO_RENAME {
            self.pass(process);
        }
        let mut end = self.opened(process);
        self.put_back();
        end.write_all(&self.content).unwrap();
    }
}

fn rekey(project: &Project) -> Child {
    let mut command = project.command("ada", &["secrets", "rekey"]);
    command.stdout(Stdio::null()).spawn().unwrap()
}

fn whole_run(project: &Project) -> Pace {
    let gate = Gate::new(project, FILES - 1);
    let start = Instant::now();
    let mut process = rekey(project);
    gate.pass_to_rename(&mut process);
    let compared = Instant::now();
    assert!(process.wait().unwrap().success());
    Pace { whole: start.elapsed(), writing: compared.elapsed() }
}

fn kill_at(project: &Project, moment: Moment, pace: &Pace) {
    match moment {
        Moment::Opening(file, time) => {
            let gate = Gate::new(project, file);
            let mut process = rekey(project);
            for _ in 1..time {
                gate.pass(&mut process);
            }
            // The process waits for content for as long as this end is open.
            let end = gate.opened(&mut process);
            kill(process);
            drop(end);
            gate.put_back();
        }
        Moment::Running(part) => {
            let process = rekey(project);
            std::thread::sleep(pace.whole * part / PARTS);
            kill(process);
        }
        Moment::Writing(part) => {
            let gate = Gate::new(project, FILES - 1);
            let mut process = rekey(project);
            gate.pass_to_rename(&mut process);
            std::thread::sleep(pace.writing * part / PARTS);
            kill(process);
        }
    }
}

fn kill(mut process: Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

/// The bytes of all files.
fn files(project: &Project) -> Vec<Vec<u8>> {
    let secrets = project.secrets("ada");
    (0..FILES).map(|file| fs::read(secrets.file(&format!("file{file}"))).unwrap()).collect()
}

/// The readers of each file, by its header: a single entry if all files agree.
fn readers(project: &Project) -> Vec<String> {
    let secrets = project.secrets("ada");
    let list = Recipients::load(&secrets.path).unwrap();
    let mut found: Vec<String> = secrets
        .names()
        .unwrap()
        .iter()
        .map(|name| {
            let bytes = secrets.bytes(name).unwrap().unwrap();
            Header::read(name, &bytes).unwrap().described(&list)
        })
        .collect();
    found.dedup();
    found
}

#[test]
fn killed_at_fifty_moments_every_file_opens_and_no_plaintext_is_left() {
    let names: Vec<String> = (0..FILES).map(|number| format!("file{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let project = Project::new(&names);
    project.ada_alone();
    let pace = whole_run(&project);
    let moments = moments();
    assert_eq!(moments.len(), 50);
    for (number, moment) in moments.into_iter().enumerate() {
        // Each run undoes the change of the run before.
        let is_for_both = number % 2 == 0;
        if is_for_both {
            project.both();
        } else {
            project.ada_alone();
        }
        let before = files(&project);
        kill_at(&project, moment, &pace);
        let is_decided = project.folder.path().join("secrets/.infra-replace.journal").exists();
        if let Moment::Opening(file, time) = moment {
            let after = files(&project);
            let changed = before.iter().zip(&after).filter(|(old, new)| old != new).count();
            let expected = if time == TO_RENAME { (true, file) } else { (false, 0) };
            assert_eq!((is_decided, changed), expected, "{moment:?}");
        }
        for name in &names {
            let opened = project.secrets("ada").open(name).unwrap().unwrap();
            assert_eq!(*opened.text, format!("name: {name}\n"));
        }
        for folder in [project.folder.path(), Path::new("/dev/shm")] {
            let left = files_holding(folder, b"name: file");
            assert!(left.is_empty(), "{moment:?}: plaintext in {left:?}");
        }
        // The next command completes the replacement, or throws it away.
        project.infra("ada", &["secrets", "recipients"]);
        assert_eq!(readers(&project).len(), 1, "{moment:?}");
        if is_decided {
            assert_eq!(project.bobs().is_empty(), !is_for_both, "{moment:?}");
        }
        assert_eq!(project.infra("ada", &["secrets", "rekey"]).0, 0);
        let left = fs::read_dir(project.folder.path().join("secrets")).unwrap().count();
        assert_eq!(left, names.len() + 1, "{moment:?}: something lies beside the files");
        assert_eq!(project.bobs().is_empty(), !is_for_both);
    }
}
