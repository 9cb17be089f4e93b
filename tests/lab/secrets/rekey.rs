//! `infra secrets rekey` killed at any moment: all files have their new readers, or none.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use super::{Project, recipient};
use crate::support::files_holding;

crate::tests! {
    killed_at_fifty_moments_every_file_opens_and_no_plaintext_is_left = 10,
}

/// How many files are replaced together.
const FILES: usize = 8;

/// The calls of the system at which the process is killed: each way to open, to write, to name and
/// to remove a file, and to lock the folder.
const CALLS: &str = "/^(openat2|write|rename.*|f.*sync|unlink.*|flock|ftruncate)$";

/// Two persons, and files for one of them or both.
struct Readers {
    project: Project,
    keys: [String; 2],
}

impl Readers {
    fn new() -> Self {
        let project = Project::new();
        project.run("age-keygen", &["-o", "bob"], "");
        let keys = ["key", "bob"].map(|file| recipient(&project.read(file)));
        for number in 0..FILES {
            let text = format!("name: file{number}\n");
            let said = project.run("age", &["-a", "-r", &keys[0], "-r", &keys[1]], &text);
            project.write(&file(number), &said.out);
        }
        Self { project, keys }
    }

    /// Declares the readers.
    fn declare(&self, is_for_both: bool) {
        let [me, bob] = &self.keys;
        let bob = if is_for_both { format!(", bob: {{ key: {bob} }}") } else { String::new() };
        let text = format!("recipients: {{ me: {{ key: {me} }}{bob} }}\n");
        self.project.write("secrets/recipients.yaml", &text);
    }

    fn files(&self) -> Vec<String> {
        (0..FILES).map(|number| self.project.read(&file(number))).collect()
    }

    /// How many files `identity` opens, as age itself sees it.
    fn opened_by(&self, identity: &str) -> usize {
        let opens = |number: &usize| {
            let arguments = ["--decrypt", "--identity", identity, &file(*number)];
            let output = self.project.command("age").args(arguments).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success() && text == format!("name: file{number}\n")
        };
        (0..FILES).filter(opens).count()
    }

    /// Runs `rekey`, killed as it enters a call; returns the names of its calls without one.
    fn rekey(&self, moment: Option<&Moment>) -> Vec<String> {
        let mut strace = self.project.command("strace");
        strace.args(["-qq", "-o", "trace", "-e", &format!("trace={CALLS}")]);
        if let Some(Moment { call, time }) = moment {
            strace.args(["-e", &format!("inject={call}:signal=KILL:when={time}")]);
        }
        let output = strace.args(["infra", "secrets", "rekey"]).output().unwrap();
        let is_killed = output.status.signal() == Some(9);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(is_killed, moment.is_some(), "{moment:?}, {:?}: {said}", output.status);
        let trace = self.project.read("trace");
        trace.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name.into()).collect()
    }
}

fn file(number: usize) -> String {
    format!("secrets/file{number}.yaml.age")
}

/// A call of the system, and which of those of its name.
#[derive(Clone, Debug)]
struct Moment {
    call: String,
    time: usize,
}

/// Fifty of the calls: all that name and remove files, and others between them.
fn moments(calls: &[String]) -> Vec<Moment> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let all = calls.iter().map(|call| {
        let time = seen.entry(call).or_default();
        *time += 1;
        Moment { call: call.clone(), time: *time }
    });
    // Another process may have the lock for a moment: how often it is asked for is chance.
    let all = all.filter(|moment| moment.call != "flock" || moment.time == 1);
    let is_change =
        |moment: &Moment| ["rename", "unlink"].iter().any(|name| moment.call.starts_with(name));
    let (changes, others): (Vec<Moment>, Vec<Moment>) = all.partition(is_change);
    assert!(changes.len() > FILES && changes.len() < 50, "{calls:#?}");
    let more = 50 - changes.len();
    assert!(others.len() >= more, "{calls:#?}");
    let spread = (0..more).map(|index| others[index * others.len() / more].clone());
    changes.into_iter().chain(spread).collect()
}

fn killed_at_fifty_moments_every_file_opens_and_no_plaintext_is_left() {
    let readers = Readers::new();
    readers.declare(false);
    let moments = moments(&readers.rekey(None));
    assert_eq!(readers.opened_by("bob"), 0);
    assert_eq!(moments.len(), 50);
    let project = &readers.project;
    for (number, moment) in moments.into_iter().enumerate() {
        // Each run undoes the change of the run before.
        let is_for_both = number % 2 == 0;
        readers.declare(is_for_both);
        let before = readers.files();
        readers.rekey(Some(&moment));
        let is_decided = project.path("secrets/.infra-replace.journal").exists();
        let after = readers.files();
        let changed = before.iter().zip(&after).filter(|(old, new)| old != new).count();
        // Only at the very end all files are changed and nothing is left to do.
        assert!(is_decided || changed == 0 || changed == FILES, "{moment:?}: {changed} files");
        assert_eq!(readers.opened_by("key"), FILES, "{moment:?}");
        for folder in [&project.path(""), Path::new("/dev/shm")] {
            let left = files_holding(folder, b"name: file");
            assert!(left.is_empty(), "{moment:?}: plaintext in {left:?}");
        }
        // The next command completes the replacement, or throws it away.
        let recipients = project.secrets(&["recipients"], "");
        assert_eq!(recipients.code, 0, "{moment:?}: {}", recipients.err);
        let bobs = if is_for_both { FILES } else { 0 };
        let expected = if is_decided || changed > 0 { bobs } else { FILES - bobs };
        assert_eq!(readers.opened_by("bob"), expected, "{moment:?}");
        assert_eq!(project.secrets(&["rekey"], "").code, 0);
        let left = fs::read_dir(project.path("secrets")).unwrap().count();
        assert_eq!(left, FILES + 1, "{moment:?}: something lies beside the files");
        assert_eq!(readers.opened_by("bob"), bobs);
    }
}
