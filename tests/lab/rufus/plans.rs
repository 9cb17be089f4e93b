//! Plans in files.

use crate::support::{copy, lines, text};

crate::tests! {
    ; on one release: a_saved_plan_is_applied_once_and_only_where_nothing_has_changed = 30,
}

/// The plan is applied as it is. A changed mode, another machine and another run since each make it
/// void.
fn a_saved_plan_is_applied_once_and_only_where_nothing_has_changed(os: &str) {
    let rufus = copy("rufus", os);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan");
    let file = file.to_str().unwrap();
    let set = "nginx.worker_connections=4096";
    let plan = rufus.infra(&["diff", "rufus", "--lab", "--set", set, "--out", file]);
    assert_eq!(plan.status.code(), Some(2), "{}", text(&plan.stderr));
    let apply = || rufus.lab.say(&["apply", "--plan", file, "--lab", "--yes"]);
    rufus.run("chmod 0600 /etc/nginx/nginx.conf");
    let (code, said) = apply();
    assert_eq!(code, 3, "{said}");
    let cause = "caused by: `file:/etc/nginx/nginx.conf` is not as it was\n";
    assert!(said.contains(cause), "{said}");
    rufus.run("chmod 0644 /etc/nginx/nginx.conf");
    rufus.run("cp -p /etc/machine-id /root/machine-id; tr 0-9a-f a-f0-9 </etc/machine-id >/etc/machine-id");
    let (code, said) = apply();
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("caused by: this is another machine\n"), "{said}");
    rufus.run("cat /root/machine-id >/etc/machine-id; rm /root/machine-id");
    let (code, said) = apply();
    assert_eq!(code, 0, "{said}");
    assert_eq!(lines(&said, "  changed"), ["rufus  file:/etc/nginx/nginx.conf  changed"], "{said}");
    assert_eq!(lines(&said, "  reloaded"), ["rufus  service:nginx  reloaded"], "{said}");
    let (code, said) = apply();
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("caused by: there was another run since, by "), "{said}");
    rufus.converge(&[]);
}
