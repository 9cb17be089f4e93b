//! Packages that take others away, or may not go.

use infra::manifest::ResourceId;
use infra::resources::package::{Foreseen, Needed, Package, Together};

use super::fake;

#[test]
fn the_shell_of_a_declared_user_stays() {
    let apt = "apt-get, -s, -q, -o, Debug::NoLocking=1, -o, 'Dir::Log::Planner='";
    let fake = fake(&format!(
        "{{ packages: {{ zsh: '5', zsh-common: '5' }}, answers: [ {{ run: [{apt}, remove, --, zsh], stdout: \
         'Remv zsh [5]' }}, {{ run: [{apt}, remove, --, zsh-common], stdout: \"Remv zsh [5]\\nRemv zsh-common \
         [5]\" }}, {{ run: [dpkg-query, --search, --, '*bin/zsh'], stdout: \"zsh: /bin/zsh\\n\" }} ] }}"
    ));
    let shells = ["/usr/bin/zsh", "/bin/bash"].map(|shell| ("ann".to_owned(), shell.to_owned()));
    for (name, refusal) in [
        ("zsh", "`package:zsh` has the shell of `user:ann`"),
        ("zsh-common", "`package:zsh-common` would take `package:zsh` away"),
    ] {
        let package = Package { name: name.to_owned(), ..absent() };
        let kept = Needed { packages: Vec::new(), shells: shells.to_vec() };
        let foreseen = Foreseen::default();
        let together = Together::ask(&[&package], &kept, |_| false, &foreseen, &fake);
        let told = together.refusal(&ResourceId::new("package", name)).unwrap();
        assert_eq!(told.message, refusal);
    }
}

/// A package that is to be absent.
fn absent() -> Package {
    serde_yaml::from_str("{ name: any, state: absent }").unwrap()
}

#[test]
fn the_shell_of_the_login_stays() {
    let apt = "apt-get, -s, -q, -o, Debug::NoLocking=1, -o, 'Dir::Log::Planner='";
    let world = format!(
        "{{ login: ada, users: {{ ada: {{ shell: /usr/bin/zsh }} }}, packages: {{ zsh: '5', tree: '1' }}, \
         answers: [ {{ run: [{apt}, remove, --, zsh], stdout: 'Remv zsh [5]' }}, {{ run: [{apt}, remove, --, \
         tree], stdout: 'Remv tree [1]' }}, {{ run: [dpkg-query, --search, --, '*bin/zsh'], stdout: \
         \"zsh-doc: /usr/share/sbin/zsh\\nzsh: /bin/zsh\\n\" }} ] }}"
    );
    let refused = refusals(&world, &["{ name: zsh, state: absent }"]);
    assert_eq!(refused, ["infra logs in by `package:zsh`"]);
    assert_eq!(refusals(&world, &["{ name: tree, state: absent }"]), Vec::<String>::new());
}

/// Packages that are to be there, and no shells.
fn needed<'a>(packages: &[&'a Package]) -> Needed<'a> {
    Needed { packages: packages.to_vec(), shells: Vec::new() }
}

#[test]
fn what_apt_removes_beside_what_goes() {
    let package = |fields: &str| -> Package { serde_yaml::from_str(fields).unwrap() };
    let gone = package("{ name: exim4-base, state: absent }");
    let never_there = package("{ name: sendmail, state: absent }");
    let stays = package("{ name: nginx }");
    let fake = fake(
        "{ packages: { exim4-base: 4.96-15, nginx: 1.22.1-9 }, answers: [{ \
         run: [apt-get, -s, -q, -o, Debug::NoLocking=1, -o, 'Dir::Log::Planner=', remove, --, exim4-base], \
         stdout: \"Remv mailutils [1:3.15-4]\\nRemv exim4 [4.96-15]\\nRemv exim4-base [4.96-15]\" \
         }] }",
    );
    let also_removed = |packages: &[&Package]| {
        let foreseen = Foreseen::default();
        Together::ask(packages, &needed(&[&stays]), |_| false, &foreseen, &fake).also_removed
    };
    assert_eq!(also_removed(&[&stays, &never_there, &gone]), ["exim4", "mailutils"]);
    // Nothing goes, so that nothing is asked.
    assert_eq!(also_removed(&[&stays, &never_there]), Vec::<String>::new());
}

