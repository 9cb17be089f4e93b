//! How plans are shown.

use super::{Project, write};

crate::tests! {
    a_plan_in_markdown_fits_a_merge_request,
    content_that_is_no_text_is_shown_by_size_and_hash,
    a_reboot_that_is_needed_is_told,
    packages_that_apt_removes_beside_others_are_told,
}

fn a_plan_in_markdown_fits_a_merge_request() {
    let project = Project::new();
    project.infra(&["apply", "rufus", "--yes"]);
    let (code, text, _) =
        project.infra(&["diff", "rufus", "--set", "demo.greeting=bye", "--output", "markdown"]);
    assert_eq!(
        text,
        "\
### infra: 1 change on 1 of 1 server

| server | create | change | remove | drift | reload, restart |  |
| --- | --- | --- | --- | --- | --- | --- |
| rufus |  | 1 |  |  |  |  |

<details><summary><b>rufus</b>: 1 to change</summary>

```diff
~ file:/var/lib/demo/motd  change
    content: 3 lines
@@ -1 +1 @@
 one
-hello
+bye
 three
```

</details>
"
    );
    assert_eq!(code, 2);
    let (code, _, error) = project.infra(&["apply", "rufus", "--yes", "--output", "markdown"]);
    assert_eq!(
        error,
        "error: only `infra diff` and `infra status` write markdown\n\
         hint: `--output json` is for programs\n"
    );
    assert_eq!(code, 1);
}

fn content_that_is_no_text_is_shown_by_size_and_hash() {
    let project = Project::new();
    let role = "description: a picture\nresources:\n  \
                - file: { path: /var/lib/picture, source: picture }\n";
    write(&project.folder.join("roles/demo/role.yaml"), role);
    let picture = project.folder.join("roles/demo/files/picture");
    std::fs::create_dir(picture.parent().unwrap()).unwrap();
    std::fs::write(&picture, b"\0old").unwrap();
    let (_, plan, _) = project.infra(&["diff", "rufus"]);
    assert!(plan.contains("           content: 4 bytes, sha256 "), "{plan}");
    assert_eq!(project.infra(&["apply", "rufus", "--yes"]).0, 0);
    std::fs::write(&picture, b"\0new!").unwrap();
    let (code, plan, _) = project.infra(&["diff", "rufus"]);
    assert_eq!(
        plan,
        "\
rufus  ~ file:/var/lib/picture  change
           content: 4 bytes, sha256 2a6013f83555 → 5 bytes, sha256 50a712cff2d1
rufus  1 resource: 0 ok, 1 to change
"
    );
    assert_eq!(code, 2);
}

fn a_reboot_that_is_needed_is_told() {
    let project = Project::new();
    let install = "release=$(uname -r); touch /boot/vmlinuz-$release /boot/vmlinuz-99.$release";
    project.infra(&["ssh", "rufus", "--", install]);
    let (_, plan, _) = project.infra(&["diff", "rufus"]);
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let line =
        format!("rufus  ! reboot needed: kernel {release} runs, 99.{release} is installed\n");
    assert!(plan.ends_with(&format!("{line}rufus  3 resources: 0 ok, 3 to create\n")), "{plan}");
    let (_, told, _) = project.infra(&["apply", "rufus", "--yes"]);
    assert_eq!(told.matches("reboot needed").count(), 1, "{told}");

    // One that an apply brings up is told by the apply.
    project.infra(&["ssh", "rufus", "--", "rm /boot/vmlinuz-99.*"]);
    let new = format!("/boot/vmlinuz-99.{release}");
    let role = format!(
        "description: a kernel\nresources:\n  - command: {{ run: [touch, {new}], creates: {new} }}\n"
    );
    write(&project.folder.join("roles/demo/role.yaml"), &role);
    let (_, told, _) = project.infra(&["apply", "rufus", "--yes"]);
    assert!(told.contains(&format!("removed\n{line}")), "{told}");
}

/// Answered by the apt of this machine, from a list of packages of our own.
fn packages_that_apt_removes_beside_others_are_told() {
    let project = Project::new();
    let package = |name: &str, depends: &str| {
        format!(
            "Package: {name}\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n\
             Maintainer: a\nDescription: a\n{depends}\n"
        )
    };
    let status = package("libfoo", "") + &package("foo-tools", "Depends: libfoo\n");
    let folders = "mkdir -p /var/lib/dpkg /var/lib/apt/lists";
    let line = format!("{folders}; echo '{status}' > /var/lib/dpkg/status");
    assert_eq!(project.infra(&["ssh", "rufus", "--", &line]).0, 0);
    let role = "description: away\nresources:\n  - package: { name: libfoo, state: absent }\n";
    write(&project.folder.join("roles/demo/role.yaml"), role);
    let (code, plan, _) = project.infra(&["diff", "rufus"]);
    assert_eq!(
        plan,
        "\
rufus  - package:libfoo  remove
rufus  - apt also removes what depends on those: foo-tools
rufus  1 resource: 0 ok, 1 to remove
"
    );
    assert_eq!(code, 2);
}
