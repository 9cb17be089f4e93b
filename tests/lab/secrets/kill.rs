//! `infra secrets edit` killed at any moment.

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use super::Project;
use super::stages::{Stages, editor};
use crate::processes;
use crate::support::{files_holding, wait_until};

crate::tests! {
    killed_at_fifty_moments_every_file_opens_and_no_plaintext_is_left = 15,
    other_signals_leave_nothing_either,
    ctrl_c_is_the_editors_business,
    the_next_command_wipes_the_text_that_two_kills_left,
}

const OLD: &str = "password: canary-before-1 # a comment\n";
const NEW: &str = "password: canary-after-2 # a comment\n";
const CANARY: &[u8] = b"canary-";

/// Writes `NEW` in two steps. Where the folder has been wiped meanwhile, the steps fail.
const WRITER: &str = "\
stage opened
printf 'pass' > \"$1\" || true
stage half
printf 'password: canary-after-2 # a comment\\n' > \"$1\" || true
stage whole
: > \"$STAGES/ended\"";
const STAGES: [&str; 3] = ["opened", "half", "whole"];

/// When the process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// After so many parts of the time that the process takes to open the editor. A faster process
    /// waits for the editor by then.
    Before(u32),
    /// While the editor is at this stage.
    At(usize),
    /// After so many parts of the time that the process takes to save, once the editor may end.
    After(u32),
}

/// In how many parts the times before and after the editor are cut.
const PARTS: u32 = 15;

/// Fifty of them.
fn moments() -> Vec<Moment> {
    let at = (0..STAGES.len()).flat_map(|stage| [Moment::At(stage); 5]);
    (0..PARTS).map(Moment::Before).chain(at).chain((0..20).map(Moment::After)).collect()
}

/// How long the parts of a whole edit take.
struct Pace {
    opening: Duration,
    saving: Duration,
}

/// The folders in memory of a process.
fn folders_of(process: Pid) -> Vec<PathBuf> {
    let prefix = format!("infra-secrets-{process}-");
    let entries = fs::read_dir("/dev/shm").unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect()
}

/// Starts an edit in a process group of its own. The signals have their usual effect, also where
/// the tests were started with some of them ignored.
fn edit(project: &Project, stages: &Stages) -> Child {
    let mut command = project.command("env");
    command.args(["--default-signal=TERM,HUP,QUIT", "infra", "secrets", "edit"]);
    stages.of(&mut command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn().unwrap()
}

/// Lets the editor work until it is at a stage.
fn run_to(stages: &Stages, last: usize) {
    for (number, stage) in STAGES.iter().enumerate().take(last + 1) {
        if number > 0 {
            stages.go_on();
        }
        stages.wait_for(stage);
    }
}

fn whole_edit(project: &Project) -> Pace {
    let stages = Stages::new();
    let start = Instant::now();
    let mut child = edit(project, &stages);
    stages.wait_for("opened");
    let opening = start.elapsed();
    run_to(&stages, STAGES.len() - 1);
    let start = Instant::now();
    stages.go_on();
    assert!(child.wait().unwrap().success());
    Pace { opening, saving: start.elapsed() }
}

/// Kills an edit at `moment`, and waits until no text of the edit is in memory.
fn kill_at(project: &Project, moment: Moment, pace: &Pace) {
    let stages = Stages::new();
    let mut child = edit(project, &stages);
    let process = Pid::from_child(&child);
    match moment {
        Moment::Before(part) => std::thread::sleep(pace.opening * part / PARTS),
        Moment::At(stage) => run_to(&stages, stage),
        Moment::After(part) => {
            run_to(&stages, STAGES.len() - 1);
            stages.go_on();
            std::thread::sleep(pace.saving * part / PARTS);
        }
    }
    kill_process(process, Signal::KILL).unwrap();
    // The process is dead, and keeps its number until `child.wait`.
    waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    if matches!(moment, Moment::Before(_)) {
        end_of_a_beginning(project, process);
    } else {
        wait_until("the folder in memory to be wiped", || folders_of(process).is_empty());
        // The editor lives on, and writes once more.
        for _ in STAGES {
            stages.go_on();
        }
        stages.wait_for("ended");
        assert!(folders_of(process).is_empty(), "{moment:?}");
    }
    child.wait().unwrap();
}

/// The text gets into the folder only after another process watches over the folder. An edit that
/// is killed earlier leaves an empty folder at most, which the next command removes.
fn end_of_a_beginning(project: &Project, process: Pid) {
    let is_empty = |folder: &PathBuf| fs::read_dir(folder).into_iter().flatten().next().is_none();
    wait_until("the text in memory to be wiped", || folders_of(process).iter().all(is_empty));
    // An editor that has just been started waits for the test, and would do so for ever.
    kill_process_group(process, Signal::KILL).unwrap();
    assert_eq!(project.secrets(&["list"], "").code, 0);
    wait_until("the folder in memory to be removed", || folders_of(process).is_empty());
}

fn killed_at_fifty_moments_every_file_opens_and_no_plaintext_is_left() {
    let project = Project::with(OLD);
    editor(&project, WRITER);
    let encrypted = fs::read(project.path("secrets/all.yaml.age")).unwrap();
    let pace = whole_edit(&project);
    assert_eq!(project.opened("all"), NEW);
    let moments = moments();
    assert_eq!(moments.len(), 50);
    for moment in moments {
        fs::write(project.path("secrets/all.yaml.age"), &encrypted).unwrap();
        kill_at(&project, moment, &pace);
        let text = project.opened("all");
        // Nothing is saved before the editor has ended.
        let may_be_saved = matches!(moment, Moment::After(_));
        let is_whole = text == OLD || (may_be_saved && text == NEW);
        assert!(is_whole, "{moment:?}: the file holds {text:?}");
        let left: Vec<_> = files_holding(&project.path(""), CANARY)
            .into_iter()
            .filter(|path| !path.ends_with("editor"))
            .collect();
        assert!(left.is_empty(), "{moment:?}: {left:?}");
    }
    // The next command takes away what is left of files half written.
    assert_eq!(project.secrets(&["set", "x"], "1").code, 0);
    let names = fs::read_dir(project.path("secrets")).unwrap().flatten();
    let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["all.yaml.age", "recipients.yaml"]);
}

