//! Secrets in git: differences that can be read, merges key by key.

use super::{Project, Said};

crate::tests! {
    differences_can_be_read_and_an_unchanged_edit_is_none,
    the_setup_of_git_can_be_repeated,
    comments_of_both_branches_are_kept,
    two_branches_that_change_other_keys_merge,
    the_same_key_on_both_branches_is_a_conflict_by_name,
    a_merge_brings_no_reader_back,
    two_branches_that_each_begin_the_file_merge,
}

const TEXT: &str = "# mail\nsmtp:\n  password: old-password\n  user: me\ntoken: abc\n";

fn repository() -> Project {
    let project = Project::with(TEXT);
    let git = |arguments: &[&str]| project.run("git", arguments, "");
    git(&["init", "--quiet", "--initial-branch", "main"]);
    git(&["config", "user.name", "me"]);
    git(&["config", "user.email", "me@example.org"]);
    project.write(".gitignore", "*key\neditor\n");
    let said = project.secrets(&["git-setup"], "");
    assert_eq!(
        said.err,
        "wrote `.gitattributes`: commit it, and run this once in every clone\n\
         `git diff` shows secrets in the clear, and `git merge` merges them key by key\n"
    );
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "first"]);
    project
}

fn set(project: &Project, key: &str, value: &str) {
    assert_eq!(project.secrets(&["set", key], value).code, 0);
}

fn commit(project: &Project) {
    project.run("git", &["commit", "--all", "--quiet", "--message", "change"], "");
}

fn merge(project: &Project, branch: &str) -> Said {
    super::say(project.command("git").args(["merge", "--no-edit", branch]), "")
}

fn differences_can_be_read_and_an_unchanged_edit_is_none() {
    let project = repository();
    project.editor("true");
    assert_eq!(project.secrets(&["edit"], "").code, 0);
    assert_eq!(project.run("git", &["status", "--porcelain"], "").out, "");
    set(&project, "smtp.password", "new-password");
    let diff = project.run("git", &["diff", "--no-color"], "").out;
    let (_, hunk) = diff.split_once("@@\n").unwrap();
    assert_eq!(
        hunk,
        " # mail\n smtp:\n-  password: old-password\n+  password: new-password\n   user: me\n token: abc\n"
    );
    // The clear text is not kept in the repository.
    let notes = project.run("git", &["for-each-ref", "refs/notes"], "").out;
    assert_eq!(notes, "");
    // Somebody who cannot open the file sees that something changed, and git does not fail.
    project.run("mv", &["key", "away"], "");
    let said = project.run("git", &["diff", "--no-color"], "");
    assert!(said.out.contains("+-----BEGIN AGE ENCRYPTED FILE-----") || said.out.contains("@@"));
    assert!(said.err.contains("shown encrypted: "), "{}", said.err);
}

fn the_setup_of_git_can_be_repeated() {
    let project = repository();
    assert_eq!(project.secrets(&["git-setup"], "").code, 0);
    assert_eq!(
        project.read(".gitattributes"),
        "secrets/*.yaml.age diff=infra-secrets merge=infra-secrets\n"
    );
    let config = project.run("git", &["config", "--get-regexp", "infra-secrets"], "").out;
    assert_eq!(
        config,
        "diff.infra-secrets.textconv infra secrets textconv\n\
         diff.infra-secrets.cachetextconv false\n\
         merge.infra-secrets.name secrets, key by key\n\
         merge.infra-secrets.driver infra secrets merge %O %A %B %P\n"
    );
    let other = Project::new();
    let said = other.secrets(&["git-setup"], "");
    assert!(
        said.err.starts_with(
            "error: cannot run `git config --local diff.infra-secrets.textconv infra secrets textconv`\n\
             caused by: fatal: --local can only be used inside a git repository"
        ),
        "{}",
        said.err
    );
}

/// Lets the identity in `second.key` read the secrets as well, and returns the first reader's key.
fn second_reader(project: &Project) -> String {
    project.run("age-keygen", &["-o", "second.key"], "");
    let [first, second] = ["key", "second.key"].map(|file| super::recipient(&project.read(file)));
    let list = format!("recipients: {{ a: {{ key: {first} }}, b: {{ key: {second} }} }}\n");
    project.write("secrets/recipients.yaml", &list);
    assert_eq!(project.secrets(&["rekey"], "").code, 0);
    commit(project);
    first
}

