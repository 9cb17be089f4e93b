//! The agent on this machine, in a folder of its own: files, owners, programs, git.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use infra::agent::host::Host;
use infra::resources::{Attributes, Change, Command, Current, Probe, Progress, Spec, System};
use tempfile::TempDir;

use crate::support::wait_until;

crate::tests! {
    a_file_gets_exactly_its_owner_and_mode,
    leftovers_of_a_cut_run_are_cleared,
    a_failure_leaves_nothing_behind,
    symlinks_that_others_could_have_put_there_are_not_followed,
    a_symlink_at_the_path_is_replaced_not_followed,
    a_tree_goes_without_what_its_symlinks_point_to,
    a_program_runs_as_its_user_with_a_clean_environment,
    a_relative_program_is_one_of_its_folder,
    no_process_of_a_group_outlives_its_time = 6,
    git_follows_its_ref_with_submodules = 3,
    a_check_of_a_work_tree_writes_nothing,
    an_archive_is_unpacked_only_with_its_hash,
    a_command_runs_until_its_stamp_is_there,
}

struct Silent;

impl Progress for Silent {
    fn progress(&mut self, _: Option<f32>, _: &str) {}
    fn warn(&mut self, _: &str) {}
}

fn host() -> Host {
    Host::new(Box::new(Silent), Arc::new(AtomicBool::new(false))).unwrap()
}

fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    (folder, path)
}

fn root(mode: u32) -> Attributes {
    Attributes::new("root", "root", mode)
}

fn names(path: &str) -> Vec<String> {
    host().list(path).unwrap().unwrap()
}

fn a_file_gets_exactly_its_owner_and_mode() {
    let (_folder, path) = folder();
    let file = format!("{path}/a");
    let mut host = host();
    host.write_file(&file, b"one", &Attributes::new("daemon", "adm", 0o4750)).unwrap();
    let stat = host.stat(&file).unwrap().unwrap();
    assert_eq!((stat.owner.as_str(), stat.group.as_str(), stat.mode), ("daemon", "adm", 0o4750));
    let inode = fs::metadata(&file).unwrap().ino();
    let unchanged = Attributes { owner: None, group: None, mode: None };
    host.write_file(&file, b"two", &unchanged).unwrap();
    let stat = host.stat(&file).unwrap().unwrap();
    assert_eq!((stat.owner.as_str(), stat.group.as_str(), stat.mode), ("daemon", "adm", 0o4750));
    assert_ne!(fs::metadata(&file).unwrap().ino(), inode, "switched, not overwritten");
    assert_eq!(names(&path), ["a"]);
}

fn leftovers_of_a_cut_run_are_cleared() {
    let (_folder, path) = folder();
    fs::write(format!("{path}/.infra-a"), "half of it").unwrap();
    host().write_file(&format!("{path}/a"), b"all of it", &root(0o644)).unwrap();
    assert_eq!(names(&path), ["a"]);
    assert_eq!(fs::read_to_string(format!("{path}/a")).unwrap(), "all of it");
}

fn a_failure_leaves_nothing_behind() {
    let (_folder, path) = folder();
    fs::create_dir_all(format!("{path}/a")).unwrap();
    let error = host().write_file(&format!("{path}/a"), b"x", &root(0o644)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot write `{path}/a`\ncaused by: a directory is there")
    );
    let error = host().write_file(&format!("{path}/b/c"), b"x", &root(0o644)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot write `{path}/b/c`\ncaused by: its folder is not there")
    );
    let nobody = Attributes::new("no-such-user", "root", 0o644);
    let error = host().write_file(&format!("{path}/d"), b"x", &nobody).unwrap_err();
    assert_eq!(error.message, "there is no user `no-such-user`");
    assert_eq!(names(&path), ["a"]);
}

fn symlinks_that_others_could_have_put_there_are_not_followed() {
    let (_folder, path) = folder();
    let open = format!("{path}/open");
    fs::create_dir_all(format!("{path}/target")).unwrap();
    fs::create_dir(&open).unwrap();
    symlink(format!("{path}/target"), format!("{open}/link")).unwrap();
    let file = format!("{open}/link/a");
    // In root's own folder a symlink is root's decision.
    host().write_file(&file, b"x", &root(0o644)).unwrap();
    assert_eq!(names(&format!("{path}/target")), ["a"]);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let error = host().write_file(&file, b"y", &root(0o644)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot write `{file}`\ncaused by: `link` on the way is a symlink in a folder that \
             others can write"
        )
    );
    assert_eq!(fs::read_to_string(format!("{path}/target/a")).unwrap(), "x");
}

