//! The outside world of the lab.

use crate::support::{TestLab, copies, text, wait_until};

crate::tests! {
    ; on each release: certificates_verify_from_another_server_and_are_renewed = 90,
    ; on one release: the_outside_world_answers = 60,
}

/// A line on a server of the lab.
fn on(lab: &TestLab, server: &str, line: &str) -> String {
    let output = lab.infra(&["lab", "ssh", server, "--", line]);
    (text(&output.stdout) + &text(&output.stderr)).trim().to_owned()
}

/// The serial number of the certificate that a site shows, asked from `server`, which trusts it.
fn serial(lab: &TestLab, server: &str, site: &str) -> String {
    let line = format!(
        "openssl s_client -connect {site}:443 -servername {site} -verify_return_error </dev/null \
         2>/dev/null | openssl x509 -noout -serial"
    );
    let found = on(lab, server, &line);
    assert!(found.starts_with("serial="), "{site} from {server}: {found}");
    found
}

/// Copies of servers whose authority is gone get certificates of the new one, by name and without an
/// exception, and a renewal reaches visitors.
fn certificates_verify_from_another_server_and_are_renewed(os: &str) {
    let lab = copies(&["faremis", "rufus"], os);
    lab.go_online();
    for (server, url, answer) in [
        ("faremis", "https://flus.fr/about", "flus.fr v1, SQLite with 1 items"),
        ("rufus", "https://app.flus.fr/about", "app.flus.fr v1, PostgreSQL with 1 items"),
    ] {
        let line = format!("curl --silent --show-error --max-time 60 {url}");
        assert_eq!(on(&lab, server, &line), answer);
    }
    let here = lab.infra(&["lab", "run", "--", "curl", "-sS", "https://app.flus.fr/about"]);
    assert_eq!(text(&here.stdout).trim(), "app.flus.fr v1, PostgreSQL with 1 items", "{here:?}");

    let before = serial(&lab, "faremis", "flus.fr");
    let renew = "certbot renew --force-renewal --cert-name flus.fr --no-random-sleep-on-renew";
    let said = on(&lab, "rufus", &format!("{renew} 2>&1; echo code $?"));
    assert!(said.ends_with("code 0"), "{said}");
    wait_until("the renewed certificate", || serial(&lab, "faremis", "flus.fr") != before);
    let (code, plan) = lab.say(&["diff", "faremis", "rufus", "internet", "--lab"]);
    assert_eq!(code, 0, "{plan}");
}

/// Each service of the outside world, asked as an application asks it.
fn the_outside_world_answers(os: &str) {
    let lab = copies(&["rufus"], os);
    lab.go_online();
    let names =
        "flus.fr rss.example.invalid rufus.flus.io mail.flus.fr app.flus.fr acme.lab.internal";
    let found =
        on(&lab, "rufus", &format!("for n in {names}; do getent ahostsv4 $n | head -n 1; done"));
    let address = lab.status("rufus")["address"].as_str().unwrap().to_owned();
    let internet = lab.status("internet")["address"].as_str().unwrap().to_owned();
    // faremis is not up, so that nothing leads to the real one.
    assert!(!found.contains("app.flus.fr") && !found.contains("rss.example"), "{found}");
    assert!(found.lines().next().unwrap().starts_with(&address), "{found}");
    assert_eq!(found.matches(&internet).count(), 2, "{found}");

    let send = "printf 'From: robot@flus.fr\\nTo: ana@example.org\\nSubject: your invoice\\n\\nbody\\n' \
        | curl --silent --show-error --max-time 60 --url smtp://mail.lab.internal:587 --ssl-reqd --user robot:secret \
        --mail-from robot@flus.fr --mail-rcpt ana@example.org --upload-file -";
    assert_eq!(on(&lab, "rufus", send), "");
    let list = lab.succeed(&["lab", "mail"]);
    assert!(list.contains("robot@flus.fr → ana@example.org  your invoice"), "{list}");
    let message = lab.succeed(&["lab", "mail", "1"]);
    assert!(message.contains("Subject: your invoice") && message.contains("body"), "{message}");
    let (code, said) = lab.say(&["lab", "mail", "2"]);
    assert!(code == 3 && said.contains("there is no message 2: there are 1"), "{code}: {said}");

    let sms = |query: &str| {
        let url = format!("https://smsapi.free-mobile.fr/sendmsg{query}");
        on(
            &lab,
            "rufus",
            &format!("curl --silent --output /dev/null --write-out '%{{http_code}}' '{url}'"),
        )
    };
    assert_eq!(sms("?user=1234&pass=abcd&msg=down"), "200");
    assert_eq!(sms("?user=1234&msg=down"), "400");

    on(&lab, "rufus", "ssh-keygen -q -t ed25519 -N '' -f /root/backup");
    let key = on(&lab, "rufus", "cat /root/backup.pub");
    let keys = format!("lab-internet.borg.keys=['{key}']");
    lab.succeed(&["apply", "internet", "--lab", "--yes", "--set", &keys]);
    let borg = |command: &str| {
        let ssh = "ssh -i /root/backup -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR";
        on(
            &lab,
            "rufus",
            &format!("{ssh} zh0001@zh0001.rsync.net {command} </dev/null; echo code $?"),
        )
    };
    assert!(borg("borg1 serve").ends_with("code 0"), "{}", borg("borg1 serve"));
    assert!(borg("mkdir first").ends_with("code 0"));
    assert_eq!(borg("ls"), "first\ncode 0");
    for refused in ["python3 -c 1", "sh -c id", "'borg1 serve; id'", "borg serve", ""] {
        let said = borg(refused);
        assert!(!said.ends_with("code 0") && !said.contains("uid="), "{refused}: {said}");
    }
}
