//! Servers that many tests begin with: made once in a run of the tests, saved, and copied for every
//! test.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
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

/// A place for what is made once, known by a key as soon as the making begins.
type Once<T> = Mutex<BTreeMap<String, Arc<OnceLock<T>>>>;

static MADE: Once<Made> = Mutex::new(BTreeMap::new());
static SAVED: Once<Result<PathBuf, String>> = Mutex::new(BTreeMap::new());

/// What `make` returns to the first who asks for `key`; all others wait for it.
fn once<T: Clone>(all: &Once<T>, key: &str, make: impl FnOnce() -> T) -> T {
    let cell = {
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key.to_owned()).or_default())
    };
    cell.get_or_init(make).clone()
}

/// The servers `names` of Flus, brought up bare and applied with one command, and saved.
pub(crate) fn made(names: &[&str], os: &str) -> Made {
    once(&MADE, &format!("{} {os}", names.join(" ")), || make(names, os))
}

fn make(names: &[&str], os: &str) -> Made {
    let _token = tokens::take(names.len());
    let lab = TestLab::new(flus());
    let applied = lab.say(&[&["lab", "up"], names, &["--os", os]].concat());
    let mut made = Made { applied, complaints: BTreeMap::new(), lab: None };
    if made.applied.0 != 0 {
        return made;
    }
    let json = ["--lab", "--output", "json"];
    let planned = lab.infra(&[&["diff"], names, &json].concat());
    let done = lab.infra(&[&["apply"], names, &json, &["--yes"]].concat());
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
    save(&lab, names);
    made.lab = Some(lab.keep());
    made
}

/// Saves servers and ends them.
fn save(lab: &TestLab, names: &[&str]) {
    lab.succeed(&[&["lab", "save", SAVE], names].concat());
    lab.succeed(&["lab", "down"]);
}

/// What a panic said.
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
    let made = made(if all { &NAMES } else { names }, os);
    let (code, report) = &made.applied;
    match made.lab {
        Some(lab) => copies_from(&lab, names),
        None => panic!("{names:?} could not be made, exit code {code}:\n{report}"),
    }
}

/// A copy of the server `name` that the first caller for `key` makes. Its project is that of Flus.
pub(crate) fn saved(key: &str, name: &str, make: &dyn Fn() -> LabServer) -> LabServer {
    let saved = once(&SAVED, key, || {
        let make_and_save = || {
            let server = make();
            save(&server.lab, &[name]);
            server.lab.keep()
        };
        catch_unwind(AssertUnwindSafe(make_and_save)).map_err(|panic| said(panic.as_ref()))
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
