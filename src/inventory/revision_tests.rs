use std::path::Path;
use std::process::Command;

use super::*;
use crate::inventory::Inventory;

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder).args(["-c", "user.name=ana", "-c", "user.email=ana@example.org"]);
    let output = git.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository whose project, in the folder `infra`, has two commits, and a changed work tree.
fn repository() -> (TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("infra");
    fs::create_dir_all(project.join("inventory")).unwrap();
    fs::create_dir_all(project.join("roles/app/files")).unwrap();
    git(folder.path(), &["init", "-q"]);
    for (description, script) in [("first", "one"), ("second", "two"), ("unsaved", "three")] {
        let server = format!("description: {description}\nroles: {{ app: {{}} }}\n");
        fs::write(project.join("inventory/web.yaml"), server).unwrap();
        fs::write(project.join("roles/app/files/run"), script).unwrap();
        let link = project.join("roles/app/files/link");
        let _ = fs::remove_file(&link);
        symlink("run", link).unwrap();
        // A commit lacks nothing that attributes keep out of archives.
        fs::write(project.join("roles/.gitattributes"), "files export-ignore\n").unwrap();
        if description != "unsaved" {
            git(folder.path(), &["add", "."]);
            git(folder.path(), &["commit", "-q", "-m", description]);
        }
    }
    let project = Project::open(&project).unwrap();
    (folder, project)
}

#[test]
fn reads_a_commit_and_leaves_the_work_tree() {
    let (folder, project) = repository();
    let scratch = tempfile::tempdir().unwrap();
    let before = git(folder.path(), &["status", "--porcelain"]);
    let old = project.at("HEAD~1", scratch.path()).unwrap();
    let inventory = Inventory::load(&old, false, &[]).unwrap();
    assert_eq!(inventory.servers["web"].description, "first");
    assert_eq!(old.bytes("roles/app/files/run").unwrap().unwrap(), b"one");
    assert_eq!(old.bytes("roles/app/files/link").unwrap().unwrap(), b"one");
    let commit = git(folder.path(), &["rev-parse", "HEAD~1"]);
    assert_eq!(old.commit(), Some(commit));
    assert_eq!(git(folder.path(), &["status", "--porcelain"]), before);
    let head = git(folder.path(), &["rev-parse", "HEAD"]);
    assert_eq!(project.commit(), Some(format!("{head}-dirty")));
    drop(old);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "the copy goes");
}

#[test]
fn mistakes_name_the_revision() {
    let (folder, project) = repository();
    let scratch = tempfile::tempdir().unwrap();
    let path = folder.path().join("infra/inventory/web.yaml");
    fs::write(&path, "rolse: {}\n").unwrap();
    git(folder.path(), &["commit", "-q", "-a", "-m", "wrong"]);
    fs::write(&path, "roles: {}\n").unwrap();
    let wrong = project.at("HEAD", scratch.path()).unwrap();
    let mistakes = Inventory::load(&wrong, false, &[]).unwrap_err().at_revision("HEAD");
    let mistakes = mistakes.render(false);
    assert!(mistakes.contains(" --> HEAD:inventory/web.yaml:1:1"), "{mistakes}");
}

#[test]
fn says_what_it_cannot_find() {
    let (folder, project) = repository();
    let scratch = tempfile::tempdir().unwrap();
    let error = |revision: &str| project.at(revision, scratch.path()).unwrap_err().to_string();
    assert_eq!(
        error("v9"),
        "git knows no commit `v9`\n\
         hint: `git log --oneline` lists commits; fetch what others pushed"
    );
    // A revision is never taken for an option.
    assert!(error("--help").starts_with("git knows no commit `--help`"));
    git(folder.path(), &["rm", "-q", "-r", "--cached", "infra/inventory"]);
    git(folder.path(), &["commit", "-q", "-m", "no project"]);
    let commit = git(folder.path(), &["rev-parse", "HEAD"]);
    assert_eq!(
        error("HEAD"),
        format!(
            "`HEAD` holds no project\ncaused by: there is no `infra/inventory/` in commit `{commit}`"
        )
    );
}

#[test]
fn a_file_in_no_commit_makes_another_project() {
    let (folder, project, head) = committed();
    assert_eq!(project.commit(), Some(head));
    fs::write(folder.path().join(".gitignore"), "*.log\n*.txt\n").unwrap();
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "-q", "-m", "fourth"]);
    let head = git(folder.path(), &["rev-parse", "HEAD"]);
    let place = folder.path().join("infra");
    fs::create_dir_all(place.join("secrets")).unwrap();
    fs::create_dir_all(place.join("inventory/groups")).unwrap();
    for (path, is_part) in [
        ("notes", false),
        ("../inventory.yaml", false),
        ("secrets/lab-identity.txt", false),
        ("secrets/web.yaml.age", true),
        ("inventory/.web.yaml.swp", false),
        ("inventory/groups/all.yaml", true),
        ("roles/app/files/run~", false),
        ("roles/app/files/new", true),
        ("roles/app/files/ignored.log", true),
    ] {
        let path = place.join(path);
        fs::write(&path, "x").unwrap();
        let dirty = if is_part { "-dirty" } else { "" };
        assert_eq!(project.commit(), Some(format!("{head}{dirty}")), "{}", path.display());
        fs::remove_file(path).unwrap();
    }
}

