//! Saved servers: copies are servers of their own, and a save is there as a whole or not at all.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::Duration;

use super::{bridge, lab, leftovers, power_off, ssh, status};
use crate::support::{TestLab, text};

crate::tests! {
    copies_are_servers_of_their_own = 40,
    saves_are_chained_and_forgotten = 40,
    a_save_whose_image_is_gone_is_refused = 20,
    a_killed_save_loses_nothing = 90,
    the_end_of_the_lab_takes_saves_with_it = 15,
}

/// Questions to which no two servers may give one answer.
const OWN: [&str; 7] = [
    "cat /etc/machine-id",
    "cat /etc/ssh/ssh_host_ed25519_key.pub",
    "cat /etc/ssh/ssh_host_rsa_key.pub",
    "ssh-keygen -yf /etc/ssh/ssh_host_rsa_key",
    "ip -br address show host0",
    "hostname",
    "grep 127.0.1.1 /etc/hosts",
];

/// Changes that a role may have made to files in which a copy differs.
const PREPARE: &str = "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy \
                       --no-install-recommends postgresql && ssh-keygen -A && \
                       chmod 0751 /etc/ssh && echo '# mine' >> /etc/hosts && \
                       touch /root/removed-later && mkdir /srv/folder && \
                       touch /srv/folder/inside /srv/folder/same && \
                       ln -f /srv/folder/inside /srv/folder/same";

fn sql(lab: &TestLab, server: &str, line: &str) -> String {
    ssh(lab, server, &format!("cd / && runuser -u postgres -- psql -qAtc '{line}'"))
}

/// The error of a command that is refused.
fn refused(lab: &TestLab, arguments: &[&str]) -> String {
    let output = lab.infra(&[&["lab"], arguments].concat());
    assert!(!output.status.success(), "{arguments:?}");
    text(&output.stderr)
}

/// A new machine id, host key and address; the name, files and data of a saved server.
fn copies_are_servers_of_their_own() {
    let lab = lab();
    lab.up(&["one"]);
    let address = lab.status("one")["address"].clone();
    lab.succeed(&["lab", "ssh", "one", PREPARE]);
    sql(&lab, "one", "create table t (x int); insert into t values (1)");
    lab.succeed(&["lab", "save", "base"]);
    assert_eq!(sql(&lab, "one", "select x from t"), "1\n", "the server goes on with its data");
    assert_eq!(lab.status("one")["address"], address);
    lab.succeed(&["lab", "ssh", "one", "rm /root/removed-later"]);
    lab.up(&["two", "three", "--from", "base"]);
    let names = ["one", "two", "three"];
    for question in OWN {
        let mut answers = names.map(|name| ssh(&lab, name, question));
        answers.sort();
        assert!(!answers[0].is_empty(), "{question}: {answers:?}");
        assert!(answers[0] != answers[1] && answers[1] != answers[2], "{question}: {answers:?}");
    }
    for name in ["two", "three"] {
        let said = ssh(&lab, name, "cat /etc/hostname; hostname");
        assert_eq!(said, format!("{name}\n{name}\n"));
        assert_eq!(ssh(&lab, name, "stat -c %a /etc/ssh /root /root/.ssh"), "751\n700\n700\n");
        assert_eq!(ssh(&lab, name, "tail -n1 /etc/hosts; ls /root"), "# mine\nremoved-later\n");
        assert_eq!(ssh(&lab, name, "systemctl is-system-running"), "running\n");
        // Docker renames a folder when it starts, which may be in a layer then.
        let rename = "perl -e 'rename \"/srv/folder\", \"/srv/other\" or die $!' && ls /srv/other";
        assert_eq!(ssh(&lab, name, rename), "inside\nsame\n");
        // git gives a clone the objects of its origin under a second name.
        let link = "cd /srv/other && echo x >> inside && stat -c %h,%s same && ln same third && \
                    [ same -ef third ] && [ same -ef inside ] && stat -c %h third";
        assert_eq!(ssh(&lab, name, link), "2,2\n3\n");
        sql(&lab, name, &format!("insert into t values ({})", name.len()));
    }
    let sums = names.map(|name| sql(&lab, name, "select sum(x) from t"));
    assert_eq!(sums, ["1\n", "4\n", "6\n"], "each writes for itself");
    assert_eq!(ssh(&lab, "one", "ls /root"), "", "a removed file stays removed over a layer");
}

