//! `infra secrets edit` killed at any moment.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Project;
use crate::support::files_holding;

const OLD: &str = "password: canary-before-1 # a comment\n";
const NEW: &str = "password: canary-after-2 # a comment\n";
const CANARY: &[u8] = b"canary-";
const MOMENTS: u32 = 50;

/// The folders in memory of a process.
fn folders_of(process: u32) -> Vec<PathBuf> {
    let prefix = format!("infra-secrets-{process}-");
    let entries = fs::read_dir("/dev/shm").unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect()
}

fn wait_until(what: &str, is_done: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn edit(project: &Project) -> std::process::Child {
    let mut command = project.command(env!("CARGO_BIN_EXE_infra"));
    command.args(["secrets", "edit"]).stdin(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn killed_at_50_moments_every_file_opens_and_no_plaintext_is_left() {
    let project = Project::with(OLD);
    project.editor(
        "printf 'pass' > \"$1\"; sleep 0.01\n\
         printf 'password: canary-after-2 # a comment\\n' > \"$1\"; sleep 0.01",
    );
    let encrypted = fs::read(project.path("secrets/all.yaml.age")).unwrap();
    // One whole edit says how long it takes.
    let start = Instant::now();
    assert!(edit(&project).wait().unwrap().success());
    let whole = start.elapsed();
    let (mut old, mut new) = (0, 0);
    for moment in 0..MOMENTS {
        fs::write(project.path("secrets/all.yaml.age"), &encrypted).unwrap();
        let mut child = edit(&project);
        // Twice as long, since a machine that does other things meanwhile may be slower by then.
        std::thread::sleep(whole * moment * 2 / MOMENTS);
        let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        child.wait().unwrap();
        wait_until("the folder in memory is left", || folders_of(child.id()).is_empty());
        match project.opened("all").as_str() {
            OLD => old += 1,
            NEW => new += 1,
            other => panic!("at moment {moment} the file holds {other:?}"),
        }
        let left: Vec<_> = files_holding(&project.path(""), CANARY)
            .into_iter()
            .filter(|path| !path.ends_with("editor"))
            .collect();
        assert!(left.is_empty(), "at moment {moment}: {left:?}");
    }
    assert!(old >= 10 && new >= 1, "killed before the change {old} times, after it {new} times");
    // The next command takes away what is left of files half written.
    assert_eq!(project.secrets(&["set", "x"], "1").code, 0);
    let names = fs::read_dir(project.path("secrets")).unwrap().flatten();
    let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["all.yaml.age", "recipients.yaml"]);
}

#[test]
fn other_signals_leave_nothing_either() {
    let project = Project::with(OLD);
    project.editor("touch started; sleep 0.3");
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT] {
        let mut child = edit(&project);
        wait_until("the editor does not start", || project.path("started").exists());
        assert_eq!(folders_of(child.id()).len(), 1);
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
        wait_until("the folder in memory is left", || folders_of(child.id()).is_empty());
        fs::remove_file(project.path("started")).unwrap();
    }
    assert_eq!(project.opened("all"), OLD);
}

#[test]
fn ctrl_c_is_the_editors_business() {
    let project = Project::with(OLD);
    project.editor("touch started; sleep 0.3; sed -i s/before-1/x/ \"$1\"");
    let mut child = edit(&project);
    wait_until("the editor does not start", || project.path("started").exists());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(project.opened("all"), OLD.replace("before-1", "x"));
}

#[test]
fn the_next_command_wipes_what_two_kills_left() {
    let project = Project::with(OLD);
    project.editor("touch started; sleep 5");
    let mut child = edit(&project);
    wait_until("the editor does not start", || project.path("started").exists());
    let folder = folders_of(child.id()).remove(0);
    let marked = folder.display().to_string();
    let watcher = fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        (line.contains("watch") && line.contains(&marked)).then_some(id)
    });
    kill_process(Pid::from_raw(watcher.unwrap()).unwrap(), Signal::KILL).unwrap();
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    assert_eq!(project.secrets(&["list"], "").code, 0);
    assert!(!folder.exists());
}