fn a_symlink_at_the_path_is_replaced_not_followed() {
    let (_folder, path) = folder();
    fs::write(format!("{path}/target"), "kept").unwrap();
    symlink("target", format!("{path}/link")).unwrap();
    let mut host = host();
    host.set_attributes(&format!("{path}/link"), &Attributes::new("daemon", "daemon", 0o600))
        .unwrap();
    assert_eq!(fs::metadata(format!("{path}/target")).unwrap().uid(), 0);
    assert_eq!(fs::metadata(format!("{path}/target")).unwrap().mode() & 0o777, 0o644);
    host.write_file(&format!("{path}/link"), b"new", &root(0o644)).unwrap();
    assert_eq!(fs::read_to_string(format!("{path}/target")).unwrap(), "kept");
    host.make_symlink(&format!("{path}/link"), "target").unwrap();
    assert_eq!(host.read_link(&format!("{path}/link")).unwrap().as_deref(), Some("target"));
    assert_eq!(names(&path), ["link", "target"]);
}

fn a_tree_goes_without_what_its_symlinks_point_to() {
    let (_folder, path) = folder();
    fs::create_dir_all(format!("{path}/tree/deep/er")).unwrap();
    fs::write(format!("{path}/kept"), "kept").unwrap();
    fs::create_dir(format!("{path}/kept-folder")).unwrap();
    symlink(format!("{path}/kept"), format!("{path}/tree/deep/link")).unwrap();
    symlink(format!("{path}/kept-folder"), format!("{path}/tree/folder")).unwrap();
    let mut host = host();
    let error = host.remove_directory(&format!("{path}/tree")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot remove the directory `{path}/tree`\ncaused by: it is not empty")
    );
    host.remove_tree(&format!("{path}/tree")).unwrap();
    host.remove_tree(&format!("{path}/tree")).unwrap();
    assert_eq!(names(&path), ["kept", "kept-folder"]);
}

fn a_program_runs_as_its_user_with_a_clean_environment() {
    let command = Command::new(["sh", "-c", "id -un; id -Gn; pwd; env | sort"]).user("daemon");
    let output = host().run(&command.env("KEY", "value")).unwrap().text();
    assert_eq!(
        output,
        "daemon\ndaemon\n/\nHOME=/usr/sbin\nKEY=value\nLANG=C.UTF-8\nLOGNAME=daemon\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/\nUSER=daemon"
    );
    let error = host().run(&Command::new(["id"]).user("no-such-user")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot run `id` as `no-such-user`\ncaused by: there is no such user"
    );
}

fn a_relative_program_is_one_of_its_folder() {
    let (_folder, path) = folder();
    fs::write(format!("{path}/cli"), "#!/bin/sh\necho here\n").unwrap();
    fs::set_permissions(format!("{path}/cli"), fs::Permissions::from_mode(0o755)).unwrap();
    let output = host().run(&Command::new(["./cli"]).cwd(&path)).unwrap();
    assert_eq!(output.text(), "here");
    let error = host().run(&Command::new(["./cli"])).unwrap_err();
    assert_eq!(error.message, "`./cli` is not on the server");
}

fn no_process_of_a_group_outlives_its_time() {
    let (_folder, path) = folder();
    let script = "sleep infinity & echo $! > \"$1/child\"; trap '' TERM; sleep infinity";
    for seconds in [1, 10, 60] {
        let command = Command::new(["sh", "-c", script, "sh", &path]).timeout_seconds(seconds);
        let error = host().run(&command).unwrap_err();
        let end = format!("did not end within {seconds} s and was stopped");
        assert!(error.message.ends_with(&end), "{error}");
        // A busy machine may have had no time for the script yet.
        let child = fs::read_to_string(format!("{path}/child")).unwrap_or_default();
        let child = child.trim();
        if !child.is_empty() {
            wait_until("the child to be gone", || {
                let status = fs::read_to_string(format!("/proc/{child}/status"));
                status.map_or(true, |status| status.contains("State:\tZ"))
            });
            return;
        }
    }
    panic!("the script did not start a child within a minute");
}

