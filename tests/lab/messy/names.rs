//! One thing has many names: spellings of its path, and links on the way.

use super::Ground;

crate::tests! {
    ; on one release:
    a_path_in_another_spelling_is_the_same = 8,
    a_place_is_mounted_by_one_entry = 8,
    nothing_of_others_goes = 12,
}

fn a_path_in_another_spelling_is_the_same(os: &str) {
    let ground = Ground::new(os);
    let server = &ground.server;
    server
        .run("mkdir -p /etc/myapp /srv/real; ln -s /srv/real /srv/way; echo old > /srv/real/kept");
    ground.declare(
        "  - file: { path: /etc/myapp//app.conf, content: \"a=1\\n\" }\n\
         \x20 - file: { path: /var/run/app.flag, content: \"x\\n\" }\n\
         \x20 - file: { path: /srv/way/kept, content: \"new\\n\" }\n\
         \x20 - line: { path: /srv/way/list, line: b=1, create: true }\n",
    );
    server.converge(&[]);
    let state = "test $(cat /etc/myapp/app.conf) = a=1 && test $(cat /run/app.flag) = x && \
                 test $(cat /srv/real/kept) = new && test $(cat /srv/real/list) = b=1";
    server.run(state);

    // The same under other names: nothing to do, and nothing goes.
    ground.declare(
        "  - file: { path: /etc/myapp/app.conf, content: \"a=1\\n\" }\n\
         \x20 - file: { path: /run/app.flag, content: \"x\\n\" }\n\
         \x20 - file: { path: /srv/real/./kept, content: \"new\\n\" }\n\
         \x20 - line: { path: /srv/real/list, line: b=1 }\n",
    );
    let (code, plan) = ground.diff();
    assert_eq!(code, 0, "{plan}");
    let said = server.converge(&[]);
    assert!(!said.contains("removed"), "{said}");
    server.run(state);
    server.has_nothing_to_do(&[]);

    // Two names of one thing are refused before anything changes.
    ground.declare(
        "  - file: { path: /etc/myapp/app.conf, content: \"a=2\\n\" }\n\
         \x20 - file: { path: /run/app.flag, content: \"x\\n\" }\n\
         \x20 - file: { path: /var/run/app.flag, content: \"y\\n\" }\n",
    );
    let (code, plan) = ground.diff();
    assert_eq!(code, 3, "{plan}");
    let refusal = "`file:/var/run/app.flag` is `file:/run/app.flag` under another name";
    assert!(plan.contains(refusal), "{plan}");
    let (code, said) = server.apply(&[]);
    assert_eq!(code, 3, "{said}");
    server.run(state);

    // A preview knows by which other name a thing goes: the folder is empty then.
    ground.declare(
        "  - directory: /srv/v2\n\
         \x20 - symlink: { path: /srv/current, target: v2 }\n\
         \x20 - file: { path: /srv/current/x, content: \"x\\n\" }\n\
         \x20 - line: { path: /srv/way/list, line: b=1 }\n",
    );
    server.converge(&[]);
    ground.declare("  - line: { path: /srv/way/list, line: b=1 }\n");
    let plan = server.plan(&[]);
    assert!(plan.contains("directory:/srv/v2  remove"), "{plan}");
    let said = server.converge(&[]);
    assert!(said.contains("directory:/srv/v2  removed"), "{said}");

    // The folder stays for what is declared in it, over a link as well; the rest goes, and what was
    // there before infra is back.
    ground.declare("  - line: { path: /srv/way/list, line: b=1 }\n");
    server.converge(&[]);
    server.run(
        "test ! -e /etc/myapp/app.conf && test ! -e /run/app.flag && \
         test $(cat /srv/real/kept) = old && test $(cat /srv/real/list) = b=1",
    );
}

fn a_place_is_mounted_by_one_entry(os: &str) {
    let ground = Ground::new(os);
    let server = &ground.server;
    server.run(
        "mkdir -p /mnt/scratch /mnt/cache /srv/real && ln -s /srv /way && \
         printf '%s\n' 'tmpfs /mnt/scratch/ tmpfs size=5m 0 0' \
         'tmpfs /mnt/cache tmpfs size=12m 0 0 # of the shop' \
         'tmpfs /srv/real tmpfs size=6m 0 0' '# end' > /etc/fstab",
    );
    let resources = "\
\x20 - mount: { path: /mnt/scratch, device: tmpfs, fstype: tmpfs, options: size=10m }
  - mount: { path: /mnt/cache, device: tmpfs, fstype: tmpfs, options: size=12m }
  - mount: { path: /way/real, device: tmpfs, fstype: tmpfs, options: size=6m }
";
    ground.hold(resources);
    let table = "tmpfs /mnt/scratch tmpfs size=10m 0 0\n\
                 tmpfs /mnt/cache tmpfs size=12m 0 0 # of the shop\n\
                 tmpfs /srv/real tmpfs size=6m 0 0\n# end";
    assert_eq!(server.shell("cat /etc/fstab"), table);
    // The generator of systemd finds one unit for each.
    assert_eq!(server.shell("ls /run/systemd/generator/*.mount | wc -l"), "3");
    let plan = ground.hold("");
    assert!(plan.contains("it was there before infra"), "{plan}");
    assert_eq!(server.shell("cat /etc/fstab"), table);
}

