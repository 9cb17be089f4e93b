//! Large contents: what a run shows of them.

use super::Project;
use crate::sshd::Setup;

crate::tests! {
    a_long_content_is_shown_by_size_and_hash = 2,
}

fn a_long_content_is_shown_by_size_and_hash() {
    let project = Project::with(&Setup {
        before: Some(
            "mkdir -p /var/lib/demo; [ -e /var/lib/made ] || \
             { yes | head -c 20971520 >/var/lib/demo/motd; touch /var/lib/made; }",
        ),
        ..Setup::default()
    });
    let change = "content: 20971520 bytes, sha256 1efa4c166d1c → 16 bytes, sha256 a21864dc0479\n";
    let (code, plan, _) = project.infra(&["diff", "rufus"]);
    assert!(plan.contains(change), "{plan}");
    assert_eq!(code, 2);
    let (code, done, error) = project.infra(&["apply", "rufus", "--yes"]);
    assert_eq!(code, 0, "{done}{error}");
    let (code, plan, _) = project.infra(&["diff", "rufus"]);
    assert_eq!((code, plan.as_str()), (0, "rufus  3 resources: 3 ok\n"));
}