/// A save of a copy stands on two layers, and a layer stays for as long as something needs it.
fn saves_are_chained_and_forgotten() {
    let lab = lab();
    lab.up(&["one"]);
    let archives = "/var/cache/apt/archives";
    let prepare = format!(
        "echo 1 > /root/1; mkdir /srv/a; echo old > /srv/a/file; ln /srv/a/file /srv/b; \
         ln -s nowhere /srv/c; ln -P /srv/c /srv/d; cp /bin/true /srv/s; chmod 4755 /srv/s; \
         ln /srv/s /srv/t; echo a package > {archives}/own_1_all.deb"
    );
    lab.succeed(&["lab", "ssh", "one", &prepare]);
    lab.succeed(&["lab", "save", "base"]);
    lab.up(&["two", "--from", "base"]);
    lab.succeed(&["lab", "ssh", "one", "rm /root/1"]);
    // One name of each file is written, of one in the image as well.
    let write = format!(
        "echo 2 > /root/2; echo new > /srv/b; chmod 4750 /srv/t; chown -h games /srv/d; \
         chmod 700 /usr/bin/perl; echo changed > {archives}/own_1_all.deb"
    );
    lab.succeed(&["lab", "ssh", "two", &write]);
    let names = "cat /srv/a/file /srv/b; stat -c '%a %h %n' /srv/[st] /usr/bin/perl5.[0-9]*[0-9]; \
                 stat -c '%U %h' /srv/[cd]; find /srv/a /srv/b -samefile /srv/b | wc -l";
    let written = ssh(&lab, "two", names);
    power_off(&lab, "one");
    lab.succeed(&["lab", "save", "both"]);
    assert!(lab.status("one")["pid"].is_null(), "a server that is down stays down");
    assert!(lab.status("two")["pid"].is_i64());
    assert!(written.starts_with("new\nnew\n4750 2 /srv/s\n4750 2 /srv/t\n700 "), "{written}");
    assert!(written.ends_with("games 2\ngames 2\n2\n"), "{written}");
    assert_eq!(ssh(&lab, "two", names), written, "a save changed the server");
    let package = format!("cat {archives}/own_1_all.deb");
    assert_eq!(ssh(&lab, "two", &package), "changed\n");
    lab.up(&["three", "--from", "base"]);
    assert_eq!(ssh(&lab, "three", &package), "a package\n", "a copy changed its save");
    assert_eq!(
        refused(&lab, &["save", "both"]),
        "error: there is a save `both` already\nhint: run `infra lab forget both` first, or choose another name\n"
    );
    assert_eq!(
        refused(&lab, &["up", "four", "--from", "both"]),
        "error: the save `both` holds no server `four`\nhint: it holds `one`, `two`\n"
    );
    assert_eq!(
        refused(&lab, &["up", "one", "--from", "both"]),
        "error: `one` is in the lab already\nhint: run `infra lab down one` first\n"
    );
    lab.succeed(&["lab", "forget", "base"]);
    lab.succeed(&["lab", "down"]);
    let saves = status(&lab);
    assert_eq!(saves.len(), 1);
    assert_eq!(saves[0]["servers"], serde_json::json!(["one", "two"]));
    let line = "both                 save       debian-12       one, two\n";
    assert_eq!(lab.succeed(&["lab", "status"]), line);
    // All of the save, under the names that they had; two commands at once.
    std::thread::scope(|scope| {
        for name in ["one", "two"] {
            let lab = &lab;
            scope.spawn(move || lab.up(&[name, "--from", "both"]));
        }
    });
    assert_eq!(ssh(&lab, "one", "ls /root"), "");
    assert_eq!(ssh(&lab, "two", "cat /root/1 /root/2"), "1\n2\n");
    assert_eq!(ssh(&lab, "two", names), written, "a copy is not as its server was");
}