/// The refusals of a manifest: name and message.
fn refusals(world: &str, packages: &[&str]) -> Vec<String> {
    let fake = fake(world);
    let packages: Vec<Package> =
        packages.iter().map(|fields| serde_yaml::from_str(fields).unwrap()).collect();
    let packages: Vec<&Package> = packages.iter().collect();
    let foreseen = Foreseen::ask(packages.iter().copied(), &fake);
    let kept: Vec<&Package> =
        packages.iter().copied().filter(|package| package.is_wanted()).collect();
    let together = Together::ask(&packages, &needed(&kept), |_| false, &foreseen, &fake);
    let refusal = |package: &&Package| together.refusal(&ResourceId::new("package", &package.name));
    packages.iter().filter_map(refusal).map(|error| error.message.clone()).collect()
}

#[test]
fn a_declared_package_goes_with_no_other() {
    let apt = "apt-get, -s, -q, -o, Debug::NoLocking=1, -o, 'Dir::Log::Planner='";
    let install = format!("{apt}, --no-install-recommends, --allow-downgrades, install, --");
    let goes = |going: &str, removed: &str| {
        format!("{{ run: [{apt}, remove, --, {going}], stdout: \"{removed}\" }}")
    };
    let there =
        "packages: { vim: { version: '2', provides: [editor] }, vim-common: '2', tree: '1' }";
    let world = format!(
        "{{ {there}, answers: [{}, {}, {}] }}",
        goes("vim-common, tree", "Remv vim [2]\\nRemv vim-common [2]\\nRemv tree [1]"),
        goes("vim-common", "Remv vim [2]\\nRemv vim-common [2]"),
        goes("tree", "Remv tree [1]"),
    );
    let absent = ["{ name: vim-common, state: absent }", "{ name: tree, state: absent }"];
    assert_eq!(
        refusals(&world, &["{ name: vim }", absent[0], absent[1]]),
        ["`package:vim-common` would take `package:vim` away"]
    );
    assert_eq!(refusals(&world, &[absent[0], absent[1]]), Vec::<String>::new());
    let ways = world.replace("vim: {", "sudo: '1', openssh-server: '1', vim: {");
    let ways = ways.replace("Remv vim [2]", "Remv openssh-server [1]");
    let ways = ways.replacen("{ packages", "{ login: ada, packages", 1);
    let way_in = ["{ name: openssh-server, state: absent }", "{ name: sudo, state: absent }"];
    assert_eq!(
        refusals(&ways, &[absent[0]]),
        ["`package:vim-common` would take `package:openssh-server` away"]
    );
    assert_eq!(
        refusals(&ways.replace("vim-common]", "openssh-server, sudo]"), &way_in),
        ["infra logs in by `package:openssh-server`", "infra logs in by `package:sudo`"]
    );
    assert_eq!(refusals(&ways.replace("login: ada, ", ""), &[absent[0]]), Vec::<String>::new());

    let lists = "files: { /var/lib/apt/lists/x_Release: x }";
    let find = "{ run: [find, /var/lib/apt/lists/partial], stdout: /var/lib/apt/lists/partial }";
    let world = format!(
        "{{ packages: {{ exim4: '4' }}, {lists}, answers: [ {{ run: [{install}], \
         stdout: \"Remv exim4 [4]\\nInst postfix (3 x [amd64])\" }}, {find} ] }}"
    );
    assert_eq!(
        refusals(&world, &["{ name: exim4 }", "{ name: postfix }"]),
        ["`package:postfix` would take `package:exim4` away"]
    );
    assert_eq!(refusals(&world, &["{ name: postfix }"]), Vec::<String>::new());

    let unmet = "E: The following packages have unmet dependencies";
    for (there, installed) in [("vim-common: '2'", ""), ("", "Inst vim-common (2 x [amd64])")] {
        let world = format!(
            "{{ packages: {{ {there} }}, {lists}, answers: [ \
             {{ run: [{install}, vim, vim-common-], status: 100, stderr: '{unmet}' }}, \
             {{ run: [{install}, vim], stdout: \"Inst vim (2 x [amd64])\\n{installed}\" }}, {}, {find} ] }}",
            goes("vim-common", "Remv vim-common [2]"),
        );
        let needs = "`package:vim` needs `package:vim-common`";
        assert_eq!(refusals(&world, &["{ name: vim }", absent[0]]), [needs, needs], "{there}");
    }

    let world = format!(
        "{{ {lists}, answers: [ {{ run: [{install}], stdout: 'Inst git (2 x [amd64])' }}, {{ run: \
         [apt-cache], stdout: \"Package: git-core\\nVersions: \\n\\nReverse Provides: \\ngit 2 (= )\\n\" }}, \
         {find} ] }}"
    );
    assert_eq!(
        refusals(&world, &["{ name: git }", "{ name: git-core }"]),
        ["`package:git-core` is `package:git` under another name"]
    );
}