fn git(folder: &str, arguments: &[&str]) {
    let config = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always"];
    let output =
        Process::new("git").arg("-C").arg(folder).args(config).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn commit(folder: &str, version: &str) {
    fs::write(format!("{folder}/version"), version).unwrap();
    git(folder, &["add", "version"]);
    git(folder, &["commit", "-qm", version]);
    git(folder, &["tag", version]);
}

fn spec(kind: &str, fields: &serde_json::Value) -> Spec {
    Spec::deserialize_kind(kind, fields).unwrap().unwrap()
}

fn change(spec: &Spec, host: &Host) -> Option<Change> {
    let current: Current = spec.current(host).unwrap();
    Change::between(spec.desired().as_ref(), &current)
}

/// Applies a spec; afterwards nothing may be left to change.
fn hold(spec: &Spec, host: &mut Host) -> Option<Change> {
    let found = change(spec, host);
    if let Some(change) = &found {
        spec.apply(change, host).unwrap();
    }
    assert_eq!(change(spec, host), None, "{}", spec.id());
    found
}

/// Serves the repositories of a folder: git takes no submodules from another folder.
struct GitDaemon {
    process: Child,
    url: String,
}

impl GitDaemon {
    fn start(folder: &str) -> Self {
        // Not through `git daemon`, whose child would outlive it.
        let programs = Process::new("git").arg("--exec-path").output().unwrap().stdout;
        let program = format!("{}/git-daemon", String::from_utf8(programs).unwrap().trim());
        loop {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut process = Process::new(&program)
                .args(["--export-all", "--listen=127.0.0.1"])
                .arg(format!("--port={port}"))
                .arg(format!("--base-path={folder}"))
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut has_ended = false;
            wait_until("git daemon to listen", || {
                has_ended = process.try_wait().unwrap().is_some();
                has_ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            // Somebody else may have taken the port before the daemon did.
            if !has_ended {
                return Self { process, url: format!("git://127.0.0.1:{port}") };
            }
        }
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Two versions of a repository, each with another version of its submodule `lib`.
fn repositories(folder: &str) {
    let [upstream, library] = ["upstream", "library"].map(|name| format!("{folder}/{name}"));
    for repository in [&upstream, &library] {
        fs::create_dir(repository).unwrap();
        git(repository, &["init", "-q", "-b", "main"]);
    }
    commit(&library, "lib1");
    git(&upstream, &["submodule", "--quiet", "add", "../library", "lib"]);
    commit(&upstream, "v1");
    commit(&library, "lib2");
    git(&format!("{upstream}/lib"), &["pull", "-q", "origin", "main"]);
    git(&upstream, &["add", "lib"]);
    commit(&upstream, "v2");
}

fn git_follows_its_ref_with_submodules() {
    let (_folder, path) = folder();
    repositories(&path);
    let daemon = GitDaemon::start(&path);
    let clone = format!("{path}/clone");
    let mut host = host();
    let at = |reference: &str, force: bool| {
        let repository = format!("{}/upstream", daemon.url);
        let fields = serde_json::json!({
            "path": clone, "repository": repository, "ref": reference, "force": force,
        });
        spec("git", &fields)
    };
    let versions =
        || ["version", "lib/version"].map(|f| fs::read_to_string(format!("{clone}/{f}")).unwrap());
    assert!(hold(&at("v1", false), &mut host).unwrap().is_create());
    assert_eq!(versions(), ["v1", "lib1"]);
    assert_eq!(hold(&at("v2", false), &mut host).unwrap().field_names(), "ref");
    assert_eq!(versions(), ["v2", "lib2"]);
    assert!(hold(&at("main", false), &mut host).is_none(), "the branch is at the tag");
    commit(&format!("{path}/upstream"), "v3");
    assert_eq!(hold(&at("main", false), &mut host).unwrap().field_names(), "ref");
    assert_eq!(versions(), ["v3", "lib2"]);

    // A run that is cut between the checkout and its submodules.
    git(&clone, &["checkout", "-q", "v1"]);
    let found = hold(&at("v1", false), &mut host).unwrap();
    assert_eq!(
        (found.field_names().as_str(), versions()),
        ("submodules", ["v1", "lib1"].map(Into::into))
    );

    fs::write(format!("{clone}/version"), "edited").unwrap();
    let error = at("v1", false).current(&host).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "`{clone}` has changes of its own\ncaused by: M version\n\
             hint: save them, or throw them away with `force: true`"
        )
    );
    assert_eq!(hold(&at("v1", true), &mut host).unwrap().field_names(), "work tree");
    assert_eq!(versions(), ["v1", "lib1"]);
    assert_eq!(names(&path), ["clone", "library", "upstream"]);
}

fn a_check_of_a_work_tree_writes_nothing() {
    let (_folder, path) = folder();
    repositories(&path);
    let upstream = format!("{path}/upstream");
    let fields = serde_json::json!({
        "path": format!("{path}/clone"), "repository": upstream, "ref": "v1", "submodules": false,
    });
    let spec = spec("git", &fields);
    let mut host = host();
    hold(&spec, &mut host);
    // A new time stamp makes `git status` want to refresh the index.
    fs::write(format!("{path}/clone/version"), "v1").unwrap();
    let index = || fs::metadata(format!("{path}/clone/.git/index")).unwrap().ino();
    let before = index();
    assert_eq!(change(&spec, &host), None);
    assert_eq!(index(), before);
}

fn an_archive_is_unpacked_only_with_its_hash() {
    let (_folder, path) = folder();
    fs::create_dir(format!("{path}/top")).unwrap();
    fs::write(format!("{path}/top/file"), "content").unwrap();
    let tar = format!("{path}/a.tar.gz");
    let packed = Process::new("tar").args(["-czf", &tar, "-C", &path, "top"]).status().unwrap();
    assert!(packed.success());
    let sum = Process::new("sha256sum").arg(&tar).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap()[..64].to_owned();
    let archive = |sha256: &str| {
        let target = format!("{path}/unpacked");
        let fields = serde_json::json!({
            "path": target, "source": tar, "sha256": sha256, "strip_components": 1,
            "owner": "daemon",
        });
        spec("archive", &fields)
    };
    let mut host = host();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let wrong = archive(&"0".repeat(64));
    let found = change(&wrong, &host).unwrap();
    let error = wrong.apply(&found, &mut host).unwrap_err();
    assert_eq!(error.message, format!("`{tar}` has another hash"));
    assert_eq!(names(&path), ["a.tar.gz", "top"]);
    assert!(hold(&archive(&sum), &mut host).unwrap().is_create());
    let file = host.stat(&format!("{path}/unpacked/file")).unwrap().unwrap();
    assert_eq!(file.owner, "daemon");
    let mut absent = serde_json::to_value(archive(&sum)).unwrap()["Archive"].clone();
    absent["state"] = "absent".into();
    assert!(hold(&spec("archive", &absent), &mut host).unwrap().is_remove());
    assert_eq!(names(&path), ["a.tar.gz", "top"]);
}

fn a_command_runs_until_its_stamp_is_there() {
    let (_folder, path) = folder();
    let command = |key: &str, value: &str| {
        let fields = serde_json::json!({
            "run": ["sh", "-c", "cat >> out; echo $KEY >> out"], "cwd": path,
            "stdin": "in ", "env": { "KEY": value }, "stamp": format!("{path}/stamp"),
            "stamp_key": key,
        });
        spec("command", &fields)
    };
    let mut host = host();
    assert!(hold(&command("1", "value"), &mut host).is_some());
    assert!(hold(&command("1", "value"), &mut host).is_none());
    assert!(hold(&command("2", "value"), &mut host).is_some());
    // A secret that has changed makes it run again, and is not in the stamp.
    assert!(hold(&command("2", "other"), &mut host).is_some());
    assert!(hold(&command("2", "other"), &mut host).is_none());
    let out = fs::read_to_string(format!("{path}/out")).unwrap();
    assert_eq!(out, "in value\nin value\nin other\n");
    let stamp = fs::read_to_string(format!("{path}/stamp")).unwrap();
    assert!(!stamp.contains("other") && stamp.lines().count() == 2, "{stamp}");
}
