//! Previews of things that an earlier resource of the same run brings about.

mod together;

use infra::manifest::ResourceId;
use infra::resources::package::{Foreseen, Package};
use infra::resources::{Change, Current, FieldChange, Prediction, Probe, Spec, State};

use crate::support::{Fake, World};

fn fake(world: &str) -> Fake {
    Fake::new(&serde_yaml::from_str::<World>(world).unwrap())
}

fn spec(kind: &str, fields: &str) -> Spec {
    let fields: serde_yaml::Value = serde_yaml::from_str(fields).unwrap();
    Spec::deserialize_kind(kind, fields).unwrap().unwrap()
}

#[test]
fn a_stopped_postgresql_is_asked_once_it_runs() {
    let fake = fake("{ missing: [postgresql], units: { postgresql@15-main.service: {} } }");
    let mut world = Prediction::new(&fake);
    let role = spec("postgresql_role", "{ name: flus }");
    assert!(role.current(&world).is_err(), "nothing will start it");
    let service = spec("service", "{ name: postgresql@15-main }");
    let change = Change::between(service.desired().as_ref(), &service.current(&world).unwrap());
    service.predict(&change.unwrap(), &mut world);
    assert_eq!(role.current(&world), Ok(Current::Unknown));
    let after = ResourceId::parse("service:postgresql@15-main");
    assert_eq!(world.last_unpredictable(), after);
}

/// A package before that one is not named, nor is a later change of which all is foreseen.
#[test]
fn a_line_is_known_after_the_package_of_its_file() {
    let fake = fake("{}");
    let mut world = Prediction::new(&fake);
    let file = "/etc/postgresql/15/main/pg_hba.conf";
    let line = spec("line", &format!("{{ path: {file}, line: local all all peer }}"));
    assert!(line.current(&world).is_err(), "nothing will bring the file");
    for (kind, fields) in [
        ("package", "name: nginx"),
        ("package", "name: postgresql"),
        ("file", "{ path: /etc/motd, content: hello }"),
    ] {
        let earlier = spec(kind, fields);
        let current = earlier.current(&world).unwrap();
        let change = Change::between(earlier.desired().as_ref(), &current).unwrap();
        earlier.predict(&change, &mut world);
        world.mark_changed(&earlier.id());
    }
    assert_eq!(line.current(&world), Ok(Current::Unknown));
    assert_eq!(world.last_unpredictable(), ResourceId::parse("package:postgresql"));
}

#[test]
fn a_database_to_come_is_empty() {
    let fake = fake("{ sql: [{ sql: FROM pg_catalog.pg_database, rows: [] }] }");
    let mut world = Prediction::new(&fake);
    let database = spec("postgresql_database", "{ name: flus }");
    assert_eq!(database.current(&world), Ok(Current::Absent));
    database.predict(&Change::Create(State::new()), &mut world);
    let extension = spec("postgresql_extension", "{ name: pg_trgm, database: flus }");
    assert_eq!(extension.current(&world), Ok(Current::Absent));
}

#[test]
fn a_unit_in_a_file_to_come_can_be_started() {
    let fake = fake("{ files: { /etc/systemd/system: { directory: true } } }");
    let mut world = Prediction::new(&fake);
    let service = spec("service", "{ name: app }");
    assert!(service.current(&world).is_err(), "nothing brings it");
    let path = "/etc/systemd/system/app.service";
    let file = spec("file", &format!("{{ path: {path}, content: '[Service]' }}"));
    let change = Change::between(file.desired().as_ref(), &file.current(&world).unwrap());
    file.predict(&change.unwrap(), &mut world);
    let stopped = State::new().with("running", "no").with("enabled", "no").with("masked", false);
    assert_eq!(service.current(&world), Ok(Current::Present(stopped)));
}

#[test]
fn a_folder_to_come_may_be_of_others() {
    let fake = fake("{ files: { /srv: { directory: true } }, users: { deploy: {} } }");
    let mut world = Prediction::new(&fake);
    assert_eq!(world.can_others_change("/srv/app/code"), Ok(false));
    world.directory("/srv/app", "deploy", "root", 0o755);
    assert_eq!(world.can_others_change("/srv/app/code"), Ok(true));
    assert_eq!(world.can_others_change("/srv/app"), Ok(false));
    world.directory("/srv/app", "root", "root", 0o755);
    assert_eq!(world.can_others_change("/srv/app/code"), Ok(false));
    world.directory("/srv/app", "root", "deploy", 0o775);
    assert_eq!(world.can_others_change("/srv/app/code"), Ok(true));
}

