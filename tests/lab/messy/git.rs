//! Repositories whose names and addresses change.

use std::fs;

use tempfile::TempDir;

use crate::support::LabServer;

crate::tests! {
    a_repository_of_others_on_debian_12 = 20,
    a_repository_of_others_on_debian_13 = 20,
}

const ROLE: &str = "\
params: { ref: { type: string }, teams: { type: list, default: [adm] } }
resources:
  - package: git
  - user: { name: deploy, groups: \"{{ teams }}\" }
  - when: ref != 'none'
    git: { path: /srv/app, repository: \"git://127.0.0.1/app.git\", ref: \"{{ ref }}\" }
";

/// A tag and a branch of the same name that has moved on; a submodule with a submodule of its own,
/// and one with a relative address; all of them served by git itself.
const REPOSITORIES: &str = "\
set -e; export HOME=/root; mkdir -p /srv/git /root/work; cd /srv/git
git config --global user.email x@example.org; git config --global user.name x
git config --global init.defaultBranch main
for name in app lib deep near; do
    git init -q --bare $name.git; git clone -q $name.git /root/work/$name
done
systemd-run -q --unit gitd git daemon --export-all --base-path=/srv/git --listen=127.0.0.1
until git ls-remote git://127.0.0.1/app.git; do sleep 0.1; done
for name in deep near; do
    cd /root/work/$name; echo 1 >f; git add f; git commit -qm 1; git push -q origin main
done
cd /root/work/lib; git submodule -q add git://127.0.0.1/deep.git deep
git commit -qm 1; git push -q origin main
cd /root/work/app; git remote set-url origin git://127.0.0.1/app.git
git submodule -q add git://127.0.0.1/lib.git lib; git submodule -q add ../near.git near
git remote set-url origin /srv/git/app.git
echo tag >f; git add f; git commit -qm 1; git tag v1; git tag 1.10; git push -q origin main v1 1.10
git checkout -q -b 1.10; echo branch >f; git commit -qam 2; git push -q origin HEAD:refs/heads/1.10
";

/// The libraries move to other addresses, and each has a new commit there.
const MOVES: &str = "\
set -e; export HOME=/root; cd /srv/git; mv lib.git lib2.git; mv deep.git deep2.git
next() { echo 2 >f; git add -A; git commit -qm 2; git push -q $1 HEAD:main; }
take() { git -C $1 fetch -q --no-recurse-submodules $2 main; git -C $1 checkout -q FETCH_HEAD; }
cd /root/work/deep; next /srv/git/deep2.git
cd /root/work/near; next origin
cd /root/work/lib; git submodule -q set-url deep git://127.0.0.1/deep2.git
take deep /srv/git/deep2.git; next /srv/git/lib2.git
cd /root/work/app; git checkout -q main; git submodule -q set-url lib git://127.0.0.1/lib2.git
take lib /srv/git/lib2.git; take near /srv/git/near.git; next origin; git tag v2; git push -q origin v2
";

const ANOTHER_COMMIT: &str =
    "cd /root/work/app && git commit -q --allow-empty -m 3 && git push -q origin HEAD:main";

fn a_repository_of_others_on_debian_12() {
    a_repository_of_others("debian-12");
}

fn a_repository_of_others_on_debian_13() {
    a_repository_of_others("debian-13");
}

fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["inventory", "roles/app"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
    }
    let inventory = "ssh: { host: app.example.org }\nroles: { app: { ref: none } }\n";
    fs::write(folder.path().join("inventory/app.yaml"), inventory).unwrap();
    fs::write(folder.path().join("roles/app/role.yaml"), ROLE).unwrap();
    folder
}

fn a_repository_of_others(os: &str) {
    let project = project();
    let server = LabServer::bare("app", os, project.path());
    let (code, said) = server.install(&[]);
    assert_eq!(code, 0, "{said}");
    server.run(REPOSITORIES);
    one_name_is_read_in_one_way(&server);
    submodules_follow_their_addresses(&server);
    only_what_was_done_on_the_server_is_drift(&server);
}

fn at(reference: &str) -> [&str; 2] {
    ["--set", reference]
}

fn one_name_is_read_in_one_way(server: &LabServer) {
    for (reference, content) in
        [("app.ref=v1", "tag"), ("app.ref='1.10'", "tag"), ("app.ref=refs/heads/1.10", "branch")]
    {
        server.converge(&at(reference));
        assert_eq!(server.shell("cat /srv/app/f"), content, "{reference}");
        server.has_nothing_to_do(&at(reference));
    }
    server.converge(&at("app.ref=v1"));
}

fn submodules_follow_their_addresses(server: &LabServer) {
    server.run(MOVES);
    let said = server.converge(&at("app.ref=v2"));
    assert!(!said.contains("on the server"), "{said}");
    assert_eq!(server.shell("cd /srv/app; cat lib/f lib/deep/f near/f"), "2\n2\n2");
    server.has_nothing_to_do(&at("app.ref=v2"));
    // Lines and commits that somebody made in them are refused before anything is fetched.
    for (change, refusal) in [
        ("echo fix >lib/deep/f", "lib/deep: M f"),
        ("cd lib && echo fix >f && git commit -qam fix", "lib: commits"),
    ] {
        server.run(&format!("export HOME=/root; cd /srv/app && {change}"));
        let (code, said) = server.lab.say(&["diff", "app", "--lab", "--set", "app.ref=v1"]);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(refusal), "{said}");
        let (code, said) = server.apply(&at("app.ref=v1"));
        assert_eq!(code, 3, "{said}");
        server.run("cd /srv/app && git submodule -q foreach --recursive git checkout -q -f . ");
    }
    server.run("cd /srv/app && git submodule -q update --recursive --force");
    server.has_nothing_to_do(&at("app.ref=v2"));
}

fn only_what_was_done_on_the_server_is_drift(server: &LabServer) {
    server.converge(&["--set", "app.ref=main", "--set", "app.teams=[adm, games]"]);
    server.run(ANOTHER_COMMIT);
    for more in [
        &["--set", "app.ref=main", "--set", "app.teams=[adm, games]"][..],
        &["--set", "app.ref=v1", "--set", "app.teams=[adm, users]"],
        &["--set", "app.ref=refs/heads/1.10", "--set", "app.teams=[users]"],
    ] {
        let plan = server.plan(more);
        assert!(plan.contains("~ git:/srv/app  change\n"), "{plan}");
        assert!(!plan.contains("drift") && !plan.contains("on the server"), "{plan}");
    }
    server.run("git -C /srv/app checkout -q v1; gpasswd -d deploy games");
    let plan = server.plan(&["--set", "app.ref=main", "--set", "app.teams=[adm, games]"]);
    assert_eq!(plan.matches("changed on the server since the last apply").count(), 2, "{plan}");
}
