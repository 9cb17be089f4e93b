//! Files that one service reads are switched as a set, and put back as a set: on the Rufus of
//! `tests/rufus.rs`, once it serves.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::LabServer;
use crate::support::lab_server::text;

const SITE: &str = "roles/php-app/templates/site.conf.j2";
const POOL: &str = "roles/php-app/templates/pool.conf.j2";
const SSHD: &str = "roles/base/templates/sshd.conf.j2";
const ROLE: &str = "roles/php-app/role.yaml";

/// A mistake in the project, and what is said of it.
struct Mistake {
    /// The file of the project.
    file: &'static str,
    /// What is replaced in it, and by what.
    change: (&'static str, &'static str),
    /// What the validator, or the verification, says.
    complaint: &'static str,
    /// The folder on the server whose files all have to be as before.
    folder: &'static str,
    /// The service that goes on.
    service: &'static str,
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        file: SITE,
        change: (
            "client_max_body_size",
            "{{ 'oops;' if domain == 'flus.io' else '' }} client_max_body_size",
        ),
        complaint: "unknown directive \"oops\"",
        folder: "/etc/nginx",
        service: "nginx",
    },
    // nginx finds nothing wrong; the page does not answer as it should.
    Mistake {
        file: SITE,
        change: (
            "client_max_body_size",
            "{{ 'return 503;' if domain == 'websub.flus.io' else '' }} client_max_body_size",
        ),
        complaint: "answers 503, not 200",
        folder: "/etc/nginx",
        service: "nginx",
    },
    Mistake {
        file: POOL,
        change: (
            "pm.max_children",
            "{{ 'pm.oops = 1\npm' if user == 'flus-io' else 'pm' }}.max_children",
        ),
        complaint: "unknown entry 'pm.oops'",
        folder: "/etc/php",
        service: "php*-fpm",
    },
    Mistake {
        file: SSHD,
        change: ("PasswordAuthentication", "Oops yes\nPasswordAuthentication"),
        complaint: "Bad configuration option: Oops",
        folder: "/etc/ssh",
        service: "ssh",
    },
];

/// One mistake among many changed files: none of them is live, and nobody saw a thing.
pub(crate) fn one_mistake_changes_nothing(rufus: &mut LabServer) {
    for mistake in MISTAKES {
        let folder = tempfile::tempdir().unwrap();
        copy_project(&rufus.project, folder.path());
        replace(&folder.path().join(mistake.file), mistake.change.0, mistake.change.1);
        // Every site changes, and each gets one file more.
        replace(&folder.path().join(SITE), "server {", "# changed\nserver {");
        replace(
            &folder.path().join(ROLE),
            "      - file: { path: \"/etc/nginx/sites-available/",
            "      - file: { path: \"/etc/nginx/snippets/{{ domain }}.conf\", content: new }\n        \
                 reload: nginx\n      - file: { path: \"/etc/nginx/sites-available/",
        );
        let own = std::mem::replace(&mut rufus.project, folder.path().to_path_buf());
        refuses(rufus, mistake);
        rufus.project = own;
    }
    let (code, said) = rufus.apply(&[]);
    assert_eq!(code, 0, "{said}");
}

fn refuses(rufus: &LabServer, mistake: &Mistake) {
    let listing = format!("cd {} && find . -type f -exec sha256sum {{}} + | sort", mistake.folder);
    let state = format!("systemctl show -P ActiveEnterTimestamp '{}'", mistake.service);
    let (files, since) = (rufus.shell(&listing), rufus.shell(&state));
    let is_over = AtomicBool::new(false);
    let (code, said, answers) = std::thread::scope(|scope| {
        let visitor = scope.spawn(|| visit(rufus, &is_over));
        let (code, said) = rufus.apply(&[]);
        std::thread::sleep(Duration::from_millis(300));
        is_over.store(true, Ordering::Relaxed);
        (code, said, visitor.join().unwrap())
    });
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(mistake.complaint), "{said}");
    assert_eq!(rufus.shell(&listing), files, "{said}");
    assert_eq!(rufus.shell(&state), since, "it went on running");
    assert!(answers.len() > 10, "{answers:?}");
    let failed: Vec<_> = answers.iter().filter(|answer| !answer.contains("flus.fr v1")).collect();
    assert!(failed.is_empty(), "of {} requests: {failed:?}", answers.len());
    for page in ["flus.fr", "demo.flus.fr", "websub.flus.io"] {
        assert!(rufus.page(page, "/about").contains(&format!("{page} v1")), "{page}");
    }
}

/// Asks for a page again and again, as visitors do; a minute and a half at most.
fn visit(rufus: &LabServer, is_over: &AtomicBool) -> Vec<String> {
    let mut answers = Vec::new();
    for _ in 0..3000 {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        answers.push(rufus.page("flus.fr", "/about"));
        std::thread::sleep(Duration::from_millis(30));
    }
    answers
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