#[test]
fn another_architecture_comes_by_a_command_alone() {
    let fake = fake("{ files: { /var/lib/dpkg/arch: amd64 } }");
    let mut world = Prediction::new(&fake);
    let package = spec("package", "{ name: 'libc6:i386' }");
    world.brings_more(&ResourceId::new("package", "git"));
    let said = package.current(&world).unwrap_err().to_string();
    assert!(said.starts_with("the server takes no packages for `i386`"), "{said}");
    world.brings_more(&ResourceId::new("command", "add-architecture"));
    assert_eq!(package.current(&world), Ok(Current::Absent));
}

#[test]
fn files_below_a_mount_to_come_are_seen() {
    let fake = fake(
        "{ files: { /srv/data/a: a, /mnt/one/b: b, /mnt/two/.keep: '', /mnt/bound/hidden: h, \
         /proc/self/mounts: '', /dev/sdb: { device: true }, /proc/self/mountinfo: \"1 1 8:1 / / rw - ext4 /dev/sda rw\\n\
         2 1 8:16 / /mnt/one rw - ext4 /dev/sdb rw\\n\" } }",
    );
    let mut world = Prediction::new(&fake);
    for fields in [
        "{ path: /mnt/bound, device: /srv/data, fstype: none, options: bind }",
        "{ path: /mnt/two, device: /dev/sdb }",
    ] {
        let mount = spec("mount", fields);
        mount.predict(&Change::Create(mount.desired().unwrap()), &mut world);
    }
    assert_eq!(world.read("/mnt/bound/a").unwrap().as_deref(), Some(&b"a"[..]));
    assert_eq!(world.read("/mnt/two/b").unwrap().as_deref(), Some(&b"b"[..]));
    assert_eq!(world.stat("/mnt/bound/hidden"), Ok(None));
    assert_eq!(world.list("/mnt/bound"), Ok(Some(vec!["a".to_owned()])));
}

#[test]
fn files_keep_their_numbers() {
    let fake = fake(
        "{ users: { one: { uid: 2100, home: /home/one } }, groups: { team: { gid: 2200 } }, files: { \
         /srv/a: { content: a, owner: one, group: team }, \
         /home/one/b: { content: b, owner: one, group: team } } }",
    );
    let owners = |changes: &[(&str, &str)], path: &str| {
        let mut world = Prediction::new(&fake);
        for (kind, fields) in changes {
            let spec = spec(kind, fields);
            let current = spec.current(&world).unwrap();
            let change = Change::between(spec.desired().as_ref(), &current).unwrap();
            spec.predict(&change, &mut world);
        }
        let stat = world.stat(path).unwrap().unwrap();
        format!("{}:{}", stat.owner, stat.group)
    };
    let (group, user) =
        (("group", "{ name: team, gid: 2300 }"), ("user", "{ name: one, uid: 2101 }"));
    assert_eq!(owners(&[group, user], "/srv/a"), "2100:2200");
    // usermod gives what is in the home to the new number.
    assert_eq!(owners(&[group, user], "/home/one/b"), "one:2200");
    let renamed = [("user", "{ name: one, state: absent }"), ("user", "{ name: two, uid: 2100 }")];
    assert_eq!(owners(&renamed, "/srv/a"), "two:team");
    assert_eq!(owners(&renamed[..1], "/srv/a"), "2100:team");
    assert_eq!(owners(&[("user", "{ name: one, comment: One }")], "/srv/a"), "one:team");
}

/// The answer to `find` is the folder of the lists if they were fetched in the last day.
#[test]
fn old_lists_may_not_know_the_newest_version() {
    let package: Package = serde_yaml::from_str("{ name: nginx }").unwrap();
    let version = |found: &str, files: &str| {
        let fake = fake(&format!(
            "{{ files: {{ /var/lib/apt/lists/x_Release: x{files} }}, answers: [ \
             {{ run: [apt-get], stdout: 'Inst nginx (1.22.1-9 Debian:12.5/stable [amd64])' }}, \
             {{ run: [find, /var/lib/apt/lists/partial], stdout: '{found}' }} ] }}"
        ));
        let mut change = Change::Create(State::new());
        let foreseen = Foreseen::ask([&package].into_iter(), &fake);
        foreseen.describe("nginx", &mut change, |name| name == "nginx");
        let Change::Create(state) = change else { panic!("{change:?}") };
        state.field("version").cloned()
    };
    let told = |version: &str| Some(version.into());
    let of_today = "/var/lib/apt/lists/partial";
    assert_eq!(version(of_today, ""), told("1.22.1-9"));
    assert_eq!(version("", ""), told("1.22.1-9 or newer"));
    let owed = ", /var/lib/infra/apt-update-owed: ''";
    assert_eq!(version(of_today, owed), told("1.22.1-9 or newer"));
}

