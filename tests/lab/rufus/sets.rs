//! Files that one service reads are switched as a set, and put back as a set: with one mistake
//! among many changed files, none of them is live.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use crate::support::{LabServer, copy, text};

crate::tests! {
    ; on one release:
    an_unknown_directive_leaves_nginx_as_it_was = 40,
    a_page_that_does_not_answer_leaves_nginx_as_it_was = 40,
    an_unknown_entry_leaves_php_fpm_as_it_was = 40,
    an_unknown_option_leaves_sshd_as_it_was = 40,
}

const SITE: &str = "roles/php-app/templates/site.conf.j2";
const POOL: &str = "roles/php-app/templates/pool.conf.j2";
const BASE: &str = "roles/base/role.yaml";
const ROLE: &str = "roles/php-app/role.yaml";

/// A mistake in the project, and the complaint about it.
struct Mistake {
    /// The file of the project.
    file: &'static str,
    /// The text that is replaced in it, and the one in its place.
    change: (&'static str, &'static str),
    /// The words of the validator, or of the verification.
    complaint: &'static str,
    /// The folder on the server whose files all have to be as before.
    folder: &'static str,
    /// The service that must not stop.
    service: &'static str,
}

/// nginx itself refuses the file of one site.
fn an_unknown_directive_leaves_nginx_as_it_was(os: &str) {
    let mistake = Mistake {
        file: SITE,
        change: (
            "client_max_body_size",
            "{{ 'oops;' if domain == 'flus.io' else '' }} client_max_body_size",
        ),
        complaint: "unknown directive \"oops\"",
        folder: "/etc/nginx",
        service: "nginx.service",
    };
    changes_nothing(os, &mistake);
}

/// nginx finds nothing wrong; the page does not answer as it should.
fn a_page_that_does_not_answer_leaves_nginx_as_it_was(os: &str) {
    let mistake = Mistake {
        file: SITE,
        change: (
            "client_max_body_size",
            "{{ 'return 503;' if domain == 'websub.flus.io' else '' }} client_max_body_size",
        ),
        complaint: "answers 503, not 200",
        folder: "/etc/nginx",
        service: "nginx.service",
    };
    changes_nothing(os, &mistake);
}

/// PHP-FPM refuses the pool of one site.
fn an_unknown_entry_leaves_php_fpm_as_it_was(os: &str) {
    let mistake = Mistake {
        file: POOL,
        change: (
            "pm.max_children",
            "{{ 'pm.oops = 1\npm' if user == 'flus-io' else 'pm' }}.max_children",
        ),
        complaint: "unknown entry 'pm.oops'",
        folder: "/etc/php",
        service: "php*-fpm.service",
    };
    changes_nothing(os, &mistake);
}

/// sshd refuses its own file, while the sites change as well.
fn an_unknown_option_leaves_sshd_as_it_was(os: &str) {
    let mistake = Mistake {
        file: BASE,
        change: ("ClientAliveInterval: 60", "ClientAliveInterval: 60\n        Oops: 1"),
        complaint: "Bad configuration option: Oops",
        folder: "/etc/ssh",
        service: "ssh.service",
    };
    changes_nothing(os, &mistake);
}

/// Every site changes, and one file has the mistake: nothing of it is live, and nobody saw a thing.
fn changes_nothing(os: &str, mistake: &Mistake) {
    let mut rufus = copy("rufus", os);
    let folder = tempfile::tempdir().unwrap();
    copy_project(rufus.project(), folder.path());
    replace(&folder.path().join(mistake.file), mistake.change.0, mistake.change.1);
    // Every site changes, and each gets one file more.
    replace(&folder.path().join(SITE), "server {", "# changed\nserver {");
    replace(
        &folder.path().join(ROLE),
        "      - file: { path: \"/etc/nginx/sites-available/",
        "      - file: { path: \"/etc/nginx/snippets/{{ domain }}.conf\", content: new }\n        \
             reload: nginx\n      - file: { path: \"/etc/nginx/sites-available/",
    );
    let own = rufus.use_project(folder.path());
    refuses(&rufus, mistake);
    rufus.use_project(&own);
    rufus.converge(&[]);
}

fn refuses(rufus: &LabServer, mistake: &Mistake) {
    let listing = format!("cd {} && find . -type f -exec sha256sum {{}} + | sort", mistake.folder);
    let state = format!("systemctl show -P ActiveEnterTimestamp '{}'", mistake.service);
    let (files, since) = (rufus.shell(&listing), rufus.shell(&state));
    assert_ne!(since, "", "{} does not run", mistake.service);
    let (code, said, answers) = std::thread::scope(|scope| {
        // The visitor leaves when the other end of the channel is gone.
        let (sender, answers) = channel();
        scope.spawn(move || visit(rufus, &sender));
        let mut all: Vec<String> = answers.iter().take(1).collect();
        let (code, said) = rufus.apply(&[]);
        let during: Vec<String> = answers.try_iter().collect();
        // The visitor may have asked for the first of them before.
        assert!(during.len() > 1, "the visitor had no answer during the switch: {during:?}");
        all.extend(during);
        all.extend(answers.iter().take(AFTERWARDS));
        (code, said, all)
    });
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(mistake.complaint), "{said}");
    assert_eq!(rufus.shell(&listing), files, "{said}");
    assert_eq!(rufus.shell(&state), since, "the service was started anew");
    assert!(answers.len() > AFTERWARDS, "{answers:?}");
    let failed: Vec<_> = answers.iter().filter(|answer| !answer.contains("flus.fr v1")).collect();
    assert!(failed.is_empty(), "of {} requests: {failed:?}", answers.len());
    assert_eq!(rufus.login("echo in"), "in");
    for page in ["flus.fr", "demo.flus.fr", "websub.flus.io"] {
        let answer = rufus.page(page, "/about");
        assert!(answer.contains(&format!("{page} v1")), "{page}: {answer}");
    }
}

/// How many answers the visitor still has to get when the run is over.
const AFTERWARDS: usize = 10;

/// Asks for a page again and again, as visitors do.
fn visit(rufus: &LabServer, answers: &Sender<String>) {
    while answers.send(rufus.page_during_reload("flus.fr", "/about")).is_ok() {
        // How often is asked, not how long is waited.
        std::thread::sleep(Duration::from_millis(30));
    }
}

fn copy_project(from: &Path, to: &Path) {
    for part in ["inventory", "roles", "templates", "secrets"] {
        let done = Command::new("cp").arg("-rL").arg(from.join(part)).arg(to).output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
}

fn replace(path: &Path, old: &str, new: &str) {
    let content = fs::read_to_string(path).unwrap();
    assert!(content.contains(old), "{} has no `{old}`", path.display());
    fs::write(path, content.replacen(old, new, 1)).unwrap();
}