/// A repository with a commit of everything in its work tree, and its commit.
fn committed() -> (TempDir, Project, String) {
    let (folder, project) = repository();
    let head = commit_all(folder.path());
    (folder, project, head)
}

fn commit_all(folder: &Path) -> String {
    git(folder, &["add", "."]);
    git(folder, &["commit", "-q", "-m", "all"]);
    git(folder, &["rev-parse", "HEAD"])
}

#[test]
fn a_file_behind_a_symlink_is_of_the_project() {
    let (folder, project, _) = committed();
    let place = folder.path().join("infra");
    for path in ["roles/app/templates", "shared", "real"] {
        fs::create_dir(place.join(path)).unwrap();
    }
    symlink("../../../shared/l.j2", place.join("roles/app/templates/l.j2")).unwrap();
    symlink("../real", place.join("roles/linked")).unwrap();
    symlink(".", place.join("real/round")).unwrap();
    symlink("/etc/hostname", place.join("real/out")).unwrap();
    fs::write(place.join("real/role.yaml"), "resources: []\n").unwrap();
    let head = commit_all(folder.path());
    assert_eq!(project.commit(), Some(head.clone()));
    for (path, is_part) in
        [("shared/l.j2", true), ("real/new", true), ("real/new~", false), ("shared/new", false)]
    {
        let path = place.join(path);
        fs::write(&path, "x").unwrap();
        let dirty = if is_part { "-dirty" } else { "" };
        assert_eq!(project.commit(), Some(format!("{head}{dirty}")), "{}", path.display());
        fs::remove_file(path).unwrap();
    }
    // A link that no commit has, on the way to files that one has.
    symlink("app", place.join("roles/again")).unwrap();
    assert_eq!(project.commit(), Some(format!("{head}-dirty")));
}

#[test]
fn a_folder_of_roles_may_be_a_symlink() {
    let (folder, project, _) = committed();
    let place = folder.path().join("infra");
    fs::rename(place.join("roles"), place.join("real-roles")).unwrap();
    symlink("real-roles", place.join("roles")).unwrap();
    let head = commit_all(folder.path());
    assert_eq!(project.commit(), Some(head.clone()));
    fs::write(place.join("real-roles/app/files/new"), "x").unwrap();
    assert_eq!(project.commit(), Some(format!("{head}-dirty")));
}

#[test]
fn a_submodule_is_of_the_project() {
    let (folder, project, _) = committed();
    let other = tempfile::tempdir().unwrap();
    git(other.path(), &["init", "-q"]);
    fs::write(other.path().join("role.yaml"), "resources: []\n").unwrap();
    fs::write(other.path().join(".gitignore"), "*.log\n").unwrap();
    commit_all(other.path());
    let from = other.path().to_str().unwrap();
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "--", from];
    git(folder.path(), &[&add[..], &["infra/roles/other"]].concat());
    let ignore = ["config", "-f", ".gitmodules", "submodule.infra/roles/other.ignore", "all"];
    git(folder.path(), &ignore);
    let head = commit_all(folder.path());
    let dirty = Some(format!("{head}-dirty"));
    assert_eq!(project.commit(), Some(head.clone()));
    let role = folder.path().join("infra/roles/other");
    for (name, is_part) in [("new", true), ("ignored.log", true), ("role.yaml~", false)] {
        fs::write(role.join(name), "x").unwrap();
        assert_eq!(project.commit() == dirty, is_part, "{name}");
        fs::remove_file(role.join(name)).unwrap();
    }
    fs::write(role.join("role.yaml"), "resources:\n").unwrap();
    assert_eq!(project.commit(), dirty, "a changed file");
    commit_all(&role);
    assert_eq!(project.commit(), dirty, "another commit");
}

#[test]
fn a_flag_for_git_hides_no_change() {
    for flag in ["assume-unchanged", "skip-worktree"] {
        let (folder, project, head) = committed();
        let set = format!("--{flag}");
        git(folder.path(), &["update-index", &set, "infra/inventory/web.yaml"]);
        fs::write(folder.path().join("infra/inventory/web.yaml"), "roles: {}\n").unwrap();
        assert_eq!(project.commit(), Some(format!("{head}-dirty")), "{flag}");
    }
}
