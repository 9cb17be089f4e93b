//! How much of the lab this machine can do, and whether it can at all.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use assert_cmd::cargo::cargo_bin;
use libtest_mimic::Arguments;
use rustix::fs::{FlockOperation, flock};

use super::harness::say;
use super::{Test, disk, lists};

/// Programs that the tests run, with their Debian packages.
const PROGRAMS: &[(&str, &str)] = &[
    ("age", "age"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("mkfs.ext4", "e2fsprogs"),
    ("php", "php-cli"),
    ("qemu-aarch64-static", "qemu-user-static"),
    ("script", "bsdutils"),
    ("sshd", "openssh-server"),
    ("strace", "strace"),
    ("vim", "vim"),
];

/// Memory for a test, the server in it included, in kibibytes.
const MEMORY: u64 = 1_200_000;

/// Tests that run at the same time for each core: most of the time a test waits for its server.
const TESTS_PER_CORE: usize = 5;

/// Held by this process, so that two runs do not end each other's servers.
static LOCK: OnceLock<fs::File> = OnceLock::new();

/// The names of the tests that run.
static SELECTED: OnceLock<Vec<&'static str>> = OnceLock::new();

/// Where everything of the labs of the tests is.
pub(super) fn labs() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("labs")
}

/// The folder of a lab, which has a short name: sockets of ssh lie below.
pub(super) fn lab(number: usize) -> PathBuf {
    disk::folder().join(number.to_string())
}

pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How many tests may run at the same time.
pub(crate) fn workers() -> usize {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let free = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let fitting = usize::try_from(free.unwrap_or(MEMORY) / MEMORY).unwrap_or(1);
    (cores() * TESTS_PER_CORE).min(fitting).max(1)
}

/// Looks for all that the tests need, and ends the servers that a killed run has left.
///
/// # Errors
/// The text names everything that is missing.
pub(crate) fn prepare() -> Result<(), String> {
    let mut lacks: Vec<String> = Vec::new();
    if let Err(error) = infra::lab::Lab::check_requirements() {
        lacks.push(error.to_string());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    for (program, package) in PROGRAMS {
        if !folders.iter().any(|folder| folder.join(program).is_file()) {
            lacks.push(format!("`{program}` is not installed: package `{package}`"));
        }
    }
    if !lacks.is_empty() {
        lacks.push("hint: run `.ci/prepare` as root".to_owned());
        return Err(lacks.join("\n"));
    }
    lock().map_err(|error| format!("cannot use `{}`: {error}", labs().display()))?;
    disk::open()?;
    end_labs();
    Ok(())
}

/// Ends all at the end of a run.
pub(crate) fn end_all() {
    end_labs();
    disk::close();
}

/// Ends the servers of all labs; images and packages stay for the next run.
fn end_labs() {
    for entry in fs::read_dir(disk::folder()).into_iter().flatten().flatten() {
        let is_lab = entry.file_name().to_str().is_some_and(|name| name.parse::<usize>().is_ok());
        if is_lab {
            end(&entry.path());
        }
    }
}

/// The folder that has the images and packages of all labs.
const SHARED: &str = "shared";

fn lock() -> std::io::Result<()> {
    fs::create_dir_all(labs())?;
    let file = fs::File::create(labs().join("lock"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        say("waiting for another run of these tests to end");
        flock(&file, FlockOperation::LockExclusive)?;
    }
    let _ = LOCK.set(file);
    Ok(())
}

/// Ends the servers of a lab and removes its folder.
pub(crate) fn end(folder: &Path) {
    if !folder.exists() {
        return;
    }
    end_connections(folder);
    let mut infra = Command::new(cargo_bin("infra"));
    infra.args(["lab", "down", "--all", "--lab-dir"]).arg(folder).current_dir("/");
    match infra.output() {
        Ok(output) if output.status.success() => {
            let _ = fs::remove_dir_all(folder);
        }
        // The records stay: with them the next run ends what still runs.
        Ok(output) => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            say(&format!("`{}` could not be ended:\n{complaint}", folder.display()));
        }
        Err(error) => say(&format!("cannot run infra: {error}")),
    }
}

/// Ends the shared connections of a lab: those to a server that has shut down would keep the file
/// system in use until they notice.
fn end_connections(folder: &Path) {
    for entry in fs::read_dir(folder.join("infra")).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            let mut ssh = Command::new("ssh");
            ssh.args(["-F", "none", "-O", "exit", "-S"]).arg(entry.path()).arg("server");
            // The connection may have ended by itself.
            let _ = ssh.output();
        }
    }
}

/// Makes a lab in a new folder that uses the images and packages of all labs.
pub(crate) fn new_lab(folder: &Path) {
    static IMAGES: OnceLock<Result<(), String>> = OnceLock::new();
    let shared = disk::folder().join(SHARED);
    if let Err(why) = IMAGES.get_or_init(|| build_images(&shared)) {
        panic!("there are no images:\n{why}");
    }
    fs::create_dir_all(folder).unwrap();
    fs::create_dir_all(shared.join("apt")).unwrap();
    for part in ["images", "apt"] {
        std::os::unix::fs::symlink(shared.join(part), folder.join(part)).unwrap();
    }
}

/// Builds the images that are missing, before any lab looks at them: each lab removes what it takes
/// for half built.
fn build_images(shared: &Path) -> Result<(), String> {
    let lab = |arguments: &[&str]| {
        let mut infra = Command::new(cargo_bin("infra"));
        infra.arg("lab").args(arguments).arg("--lab-dir").arg(shared).current_dir("/");
        let output = infra.output().map_err(|error| error.to_string())?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(complaint) }
    };
    // A killed run may have left a server.
    lab(&["down"])?;
    for os in ["debian-12", "debian-13"] {
        lab(&["up", "image", "--os", os])?;
        lab(&["down", "image"])?;
    }
    let images = shared.join("images");
    for entry in fs::read_dir(&images).map_err(|error| error.to_string())?.flatten() {
        // An image that is half built has such a name.
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let originals = shared.join("lists").join(entry.file_name());
        lists::cut(&entry.path(), &originals).map_err(|error| {
            format!("cannot cut the lists of `{}`: {error}", entry.path().display())
        })?;
    }
    Ok(())
}

/// Remembers which tests run; returns whether there are any.
pub(crate) fn note_selection(tests: &[Test], arguments: &Arguments) -> bool {
    let is_selected = |test: &&Test| {
        let name = test.name.split_once("::").map_or(test.name, |(_, name)| name);
        let is_meant = |word: &String| {
            if arguments.exact { name == word } else { name.contains(word.as_str()) }
        };
        let is_wanted = if arguments.ignored {
            test.is_ignored
        } else {
            arguments.include_ignored || !test.is_ignored
        };
        is_wanted
            && arguments.filter.as_ref().is_none_or(is_meant)
            && !arguments.skip.iter().any(is_meant)
    };
    let _ = SELECTED.set(tests.iter().filter(is_selected).map(|test| test.name).collect());
    SELECTED.get().is_some_and(|names| !names.is_empty())
}

/// Whether a test whose name ends with `name` runs as well.
pub(crate) fn is_selected(name: &str) -> bool {
    SELECTED.get().is_some_and(|names| names.iter().any(|known| known.ends_with(name)))
}