#[test]
fn another_version_of_a_package_may_cost_others() {
    let package: Package = serde_yaml::from_str("{ name: libfoo, version: 2-1 }").unwrap();
    let fake = fake(
        "{ packages: { libfoo: 1-1 }, files: { /var/lib/apt/lists/x_Release: x }, answers: [{ \
         run: [apt-get, -s, -q, -o, Debug::NoLocking=1, -o, 'Dir::Log::Planner='], \
         stdout: \"Remv foo-tools [1-1]\\nInst libfoo [1-1] (2-1 Debian:12.5/stable [amd64])\" }] }",
    );
    let foreseen = Foreseen::ask([&package].into_iter(), &fake);
    let version = FieldChange {
        field: "version".to_owned(),
        current: Some("1-1".into()),
        desired: "2-1".into(),
    };
    let mut change = Change::Update(vec![version]);
    foreseen.describe("libfoo", &mut change, |name| name == "libfoo");
    assert_eq!(change.field_names(), "version, also removes");
}

/// The refusals of a plan, by the id of the resource; `answers` and `more` are of the server.
fn refused(declared: &[&str], more: &str, answers: &str) -> Vec<String> {
    let package = |fields: &&str| -> Package { serde_yaml::from_str(fields).unwrap() };
    let packages: Vec<Package> = declared.iter().map(package).collect();
    let fake = fake(&format!(
        "{{ packages: {{ {more} }}, files: {{ /var/lib/apt/lists/x_Release: x }}, answers: [ \
         {{ run: [find, /var/lib/apt/lists/partial], stdout: /var/lib/apt/lists/partial }}, \
         {answers} ] }}"
    ));
    let foreseen = Foreseen::ask(packages.iter(), &fake);
    let later = foreseen.clone().with_lists_due();
    let refusals = packages.iter().filter_map(|package| {
        let id = ResourceId::new("package", &package.name);
        let error = foreseen.refusal(&id)?;
        let lasts = if later.refusal(&id).is_some() { "" } else { " for now" };
        Some(format!("{id}{lasts}: {error}"))
    });
    refusals.collect()
}

#[test]
fn a_name_of_several_packages_is_refused_with_their_names() {
    let said = "stdout: \"Package netcat is a virtual package provided by:\\n  \
                netcat-traditional 1.10-47\\n  netcat-openbsd 1.219-1\\n\", status: 100, stderr: \
                \"E: Package 'netcat' has no installation candidate\"";
    let refusals = refused(&["name: netcat"], "", &format!("{{ run: [apt-get], {said} }}"));
    let expected = "package:netcat for now: several packages provide `netcat`\n\
                    hint: declare one of them: `netcat-openbsd`, `netcat-traditional`";
    assert_eq!(refusals, [expected]);
}

#[test]
fn a_pattern_without_a_version_is_refused() {
    let said = "{ run: [apt-get], status: 100, stderr: \
                \"E: Version '5:99.*' for 'docker-ce' was not found\" }";
    let refusals = refused(&["{ name: docker-ce, version: '5:99.*' }"], "", said);
    let expected = "package:docker-ce for now: no version of package `docker-ce` matches `5:99.*`\n\
                    hint: `apt-cache policy docker-ce` on the server lists the versions";
    assert_eq!(refusals, [expected]);
}

#[test]
fn a_package_that_apt_does_not_know_is_refused() {
    let said = "{ run: [apt-get], status: 100, stderr: \
                \"E: Unable to locate package ngnix\\nE: Version '1.10' for 'less' was not found\\n\
                E: Release 'trixie-backportz' for 'vim' was not found\" }";
    let declared = [
        "name: ngnix",
        "{ name: less, version: '1.10' }",
        "{ name: vim, default_release: trixie-backportz }",
        "name: jq",
    ];
    let refusals = refused(&declared, "", said);
    assert_eq!(
        refusals,
        [
            "package:ngnix for now: package `ngnix` is not known to apt\n\
             hint: check its name, or declare the `apt_repository` that has it before it",
            "package:less for now: version `1.10` of package `less` is not known to apt\n\
             hint: `apt-cache policy less` on the server lists the versions",
            "package:vim for now: release `trixie-backportz` has no package `vim`\n\
             hint: declare the `apt_repository` of that release before it",
        ]
    );
}