fn comments_of_both_branches_are_kept() {
    let project = repository();
    let edit = |script: &str| {
        project.editor(script);
        assert_eq!(project.secrets(&["edit"], "").code, 0);
        commit(&project);
    };
    project.run("git", &["checkout", "--quiet", "-b", "other"], "");
    edit("sed -i 's/^token: abc/# theirs\\ntoken: abc/' \"$1\"");
    project.run("git", &["checkout", "--quiet", "main"], "");
    edit("sed -i 's/^# mail/# mail, of ours/' \"$1\"");
    assert_eq!(merge(&project, "other").code, 0);
    assert_eq!(
        project.opened("all"),
        TEXT.replace("# mail", "# mail, of ours").replace("token", "# theirs\ntoken")
    );
}

fn two_branches_that_change_other_keys_merge() {
    let project = repository();
    // All who may read the file before may read the result.
    second_reader(&project);
    project.run("git", &["checkout", "--quiet", "-b", "other"], "");
    set(&project, "token", "xyz");
    set(&project, "api.key", "k");
    commit(&project);
    project.run("git", &["checkout", "--quiet", "main"], "");
    set(&project, "smtp.password", "new-password");
    commit(&project);
    let said = merge(&project, "other");
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let wanted = TEXT.replace("old-password", "new-password").replace("abc", "xyz");
    let wanted = format!("{wanted}api:\n  key: k\n");
    assert_eq!(project.opened("all"), wanted);
    let file = "secrets/all.yaml.age";
    assert_eq!(project.run("age", &["-d", "-i", "second.key", file], "").out, wanted);
    assert_eq!(project.run("git", &["status", "--porcelain"], "").out, "");
}

fn the_same_key_on_both_branches_is_a_conflict_by_name() {
    let project = repository();
    project.run("git", &["checkout", "--quiet", "-b", "other"], "");
    set(&project, "smtp.password", "canary-theirs");
    set(&project, "token", "xyz");
    commit(&project);
    project.run("git", &["checkout", "--quiet", "main"], "");
    set(&project, "smtp.password", "canary-ours");
    commit(&project);
    let said = merge(&project, "other");
    assert_eq!(said.code, 1);
    let all = format!("{}{}", said.out, said.err);
    assert!(!all.contains("canary"), "{all}");
    assert!(
        said.err.contains(
            "error: both sides changed `smtp.password` in `secrets/all.yaml.age`\n\
             hint: choose with `infra secrets edit all`, then `git add secrets/all.yaml.age`\n"
        ),
        "{all}"
    );
    assert_eq!(project.run("git", &["status", "--porcelain"], "").out, "UU secrets/all.yaml.age\n");
    let ours = TEXT.replace("old-password", "canary-ours").replace("abc", "xyz");
    assert_eq!(
        project.opened("all"),
        format!(
            "#! the other side has other values here. These lines go when you save.\n\
             #! smtp.password: canary-theirs\n{ours}"
        )
    );
    // To save is to choose, also where nothing is changed.
    project.editor("true");
    assert_eq!(project.secrets(&["edit"], "").code, 0);
    assert_eq!(project.opened("all"), ours);
    project.run("git", &["add", "secrets/all.yaml.age"], "");
    commit(&project);
}

/// One branch takes a reader away, the other changes a value for all who read before: the merge is
/// for those alone who may read it here.
fn a_merge_brings_no_reader_back() {
    let project = repository();
    let first = second_reader(&project);
    project.run("git", &["checkout", "--quiet", "-b", "other"], "");
    set(&project, "token", "xyz");
    commit(&project);
    project.run("git", &["checkout", "--quiet", "main"], "");
    project.write("secrets/recipients.yaml", &format!("recipients: {{ a: {{ key: {first} }} }}\n"));
    assert_eq!(project.secrets(&["rekey"], "").code, 0);
    commit(&project);
    let said = merge(&project, "other");
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(project.opened("all"), TEXT.replace("abc", "xyz"));
    let refused =
        project.command("age").args(["-d", "-i", "second.key", "secrets/all.yaml.age"]).output();
    assert!(!refused.unwrap().status.success());
}

fn two_branches_that_each_begin_the_file_merge() {
    let project = repository();
    for (branch, key) in [("one", "a"), ("two", "b")] {
        project.run("git", &["checkout", "--quiet", "-b", branch, "main"], "");
        assert_eq!(project.secrets(&["set", "--in", "web", key], "1").code, 0);
        project.run("git", &["add", "secrets"], "");
        commit(&project);
    }
    let said = merge(&project, "one");
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(project.opened("web"), "b: \"1\"\na: \"1\"\n");
}