fn a_save_whose_image_is_gone_is_refused() {
    let lab = lab();
    lab.up(&["one"]);
    lab.succeed(&["lab", "ssh", "one", "echo 1 > /root/1"]);
    lab.succeed(&["lab", "save", "base"]);
    lab.succeed(&["lab", "down"]);
    // The images of all labs of the tests: only this lab must miss them.
    let images = lab.folder().join("images");
    let shared = std::fs::read_link(&images).unwrap();
    std::fs::remove_file(&images).unwrap();
    let said = refused(&lab, &["up", "--from", "base"]);
    let (begin, end) = (
        "error: the image `debian-12-",
        "` that the save `base` stands on is gone\n\
         hint: run `infra lab forget base`, and save again\n",
    );
    assert!(said.starts_with(begin) && said.ends_with(end), "{said}");
    assert_eq!(status(&lab)[0]["usable"], false);
    symlink(shared, &images).unwrap();
    lab.up(&["one", "--from", "base"]);
    assert_eq!(ssh(&lab, "one", "cat /root/1"), "1\n");
}

/// The stages of a save, as it tells them in this order until the server is up again.
const STAGES: [&str; 4] = ["shutting down", "saved as", "starting", "up, debian-12"];

/// A save that is killed loses nothing, whenever that is, and the server comes up again.
fn a_killed_save_loses_nothing() {
    let lab = lab();
    lab.up(&["one"]);
    for round in 0..3 * STAGES.len() {
        let write = format!("echo {round} > /root/{round}; touch /etc/keep-{round}");
        lab.succeed(&["lab", "ssh", "one", &write]);
        let save = format!("save-{round}");
        let mut command = lab.command(&["lab", "save", &save]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let stage = STAGES[round % STAGES.len()];
        assert!(said.any(|line| line.contains(stage)), "the save does not say `{stage}`");
        // Somewhere behind the stage: the moment itself is not what has to hold.
        std::thread::sleep(Duration::from_millis([0, 40, 400][round / STAGES.len()]));
        child.kill().unwrap();
        child.wait().unwrap();
        lab.up(&["one"]);
        let kept = ssh(&lab, "one", "cat $(ls -d /root/* | sort -V); ls /etc/keep-* | wc -l");
        let lines: Vec<String> = (0..=round).map(|number| number.to_string()).collect();
        let numbers = lines.join("\n");
        assert_eq!(kept, format!("{numbers}\n{}\n", round + 1), "round {round}");
    }
    // A save is there as a whole, or not at all.
    let saves = status(&lab).split_off(1);
    assert!(saves.len() >= 9, "of those that said so: {saves:?}");
    for save in &saves {
        let name = save["save"].as_str().unwrap();
        lab.up(&[name, "--from", name]);
        assert_eq!(ssh(&lab, name, "hostname"), format!("{name}\n"));
        lab.succeed(&["lab", "down", name]);
    }
    // Killed just after its record, and saved again without a start in between.
    lab.succeed(&["lab", "ssh", "one", "chmod 700 /usr/bin/perl"]);
    power_off(&lab, "one");
    let server = lab.folder().join("servers/one");
    let unmounted = std::process::Command::new("umount").arg(server.join("root")).status();
    assert!(unmounted.unwrap().success());
    let text = std::fs::read(server.join("server.json")).unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&text).unwrap();
    record["layers"].as_array_mut().unwrap().insert(0, "0000000a".into());
    std::fs::write(server.join("server.json"), record.to_string()).unwrap();
    lab.succeed(&["lab", "save", "last"]);
    lab.up(&["copy", "--from", "last"]);
    assert_eq!(ssh(&lab, "copy", "ls /root | wc -l; stat -c %a /usr/bin/perl"), "12\n700\n");
}

fn the_end_of_the_lab_takes_saves_with_it() {
    let lab = lab();
    lab.up(&["one"]);
    let address = lab.status("one")["address"].as_str().unwrap().to_owned();
    let id = bridge(&address).split_off("infra-".len());
    lab.succeed(&["lab", "save", "base"]);
    lab.up(&["two", "--from", "base"]);
    lab.succeed(&["lab", "down", "--all"]);
    assert_eq!(leftovers(&id, lab.folder()), Vec::<String>::new());
    assert!(!lab.folder().exists());
}
