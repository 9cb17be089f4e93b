//! Servers that many tests begin with: made once in a run of the tests, saved, and copied for every
//! test.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::server::{LabServer, TestLab, flus, text};
use super::{machine, tokens};
use crate::preview;

/// The servers of the inventory of Flus.
pub(crate) const NAMES: [&str; 3] = ["faremis", "mikado", "rufus"];

/// The name of the save in the lab of its maker.
const SAVE: &str = "base";

/// The test that makes all three servers of a release at once.
const MAKER: &str = "from_bare::one_command_converges_three_servers_on_";

/// How many lines of a report a test shows that could not begin.
const MOST_LINES: usize = 20;

/// How the servers of Flus came up from bare.
#[derive(Clone)]
pub(crate) struct Made {
    /// How the first apply of all ended: exit code and report.
    pub(crate) applied: (i32, String),
    /// For each server that is not as it should be, the reason.
    pub(crate) complaints: BTreeMap<String, String>,
    /// The lab with the save; `None` where nothing could be saved.
    lab: Option<PathBuf>,
}

/// A place for what is made once, known by a key as soon as the making begins; or why it could not
/// be made.
type Once<T> = Mutex<BTreeMap<String, Arc<OnceLock<Result<T, String>>>>>;

static MADE: Once<Made> = Mutex::new(BTreeMap::new());
static SAVED: Once<PathBuf> = Mutex::new(BTreeMap::new());
static INTERNET: Once<PathBuf> = Mutex::new(BTreeMap::new());

/// The result of `make`, run for the first who asks for `key`; all others wait for it.
fn once<T: Clone>(all: &Once<T>, key: &str, make: impl FnOnce() -> T) -> Result<T, String> {
    let cell = {
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key.to_owned()).or_default())
    };
    // A panic would leave the cell empty, and all who wait would make it again.
    let make = || catch_unwind(AssertUnwindSafe(make)).map_err(|panic| said(panic.as_ref()));
    cell.get_or_init(make).clone()
}

/// The servers `names` of Flus, brought up bare and applied with one command, and saved.
pub(crate) fn made(names: &[&str], os: &str) -> Made {
    let made = once(&MADE, &format!("{} {os}", names.join(" ")), || make(names, os));
    made.unwrap_or_else(|why| Made { applied: (-1, why), complaints: BTreeMap::new(), lab: None })
}

fn make(names: &[&str], os: &str) -> Made {
    // One for all three: towards the end they wait for each other and for containers.
    let _token = tokens::take();
    let lab = TestLab::new(flus());
    bring_internet(&lab);
    // All servers need no names, as the user does it.
    let is_all = names == NAMES;
    let (up, targets): (&[&str], &[&str]) = if is_all { (&[], &["all"]) } else { (names, names) };
    let applied = lab.say(&[&["lab", "up"], up, &["--os", os]].concat());
    let mut made = Made { applied, complaints: BTreeMap::new(), lab: None };
    if made.applied.0 != 0 {
        return made;
    }
    let json = ["--lab", "--output", "json"];
    let planned = lab.infra(&[&["diff"], targets, &json].concat());
    let done = lab.infra(&[&["apply"], targets, &json, &["--yes"]].concat());
    made.applied = (done.status.code().unwrap_or(-1), text(&done.stdout) + &text(&done.stderr));
    if made.applied.0 != 0 {
        return made;
    }
    for name in names {
        let title = format!("{name} on {os}");
        let compare = || preview::compare(name, &title, &text(&planned.stdout), &made.applied.1);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(compare)) {
            made.complaints.insert((*name).to_owned(), said(panic.as_ref()));
        }
    }
    if planned.status.code() != Some(2) {
        let complaint = format!("{:?}: {}", planned.status, text(&planned.stderr));
        made.complaints.insert("diff of bare servers".to_owned(), complaint);
    }
    // Before the save, and so before a boot that starts what the apply should have started.
    let (code, left) = lab.say(&[&["diff"], targets, &["--lab"]].concat());
    if code != 0 {
        made.complaints.insert("diff after the first apply".to_owned(), left);
    }
    save(&lab, names);
    made.lab = Some(lab.keep());
    made
}

/// Gives a lab the save of the outside world, which is made once in a run: it is the same for all.
fn bring_internet(lab: &TestLab) {
    let made = once(&INTERNET, "", || {
        let lab = TestLab::new(flus());
        lab.succeed(&["lab", "up", "internet"]);
        lab.succeed(&["lab", "down"]);
        lab.keep()
    });
    // Where it could not be made, the lab makes its own, and shows why that fails.
    let Ok(made) = made else { return };
    for part in ["saves", "layers", "key", "key.pub"] {
        let copied = Command::new("cp").arg("-a").arg(made.join(part)).arg(lab.folder()).status();
        assert!(copied.unwrap().success(), "{part}");
    }
}

/// Saves servers and ends them.
fn save(lab: &TestLab, names: &[&str]) {
    lab.succeed(&[&["lab", "save", SAVE], names].concat());
    lab.succeed(&["lab", "down"]);
}

/// The message of a panic.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// A copy of a server of Flus as it is after its first apply.
pub(crate) fn copy(name: &str, os: &str) -> LabServer {
    LabServer::in_lab(name, copies(&[name], os))
}

/// Copies of servers of Flus, in one lab.
pub(crate) fn copies(names: &[&str], os: &str) -> TestLab {
    let all = machine::is_selected(&format!("{MAKER}{}", os.replace('-', "_")));
    let mut found = made(if all { &NAMES } else { names }, os);
    if found.lab.is_none() && all {
        // The failure of another server says nothing of these.
        found = made(names, os);
    }
    let (code, report) = &found.applied;
    if let Some(lab) = found.lab {
        return copies_from(&lab, names);
    }
    let lines: Vec<&str> = report.lines().rev().take(MOST_LINES).collect();
    let end = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
    panic!("{names:?} could not be made, exit code {code}, which ends with:\n{end}")
}

/// A copy of the server `name` that the first caller for `key` makes. Its project is that of Flus.
pub(crate) fn saved(key: &str, name: &str, make: &dyn Fn() -> LabServer) -> LabServer {
    let saved = once(&SAVED, key, || {
        let server = make();
        save(&server.lab, &[name]);
        server.lab.keep()
    });
    match saved {
        Ok(lab) => LabServer::in_lab(name, copies_from(&lab, &[name])),
        Err(why) => panic!("there is no {name} to begin with:\n{why}"),
    }
}

fn copies_from(maker: &Path, names: &[&str]) -> TestLab {
    let lab = TestLab::new(flus());
    for part in ["saves", "layers", "key", "key.pub"] {
        symlink(maker.join(part), lab.folder().join(part)).unwrap();
    }
    lab.up(&[names, &["--from", SAVE]].concat());
    lab
}