fn nothing_of_others_goes(os: &str) {
    let ground = Ground::new(os);
    let server = &ground.server;
    let loses = &["--allow-data-loss"];

    // A link that moves: the file behind it is another one.
    server.run(
        "mkdir -p /srv/h/v1 /srv/h/v2 /srv/m/a /srv/m/b; ln -s a /srv/m/cur; \
         echo old1 > /srv/h/v1/conf; echo old2 > /srv/h/v2/conf",
    );
    let release = |version: &str| {
        format!(
            "  - symlink: {{ path: /srv/h/cur, target: {version} }}\n\
             \x20 - file: {{ path: /srv/h/cur/conf, content: \"infra\\n\" }}\n\
             \x20 - file: {{ path: /srv/m/cur/f, content: \"infra\\n\" }}\n"
        )
    };
    ground.hold(&release("v1"));
    ground.hold(&release("v2"));
    server.run("ln -sfn b /srv/m/cur; echo other > /srv/m/b/f");
    ground.declare("");
    let said = server.converge(&[]);
    assert!(said.contains("a link on the way to `/srv/m/cur/f` leads elsewhere now"), "{said}");
    server.run("test $(cat /srv/h/v2/conf) = old2 && test $(cat /srv/m/b/f) = other");

    // A line by hand in a file that goes is in the plan.
    ground.hold("  - file: { path: /srv/h/own, content: \"infra\\n\" }\n");
    server.run("echo theirs >> /srv/h/own");
    ground.declare("");
    let (_, said) = ground.diff();
    let edited = "`file:/srv/h/own` goes with what was changed in it since the last apply";
    assert!(said.contains(edited), "{said}");
    server.converge(&[]);

    // A home that is declared, and a file system, in a folder that is not any more.
    let user = "  - user: { name: ada, home: /srv/e/home, create_home: true }\n";
    ground.hold(&format!("  - directory: /srv/e\n  - directory: /srv/q\n{user}"));
    server.run("touch /srv/e/home/data; mkdir /important; touch /important/data");
    server.run("mount --bind /important /srv/q");
    ground.declare(user);
    let said = server.converge(loses);
    assert!(said.contains("`user:ada` is in `/srv/e`"), "{said}");
    assert!(said.contains("a file system is mounted at `/srv/q`"), "{said}");
    server.run("ls /srv/e/home/data /important/data");

    // An old name that is taken over is known from then on, even where nothing changed.
    server.run("mkdir -p /srv/t/v1 /srv/t/v2; ln -s v1 /srv/t/cur; echo other > /srv/t/v2/f");
    ground.hold("  - file: { path: /srv/t/cur/f, content: \"infra\\n\" }\n");
    let file = "  - file: { path: /srv/t/v1/f, content: \"infra\\n\" }\n";
    ground.hold(file);
    server.run("ln -sfn v2 /srv/t/cur");
    let plan = ground.hold(file);
    assert!(!plan.contains("remove"), "{plan}");
    server.run("test $(cat /srv/t/v2/f) = other");

    // Of two lines the first one counts: the old one goes before the new one comes.
    let line = |number: u32| {
        format!("  - line: {{ path: /etc/ssh/sshd_config, line: MaxAuthTries {number} }}\n")
    };
    ground.hold(&line(5));
    ground.hold(&line(4));
    assert_eq!(server.shell("sshd -T | grep -i maxauthtries"), "maxauthtries 4");
    a_service_runs_on(&ground);
    what_infra_made_goes_alone(&ground);
    what_lies_in_a_thing_goes_first(&ground);
    writers_of_one_file_are_refused(&ground);
}

