//! The files of a server where others than root can write: each case by itself.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::process::Command;

use infra::resources::{Attributes, Probe, System};
use tempfile::TempDir;

use super::host;

crate::tests! {
    pipes_and_devices_are_no_files,
    a_users_symlink_is_followed_with_the_users_access,
    a_users_symlink_is_no_way_to_write,
    what_a_user_may_not_read_is_not_read_for_them,
    another_name_of_a_file_of_root_is_not_read,
    what_a_user_can_have_moved_gets_no_more_rights,
    a_folder_of_a_user_takes_things_of_the_user,
    a_tree_of_root_in_a_users_folder_is_not_removed,
    a_program_runs_in_the_folder_that_was_found,
    a_program_of_a_user_ends_with_its_time,
    a_deep_tree_is_removed,
    large_files_of_others_are_not_read,
    hidden_writers_of_a_folder_are_seen,
    processes_that_end_are_gone = 30,
}

/// A folder of `daemon`, in a folder of root's; files of root's beside it.
fn ground() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(format!("{path}/home")).unwrap();
    chown(format!("{path}/home"), Some(1), Some(1)).unwrap();
    fs::write(format!("{path}/secret"), "of root").unwrap();
    fs::set_permissions(format!("{path}/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(format!("{path}/public"), "for all").unwrap();
    (folder, path)
}

fn attributes(owner: &str, mode: u32) -> Attributes {
    Attributes::new(owner, owner, mode)
}

fn pipes_and_devices_are_no_files() {
    let (_folder, path) = ground();
    let pipe = format!("{path}/home/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(host().read(&pipe).unwrap(), None);
    assert_eq!(host().list(&pipe).unwrap(), None);
    host().write_file(&pipe, b"a file", &attributes("daemon", 0o644)).unwrap();
    assert_eq!(fs::read_to_string(&pipe).unwrap(), "a file");
    assert_eq!(host().read("/dev/zero").unwrap(), None);
    symlink("/dev/zero", format!("{path}/home/zero")).unwrap();
    assert_eq!(host().read(&format!("{path}/home/zero")).unwrap(), None);
}

fn a_users_symlink_is_followed_with_the_users_access() {
    let (_folder, path) = ground();
    let link = format!("{path}/home/link");
    symlink(format!("{path}/public"), &link).unwrap();
    assert_eq!(host().read(&link).unwrap().unwrap(), b"for all");
    fs::remove_file(&link).unwrap();
    symlink(format!("{path}/secret"), &link).unwrap();
    assert_eq!(
        host().read(&link).unwrap_err().to_string(),
        format!("cannot read `{link}`\ncaused by: Permission denied (os error 13)")
    );
    // The agent itself is root again.
    assert_eq!(fs::read_to_string(format!("{path}/secret")).unwrap(), "of root");
    fs::remove_file(&link).unwrap();
    symlink("/proc/self", &link).unwrap();
    let error = host().read(&format!("{link}/environ")).unwrap_err().to_string();
    assert!(error.contains("leads to the files of processes"), "{error}");
}

fn a_users_symlink_is_no_way_to_write() {
    let (_folder, path) = ground();
    fs::create_dir(format!("{path}/open")).unwrap();
    let link = format!("{path}/home/link");
    symlink(format!("{path}/open"), &link).unwrap();
    for owner in ["root", "daemon"] {
        let error = host().write_file(&format!("{link}/x"), b"x", &attributes(owner, 0o644));
        assert_eq!(
            error.unwrap_err().to_string(),
            format!(
                "cannot write `{link}/x`\ncaused by: `link` on the way is a symlink in a folder \
                 that others can write"
            )
        );
    }
    assert_eq!(fs::read_dir(format!("{path}/open")).unwrap().count(), 0);
}

fn what_a_user_may_not_read_is_not_read_for_them() {
    let (_folder, path) = ground();
    let file = format!("{path}/home/file");
    fs::write(&file, "closed").unwrap();
    chown(&file, Some(1), Some(1)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let error = host().read(&file).unwrap_err().to_string();
    assert!(error.ends_with("Permission denied (os error 13)"), "{error}");
    // A file that root put there is root's to read, with its attributes.
    fs::write(format!("{path}/home/root"), "kept").unwrap();
    fs::set_permissions(format!("{path}/home/root"), fs::Permissions::from_mode(0o600)).unwrap();
    let (content, stat) = host().read_with_stat(&format!("{path}/home/root")).unwrap().unwrap();
    assert_eq!((content.as_slice(), stat.owner.as_str(), stat.mode), (&b"kept"[..], "root", 0o600));
}

fn another_name_of_a_file_of_root_is_not_read() {
    let (_folder, path) = ground();
    let file = format!("{path}/home/file");
    fs::hard_link(format!("{path}/secret"), &file).unwrap();
    let error = host().read(&file).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read `{file}`")), "{error}");
    let error = host().set_attributes(&file, &attributes("daemon", 0o644)).unwrap_err();
    assert!(error.to_string().contains("it would get another owner"), "{error}");
    assert_eq!(fs::metadata(format!("{path}/secret")).unwrap().uid(), 0);
}

fn what_a_user_can_have_moved_gets_no_more_rights() {
    let (_folder, path) = ground();
    let folder = format!("{path}/home/folder");
    fs::create_dir(&folder).unwrap();
    fs::write(format!("{folder}/file"), "kept").unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    for (wanted, gain) in [
        (attributes("daemon", 0o700), "another owner"),
        (Attributes::new("root", "daemon", 0o700), "another group"),
        (attributes("root", 0o755), "a wider mode"),
    ] {
        assert_eq!(
            host().set_attributes(&folder, &wanted).unwrap_err().to_string(),
            format!(
                "cannot set the owner or mode of `{folder}`\ncaused by: others can write in its \
                 folder, and it would get {gain}\nhint: somebody may have moved it there: look at \
                 it, and set this by hand"
            )
        );
    }
    host().set_attributes(&folder, &attributes("root", 0o500)).unwrap();
    let metadata = fs::metadata(&folder).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (0, 0o500));
    // A run that was cut left an empty folder, which is made anew.
    fs::remove_file(format!("{folder}/file")).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    host().set_attributes(&folder, &attributes("daemon", 0o755)).unwrap();
    let metadata = fs::metadata(&folder).unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (1, 0o755));
}

fn a_folder_of_a_user_takes_things_of_the_user() {
    let (_folder, path) = ground();
    let home = format!("{path}/home");
    let mut host = host();
    host.write_file(&format!("{home}/a"), b"a", &attributes("daemon", 0o640)).unwrap();
    host.write_file(&format!("{home}/b"), b"b", &attributes("root", 0o4755)).unwrap();
    host.write_file(&format!("{home}/c"), b"c", &Attributes::new("daemon", "adm", 0o600)).unwrap();
    host.make_directory(&format!("{home}/d"), &attributes("daemon", 0o750)).unwrap();
    host.make_directory(&format!("{home}/e"), &Attributes::new("root", "adm", 0o2750)).unwrap();
    host.make_directory(&format!("{home}/d"), &attributes("daemon", 0o755)).unwrap();
    host.make_symlink(&format!("{home}/f"), "a").unwrap();
    let mut found = Vec::new();
    for name in host.list(&home).unwrap().unwrap() {
        let stat = host.stat(&format!("{home}/{name}")).unwrap().unwrap();
        found.push(format!("{name} {} {} {:o}", stat.owner, stat.group, stat.mode));
    }
    let wanted = [
        "a daemon daemon 640",
        "b root root 4755",
        "c daemon adm 600",
        "d daemon daemon 755",
        "e root adm 2750",
        "f root root 777",
    ];
    assert_eq!(found, wanted);
    assert_eq!(host.read(&format!("{home}/f")).unwrap().unwrap(), b"a");
}

fn a_tree_of_root_in_a_users_folder_is_not_removed() {
    let (_folder, path) = ground();
    let tree = format!("{path}/home/tree");
    fs::create_dir(&tree).unwrap();
    fs::write(format!("{tree}/file"), "of root").unwrap();
    assert_eq!(
        host().remove_tree(&tree).unwrap_err().to_string(),
        format!(
            "cannot remove `{tree}`\ncaused by: others can write in its folder, and may not remove all \
             of it themselves\nhint: look at what is there, and remove it by hand"
        )
    );
    assert_eq!(fs::read_to_string(format!("{tree}/file")).unwrap(), "of root");
    fs::remove_file(format!("{tree}/file")).unwrap();
    host().remove_tree(&tree).unwrap();
    assert!(!fs::exists(&tree).unwrap());
}

fn a_program_runs_in_the_folder_that_was_found() {
    let (_folder, path) = ground();
    symlink(format!("{path}/home"), format!("{path}/link")).unwrap();
    let command = infra::resources::Command::new(["pwd", "-P"]).cwd(format!("{path}/link"));
    assert_eq!(host().run(&command).unwrap().text(), format!("{path}/home"));
    let command = infra::resources::Command::new(["pwd"]).cwd(format!("{path}/no"));
    assert_eq!(
        host().run(&command).unwrap_err().to_string(),
        format!("cannot run `pwd` in `{path}/no`\ncaused by: the folder is not there")
    );
}

/// A program of a user that moves itself into another process group, and takes no end.
const RUNAWAY: &str = "\
use POSIX;
$SIG{TERM} = 'IGNORE';
my $child = fork;
if (!$child) { POSIX::setpgid(0, 0); close STDOUT; close STDERR; sleep 100; exit }
sleep 1 until getpgrp($child) == $child;
POSIX::setpgid(0, $child);
open my $file, '>', $ARGV[0] or die;
print $file \"$$ $child\";
close $file;
sleep 100;
";

fn a_program_of_a_user_ends_with_its_time() {
    let (_folder, path) = ground();
    let pids = format!("{path}/home/pids");
    let command = infra::resources::Command::new(["perl", "-e", RUNAWAY, &pids]);
    let error = host().run(&command.user("daemon").timeout_seconds(3)).unwrap_err().to_string();
    assert!(error.ends_with("did not end within 3 s and was stopped"), "{error}");
    let pids = fs::read_to_string(&pids).unwrap();
    let (program, child) = pids.split_once(' ').unwrap();
    assert!(!fs::exists(format!("/proc/{program}")).unwrap());
    // Left in a group of its own, as any daemon that a user starts.
    Command::new("kill").arg(child).status().unwrap();
}

fn a_deep_tree_is_removed() {
    let (_folder, path) = ground();
    let tree = format!("{path}/home/tree");
    let script = "my $folder = shift; mkdir $folder; chdir $folder; \
                  for (1..3000) { mkdir 'd'; chdir 'd' } open my $file, '>', 'f'";
    let make = Command::new("setpriv")
        .args(["--reuid", "daemon", "--regid", "daemon", "--clear-groups", "perl", "-e", script])
        .arg(&tree)
        .status();
    assert!(make.unwrap().success());
    host().remove_tree(&tree).unwrap();
    assert!(!fs::exists(&tree).unwrap());
}

fn large_files_of_others_are_not_read() {
    let (_folder, path) = ground();
    let file = format!("{path}/home/file");
    fs::File::create(&file).unwrap().set_len(40 << 20).unwrap();
    assert_eq!(host().read(&file).unwrap().map(|content| content.len()), Some(40 << 20));
    chown(&file, Some(1), Some(1)).unwrap();
    assert_eq!(
        host().read(&file).map(drop).unwrap_err().to_string(),
        format!(
            "`{file}` has 41943040 bytes\ncaused by: infra reads at most 33554432 bytes of a file there"
        )
    );
    let copy = host().copy_file(&file, &format!("{path}/copy"), &attributes("root", 0o600));
    assert_eq!(
        copy.unwrap_err().to_string(),
        format!(
            "`{file}` has 41943040 bytes and stores 0\ncaused by: a copy of it would fill the disk \
             with zeros"
        )
    );
}

/// Folders of root's where nobody else seems to be able to write.
fn hidden_writers_of_a_folder_are_seen() {
    let (_folder, path) = ground();
    let folder = format!("{path}/folder");
    fs::create_dir(&folder).unwrap();
    let set = |group: u32, mode: u32| {
        chown(&folder, Some(0), Some(group)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        host().can_others_change(&format!("{folder}/file")).unwrap()
    };
    // Of root's own groups; of `operator`, which no user has; of none that is known.
    let found = [(0, 0o755), (0, 0o775), (50, 0o2775), (37, 0o755), (37, 0o2775), (54321, 0o2775)];
    let found = found.map(|(group, mode)| set(group, mode));
    assert_eq!(found, [false, false, false, false, true, true]);
    set(0, 0o755);
    // Version 2 of the kernel's lists (`linux/posix_acl_xattr.h`): `u::rwx,u:1:rwx,g::r-x,m::rwx,o::r-x`.
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, !0), (2, 7, 1), (4, 5, !0), (0x10, 7, !0), (0x20, 5, !0)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let name = "system.posix_acl_access";
    rustix::fs::setxattr(&folder, name, &list, rustix::fs::XattrFlags::empty()).unwrap();
    assert!(host().can_others_change(&format!("{folder}/file")).unwrap());
}

/// Processes of a user start and end while their files are read.
fn processes_that_end_are_gone() {
    let script = "while (1) { my $child = fork; if (!$child) { $> = 1; exit } waitpid $child, 0 }";
    let mut forks = Command::new("perl")
        .args(["-e", script])
        .stdin(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let (mut seen, mut wrong) = (0, Vec::new());
    while seen < 3000 && wrong.is_empty() {
        for process in host().list("/proc").unwrap().unwrap() {
            if process.parse::<u32>().is_err() {
                continue;
            }
            seen += 1;
            let path = format!("/proc/{process}/cmdline");
            let read = [host().read(&path).map(drop), host().stat(&path).map(drop)];
            wrong.extend(read.into_iter().filter_map(Result::err));
        }
    }
    forks.kill().unwrap();
    forks.wait().unwrap();
    let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
