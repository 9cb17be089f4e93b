//! Files with more than content, owner and mode, on this machine: lists, attributes, further names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use infra::resources::{Attributes, Probe, System};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use tempfile::TempDir;

use crate::hostile::host;

crate::tests! {
    a_file_keeps_what_root_or_its_owner_gave_it,
    a_file_keeps_its_flags,
    a_copy_keeps_what_its_original_has,
    a_file_of_others_takes_nothing_over_that_they_gave,
    further_names_are_counted,
    a_link_to_a_name_of_other_bytes_is_an_error,
}

fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    (folder, path)
}

fn root(mode: u32) -> Attributes {
    Attributes::new("root", "root", mode)
}

/// The note that somebody gave a file, if it has one.
fn note(file: &str) -> Option<String> {
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(file, "user.note", &mut value[..]).ok()?;
    Some(String::from_utf8_lossy(&value[..length]).into_owned())
}

fn give_note(file: &str) {
    rustix::fs::setxattr(file, "user.note", b"theirs", rustix::fs::XattrFlags::empty()).unwrap();
}

fn daemon() -> Attributes {
    Attributes::new("daemon", "daemon", 0o640)
}

fn a_file_keeps_what_root_or_its_owner_gave_it() {
    let (_folder, path) = folder();
    let file = format!("{path}/a");
    host().write_file(&file, b"one", &root(0o644)).unwrap();
    assert_eq!(note(&file), None);
    give_note(&file);
    for (attributes, kept) in [
        (root(0o600), Some("theirs")),
        (daemon(), Some("theirs")),
        (daemon(), Some("theirs")),
        (root(0o600), None),
    ] {
        host().write_file(&file, b"two", &attributes).unwrap();
        assert_eq!(note(&file).as_deref(), kept, "{attributes:?}");
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
        assert_eq!(Some(mode), attributes.mode);
    }
}

/// The flags of chattr(1).
fn flags(file: &str) -> IFlags {
    ioctl_getflags(fs::File::open(file).unwrap()).unwrap()
}

fn a_file_keeps_its_flags() {
    // A folder in memory may have no flags.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = format!("{}/a", folder.path().display());
    host().write_file(&file, b"one", &root(0o644)).unwrap();
    let given = IFlags::NOATIME | IFlags::NODUMP;
    ioctl_setflags(fs::File::open(&file).unwrap(), flags(&file) | given).unwrap();
    host().write_file(&file, b"two", &root(0o600)).unwrap();
    assert!(flags(&file).contains(given), "{:?}", flags(&file));
    let copy = format!("{}/b", folder.path().display());
    host().copy_whole(&file, &copy, &root(0o600)).unwrap();
    assert!(flags(&copy).contains(given), "{:?}", flags(&copy));
}

fn a_copy_keeps_what_its_original_has() {
    let (_folder, path) = folder();
    let [file, kept] = ["a", "kept"].map(|name| format!("{path}/{name}"));
    host().write_file(&file, b"one", &daemon()).unwrap();
    give_note(&file);
    let stat = host().copy_whole(&file, &kept, &root(0o600)).unwrap();
    assert_eq!((stat.owner.as_str(), stat.mode), ("daemon", 0o640));
    assert_eq!(note(&kept).as_deref(), Some("theirs"));
    host().remove_file(&file).unwrap();
    host().copy_whole(&kept, &file, &daemon()).unwrap();
    assert_eq!(note(&file).as_deref(), Some("theirs"));
    // Copies of older builds have none: then those of the file in its place stay.
    host().remove_file(&kept).unwrap();
    host().write_file(&kept, b"one", &root(0o600)).unwrap();
    host().copy_whole(&kept, &file, &daemon()).unwrap();
    assert_eq!(note(&file).as_deref(), Some("theirs"));
    host().copy_file(&file, &format!("{path}/b"), &root(0o600)).unwrap();
    assert_eq!(note(&format!("{path}/b")), None);
}

fn a_file_of_others_takes_nothing_over_that_they_gave() {
    let (_folder, path) = folder();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let home = format!("{path}/home");
    host().make_directory(&home, &Attributes::new("daemon", "daemon", 0o755)).unwrap();
    let file = format!("{home}/a");
    host().write_file(&file, b"one", &daemon()).unwrap();
    give_note(&file);
    host().write_file(&file, b"two", &daemon()).unwrap();
    assert_eq!(note(&file).as_deref(), Some("theirs"));
    // Of a file with another name nobody knows whose place it had.
    fs::hard_link(&file, format!("{path}/b")).unwrap();
    host().write_file(&file, b"three", &daemon()).unwrap();
    assert_eq!(note(&file), None);
    give_note(&file);
    host().write_file(&file, b"four", &root(0o640)).unwrap();
    assert_eq!(note(&file), None);
}

fn further_names_are_counted() {
    let (_folder, path) = folder();
    let file = format!("{path}/a");
    assert_eq!(host().bonds(&file).unwrap().names, 1);
    fs::write(&file, "a").unwrap();
    fs::hard_link(&file, format!("{path}/b")).unwrap();
    assert_eq!(host().bonds(&file).unwrap().names, 2);
    // A folder has a name in each folder below, and is no such thing.
    assert_eq!(host().bonds(&path).unwrap().names, 1);
    assert_eq!(host().bonds(&format!("{path}/none/a")).unwrap().folder, None);
}

fn a_link_to_a_name_of_other_bytes_is_an_error() {
    let (_folder, path) = folder();
    let name = OsStr::from_bytes(b"donn\xe9es");
    let link = format!("{path}/link");
    symlink(name, &link).unwrap();
    assert_eq!(
        host().read_link(&link).unwrap_err().to_string(),
        format!(
            "the symlink `{link}` points to a name that is not UTF-8\n\
             caused by: the name is `donn\\xe9es`\n\
             hint: let it point to a name in UTF-8, or remove it"
        )
    );
    // On the way it is followed.
    fs::create_dir(Path::new(&path).join(name)).unwrap();
    host().write_file(&format!("{link}/a"), b"a", &root(0o644)).unwrap();
    assert_eq!(fs::read(Path::new(&path).join(name).join("a")).unwrap(), b"a");
    assert_eq!(host().list(&path).unwrap().unwrap(), ["donn\\xe9es", "link"]);
}