/// A role goes whose service was there before: sshd does not keep what it has read.
fn a_service_runs_on(ground: &Ground) {
    let greeting = || {
        let read = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/22; head -n 1 <&3'";
        ground.server.shell(read)
    };
    ground.hold(
        "  - sshd_config: { name: 10-x, settings: { VersionAddendum: of-infra } }\n\
         \x20   reload: ssh\n\
         \x20 - service: { name: ssh, validate: /usr/sbin/sshd -t }\n",
    );
    assert!(greeting().contains("of-infra"), "{}", greeting());
    let plan = ground.hold("");
    assert!(plan.contains("service:ssh  no longer managed: it was there before infra"), "{plan}");
    assert!(plan.contains("~ service:ssh  reload"), "{plan}");
    assert!(!greeting().contains("of-infra"), "{}", greeting());
    let said = ground.refused("  - service: { name: sshd, running: false }\n");
    assert!(said.contains("infra logs in by `service:sshd`, which is to be stopped"), "{said}");
}

/// Things within one another go in the right order, also where the inner ones were declared again since.
fn what_lies_in_a_thing_goes_first(ground: &Ground) {
    let server = &ground.server;
    let inner = "  - mount: { path: /mnt/b/c, device: tmpfs, fstype: tmpfs }\n\
                 \x20 - file: { path: /srv/now/inside, content: x }\n\
                 \x20 - directory: /srv/outer/inner\n";
    let outer = "  - mount: { path: /mnt/b, device: tmpfs, fstype: tmpfs, options: mode=755 }\n\
                 \x20 - directory: /srv/then\n\
                 \x20 - symlink: { path: /srv/now, target: /srv/then }\n\
                 \x20 - directory: /srv/outer\n";
    ground.hold(&format!("{outer}{inner}"));
    // The run that would let the outer ones go fails behind the inner ones.
    ground.declare(&format!("{inner}  - command: {{ run: [\"false\"], creates: /none }}\n"));
    assert_eq!(server.lab.say(&["apply", "ground", "--lab", "--yes"]).0, 3);
    ground.hold("");
    server.run("! test -e /srv/then && ! test -e /srv/outer && ! findmnt /mnt/b");
    // Somebody else's things by now, and a job of an account that is to go.
    ground.hold(
        "  - directory: /srv/mine\n  - file: { path: /etc/mine, content: x }\n  - user: ivan\n",
    );
    server.run("mv /srv/mine /srv/moved; ln -s moved /srv/mine; rm /etc/mine; mkdir /etc/mine");
    let job = "  - file: { path: /etc/cron.d/job, content: \"* * * * * ivan true\\n\" }\n";
    let said = ground.refused(job);
    assert!(said.contains("`file:/etc/cron.d/job` names `user:ivan`, which is to go"), "{said}");
    let plan = ground.hold("");
    for told in ["`/srv/mine` is a symlink by now", "`/etc/mine` is a directory by now"] {
        assert!(plan.contains(told), "{told}: {plan}");
    }
    server.run("test -d /srv/moved && test -d /etc/mine && ! id ivan");
}

/// A home and a file of lines that were there before stay; those that infra made go, and the plan names them.
fn what_infra_made_goes_alone(ground: &Ground) {
    let server = &ground.server;
    server.run("mkdir /srv/u; echo theirs > /srv/u/data; chown -R 1500 /srv/u; touch /etc/empty");
    ground.hold(
        "  - user: { name: bob, uid: 1500, home: /srv/u }\n\
         \x20 - user: eve\n\
         \x20 - line: { path: /etc/made, line: a, create: true }\n\
         \x20 - line: { path: /etc/empty, line: a, create: true }\n",
    );
    ground.declare("");
    let said = server.converge(&["--allow-data-loss"]);
    for told in [
        "`user:bob` goes and leaves its home `/srv/u`",
        "`user:eve` goes with `/home/eve` and all that is in it",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    server.run("test $(cat /srv/u/data) = theirs && ! test -e /home/eve && ! id bob");
    server.run("! test -e /etc/made && test -e /etc/empty && ! test -s /etc/empty");
}

/// Only the server knows that the link leads to the file, and which entry a line of fstab is.
fn writers_of_one_file_are_refused(ground: &Ground) {
    let said = ground.refused(
        "  - file: { path: /srv/t/v2/f, content: \"a\\n\" }\n\
         \x20 - line: { path: /srv/t/cur/f, line: b }\n\
         \x20 - mount: { path: /mnt/ram, device: tmpfs, fstype: tmpfs }\n\
         \x20 - line: { path: /etc/fstab, line: tmpfs /mnt/ram/ tmpfs size=5m 0 0, match: /mnt/ram }\n",
    );
    for told in [
        "`line:/srv/t/cur/f b` and `file:/srv/t/v2/f` both write `/srv/t/cur/f`",
        "`line:/etc/fstab /mnt/ram` and `mount:/mnt/ram` undo each other in `/etc/fstab`",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
}