fn other_signals_leave_nothing_either() {
    let project = Project::with(OLD);
    editor(&project, "stage opened");
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT] {
        let stages = Stages::new();
        let mut child = edit(&project, &stages);
        let process = Pid::from_child(&child);
        stages.wait_for("opened");
        assert_eq!(folders_of(process).len(), 1);
        kill_process(process, signal).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(signal.as_raw()));
        wait_until("the folder in memory to be wiped", || folders_of(process).is_empty());
    }
    assert_eq!(project.opened("all"), OLD);
}

fn ctrl_c_is_the_editors_business() {
    let project = Project::with(OLD);
    editor(&project, "stage opened; sed -i s/before-1/x/ \"$1\"");
    let stages = Stages::new();
    let mut child = edit(&project, &stages);
    let process = Pid::from_child(&child);
    stages.wait_for("opened");
    // The first thread waits for the editor, the other one for interrupts.
    let first = process.to_string();
    let mut listener = None;
    wait_until("the process to listen for interrupts", || {
        listener = processes::waiting(process).into_iter().find(|thread| thread.id != first);
        listener.is_some()
    });
    let listener = listener.unwrap();
    kill_process(process, Signal::INT).unwrap();
    wait_until("the interrupt to be dealt with", || listener.waits_anew());
    stages.go_on();
    assert!(child.wait().unwrap().success());
    assert_eq!(project.opened("all"), OLD.replace("before-1", "x"));
}

/// One kill hits the process that edits, the other one the process that watches over the text.
fn the_next_command_wipes_the_text_that_two_kills_left() {
    let project = Project::with(OLD);
    editor(&project, "stage opened");
    let stages = Stages::new();
    let mut child = edit(&project, &stages);
    let process = Pid::from_child(&child);
    stages.wait_for("opened");
    let folder = folders_of(process).remove(0);
    let watcher = processes::with(&["secrets watch", folder.to_str().unwrap()]).unwrap();
    kill_process(watcher, Signal::KILL).unwrap();
    kill_process(process, Signal::KILL).unwrap();
    child.wait().unwrap();
    assert_eq!(project.secrets(&["list"], "").code, 0);
    wait_until("the folder in memory to be removed", || !folder.exists());
}
