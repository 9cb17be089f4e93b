//! A changed parameter changes one file, and the service that reads that file is disturbed as
//! little as possible.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use crate::support::{LabServer, copy, lines};

crate::tests! {
    ; on one release:
    one_changed_parameter_is_one_changed_file_and_one_reload = 25,
    a_reload_cuts_no_request = 25,
}

/// Since when the services run.
const STARTED: &str = "systemctl show -P ActiveEnterTimestamp nginx.service 'php*-fpm.service'";

/// No service is restarted, and the services that do not read the file are left alone.
fn one_changed_parameter_is_one_changed_file_and_one_reload(os: &str) {
    let rufus = copy("rufus", os);
    let started = rufus.shell(STARTED);
    assert_eq!(started.lines().filter(|line| !line.is_empty()).count(), 2, "{started}");
    let said = rufus.converge(&["--set", "nginx.worker_connections=2048"]);
    assert_eq!(lines(&said, "  changed"), ["rufus  file:/etc/nginx/nginx.conf  changed"], "{said}");
    assert_eq!(lines(&said, "  reloaded"), ["rufus  service:nginx  reloaded"], "{said}");
    assert_eq!(lines(&said, "  restarted"), Vec::<&str>::new(), "{said}");
    assert_eq!(rufus.shell(STARTED), started);
    rufus.converge(&[]);
}

/// How often PHP-FPM was told to reload.
const RELOADS: &str = "grep -c 'Reloading in progress' /var/log/php*-fpm.log";

/// Ends the slow answer once PHP-FPM was told to reload more than `$before` times and has gone
/// through its loop since: if it did not wait for requests, it would have killed this one by then.
/// The signal asks only for an entry in the log; the second entry shows that all the work of the
/// loop before is done. This runs on the server because PHP-FPM waits for ten seconds at most.
const END_THE_ANSWER: &str = r#"
log=$(ls /var/log/php*-fpm.log)
wait_for_more() {
    for attempt in $(seq 1800); do
        [ "$(grep -c "$1" "$log")" -gt "$2" ] && return
        sleep 0.1
    done
    exit 1
}
wait_for_more 'Reloading in progress' "$before"
for turn in 1 2; do
    turns=$(grep -c 'error log file re-opened' "$log")
    kill -USR1 "$(cat /run/php/php*-fpm.pid)"
    wait_for_more 'error log file re-opened' "$turns"
done
touch /srv/flus.fr/shared/data/slow-may-end
"#;

/// PHP began the answer before the settings of PHP change, and ends it after the reload.
fn a_reload_cuts_no_request(os: &str) {
    let rufus = copy("rufus", os);
    let mut curl = ask_for_slow_page(&rufus);
    let mut answer = BufReader::new(curl.stdout.take().unwrap());
    let mut begin = String::new();
    answer.read_line(&mut begin).unwrap();
    assert_eq!(begin, "flus.fr begins\n");

    let before = rufus.shell(RELOADS);
    let end_the_answer = format!("before={before}\n{END_THE_ANSWER}");
    let (code, said) = std::thread::scope(|scope| {
        let ended = scope.spawn(|| rufus.infra(&["lab", "ssh", "rufus", &end_the_answer]).status);
        let (code, said) = rufus.apply(&["--set", "php-fpm.memory_limit=130M"]);
        assert!(ended.join().unwrap().success(), "PHP-FPM was not reloaded:\n{said}");
        (code, said)
    });
    assert_eq!(code, 0, "{said}");
    assert_eq!(lines(&said, "  reloaded").len(), 1, "{said}");
    let mut rest = String::new();
    answer.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.trim(), "flus.fr took its time");
    assert!(curl.wait().unwrap().success());
    rufus.converge(&[]);
}

/// Asks for a page whose answer can be read from its beginning while the rest is not there yet.
fn ask_for_slow_page(rufus: &LabServer) -> Child {
    Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--no-buffer", "--max-time", "600"])
        .arg("--resolve")
        .arg(format!("flus.fr:443:{}", rufus.address()))
        .arg("https://flus.fr/slow")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
