//! How plans are shown.

use super::Project;

#[test]
fn a_plan_for_a_merge_request() {
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