#[test]
fn an_account_to_come_has_no_known_number() {
    let fake = fake("{ users: { root: { uid: 0 }, _apt: { uid: 42 } } }");
    let mut world = Prediction::new(&fake);
    let new = spec("user", "{ name: ann }");
    let change = Change::between(new.desired().as_ref(), &new.current(&world).unwrap()).unwrap();
    new.predict(&change, &mut world);
    let other = spec("user", "{ name: olga, uid: 0 }");
    let change =
        Change::between(other.desired().as_ref(), &other.current(&world).unwrap()).unwrap();
    let said = other.check_obstacles(&change, &world).unwrap_err().to_string();
    assert!(said.starts_with("`root` has the uid 0 already"), "{said}");
}

#[test]
fn what_is_on_hold_is_not_changed() {
    let held = "cron: { version: '3.0', held: true }, tzdata: { version: '1', held: true }";
    let declared =
        ["{ name: cron, version: '3.1' }", "{ name: tzdata, state: absent }", "name: cron"];
    let refusals = refused(&declared[..2], held, "{ run: [apt-get], stdout: '' }");
    let hint = |name: &str| format!("hint: `apt-mark unhold {name}` on the server lets go");
    assert_eq!(
        refusals,
        [
            format!("package:cron: `cron` is on hold, and would change\n{}", hint("cron")),
            format!("package:tzdata: `tzdata` is on hold, and would change\n{}", hint("tzdata")),
        ]
    );
    assert_eq!(refused(&declared[2..], held, ""), Vec::<String>::new());
}

/// The package is there, or apt would bring it for the other name.
#[test]
fn one_package_is_not_absent_and_there_under_two_names() {
    let declared = ["name: git-core", "{ name: git, state: absent }"];
    let names = "{ run: [apt-cache, showpkg, --, git-core], stdout: \"Package: git-core\\nVersions: \
                 \\n\\nReverse Provides: \\ngit 1:2.39.5 (= )\" }";
    let clash = "`git` is to be absent, and `git-core` is the same package\n\
                 hint: declare the package under one name";
    let there = "git: { version: '1:2.39.5', provides: [git-core] }";
    let both = [format!("package:git-core: {clash}"), format!("package:git: {clash}")];
    assert_eq!(refused(&declared, there, names), both);
    let comes =
        format!("{names}, {{ run: [apt-get], stdout: 'Inst git (1:2.39.5 Debian [amd64])' }}");
    assert_eq!(refused(&declared, "", &comes), both);
}

#[test]
fn a_plan_says_what_a_name_stands_for() {
    let package: Package = serde_yaml::from_str("name: git-core").unwrap();
    let fake = fake(
        "{ files: { /var/lib/apt/lists/x_Release: x }, answers: [ \
         { run: [find], stdout: /var/lib/apt/lists/partial }, \
         { run: [apt-get], stdout: 'Inst git (1:2.39.5 Debian:12.5/stable [amd64])' }, \
         { run: [apt-cache, showpkg, --, git-core], stdout: \
         \"Package: git-core\\nVersions: \\n\\nReverse Provides: \\ngit:i386 1 (= )\\ngit 1 (= )\" } ] }",
    );
    let mut change = Change::Create(State::new());
    let foreseen = Foreseen::ask([&package].into_iter(), &fake);
    foreseen.describe("git-core", &mut change, |name| name == "git-core");
    let told = State::new().with("version", "1:2.39.5").with("stands for", "git");
    assert_eq!(change, Change::Create(told));
}

#[test]
fn cron_knows_an_account_to_come() {
    let fake = fake("{}");
    let mut world = Prediction::new(&fake);
    let job = spec("file", "{ path: /etc/cron.d/dump, content: \"@daily dump /bin/dump\\n\" }");
    let error = job.current(&world).unwrap_err().to_string();
    assert!(error.starts_with("cron ignores all of `/etc/cron.d/dump` for its line 1"), "{error}");
    let user = spec("user", "{ name: dump }");
    let change = Change::between(user.desired().as_ref(), &user.current(&world).unwrap());
    user.predict(&change.unwrap(), &mut world);
    assert_eq!(job.current(&world), Ok(Current::Absent));
}

#[test]
fn a_home_may_become_that_of_an_account_to_come() {
    let fake = fake(
        "{ files: { /etc/ssh/sshd_config: Port 22, /home/ada: { directory: true, owner: '1001' } } }",
    );
    let mut world = Prediction::new(&fake);
    let user = spec("user", "{ name: ada }");
    let change = Change::between(user.desired().as_ref(), &user.current(&world).unwrap());
    user.predict(&change.unwrap(), &mut world);
    let key = spec("authorized_key", "{ user: ada, key: ssh-ed25519 AAAAx }");
    assert_eq!(key.current(&world), Ok(Current::Absent));
}
