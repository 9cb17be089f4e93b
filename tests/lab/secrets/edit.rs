//! `infra secrets edit`, with editors that are scripts.

use super::Project;

crate::tests! {
    an_edit_is_encrypted_and_no_change_leaves_the_bytes,
    an_edit_begins_a_file_and_takes_an_editor_with_arguments,
    vim_keeps_no_copy,
    a_text_that_is_not_yaml_is_opened_again,
    without_a_terminal_a_refused_edit_is_kept_encrypted,
    changes_of_two_at_other_keys_are_both_kept,
    comments_of_two_are_both_kept,
    changes_of_two_at_the_same_key_are_shown_in_the_editor,
    without_a_terminal_neither_change_is_lost,
    an_edit_that_cannot_be_saved_can_be_mended,
    a_failing_editor_changes_nothing,
}

const TEXT: &str = "# mail\npassword: old # here\nother: 1\n";

fn an_edit_is_encrypted_and_no_change_leaves_the_bytes() {
    let project = Project::with(TEXT);
    // It sees a file of its own in memory, that nobody else may read.
    project.editor(
        "stat -c '%a %n' \"$(dirname \"$1\")\" \"$1\" > seen; echo \"$TMPDIR\" >> seen\n\
         sed -i s/old/new/ \"$1\"",
    );
    let said = project.secrets(&["edit"], "");
    assert_eq!((said.code, said.err.as_str()), (0, "wrote `secrets/all.yaml.age`\n"));
    assert_eq!(project.opened("all"), TEXT.replace("old", "new"));
    let seen = project.read("seen");
    let lines: Vec<&str> = seen.lines().collect();
    let folder = lines[2];
    assert!(folder.starts_with("/dev/shm/infra-secrets-"), "{seen}");
    assert_eq!(lines[0], format!("700 {folder}"));
    assert_eq!(lines[1], format!("600 {folder}/all.yaml"));
    assert!(!std::path::Path::new(folder).exists());

    let before = project.read("secrets/all.yaml.age");
    project.editor("true");
    let said = project.secrets(&["edit"], "");
    assert_eq!((said.code, said.err.as_str()), (0, "no change in `secrets/all.yaml.age`\n"));
    assert_eq!(project.read("secrets/all.yaml.age"), before);
}

fn an_edit_begins_a_file_and_takes_an_editor_with_arguments() {
    let project = Project::new();
    project.editor("test \"$1\" = --wait && echo 'token: abc' > \"$2\"");
    let editor = format!("'{}' --wait", project.path("editor").display());
    let mut command = project.command(env!("CARGO_BIN_EXE_infra"));
    let said = super::say(command.args(["secrets", "edit", "web"]).env("VISUAL", editor), "");
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(project.opened("web"), "token: abc\n");
}

fn vim_keeps_no_copy() {
    // Also where something else starts it.
    for editor in ["vim", "'env vim'"] {
        let project = Project::with(TEXT);
        let settings = "set undofile undodir=. backup backupdir=. directory=. \
                        viminfo='100,n./viminfo\nnnoremap Q :%s/old/canary-vim/<CR>\n";
        project.write(".vimrc", settings);
        let line = format!("EDITOR={editor} infra secrets edit");
        let typed = "Qyy:!ls -A \"$TMPDIR\" > seen\r\r:wq\r";
        let said = project.terminal(&line, typed);
        assert_eq!(said.code, 0, "{}", said.out);
        assert_eq!(project.opened("all"), TEXT.replace("old", "canary-vim"));
        assert!(!project.read("seen").contains(".swp"), "{editor}: {}", project.read("seen"));
        let mut left: Vec<String> = std::fs::read_dir(project.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, [".vimrc", "inventory", "key", "secrets", "seen"], "{editor}");
    }
}

fn a_text_that_is_not_yaml_is_opened_again() {
    let project = Project::with(TEXT);
    project.editor(
        "if test -e once; then grep -q 'a: \\[1' \"$1\"; echo 'a: [1]' > \"$1\"\n\
         else touch once; echo 'a: [1' > \"$1\"; fi",
    );
    let said = project.terminal("infra secrets edit", "\n");
    assert_eq!(said.code, 0, "{}", said.out);
    let shown = said.out.replace('\r', "");
    assert!(shown.contains(" --> secrets/all.yaml.age:1:"), "{shown}");
    assert!(shown.contains("1 | a: [1\n"), "{shown}");
    assert!(shown.contains("Enter opens the editor again"), "{shown}");
    assert_eq!(project.opened("all"), "a: [1]\n");
    // A list at the top has no names.
    project.editor("echo '- a' > \"$1\"");
    let said = project.terminal("infra secrets edit", "q\n");
    let shown = said.out.replace('\r', "");
    assert!(shown.contains("error: the file is a list, and must be a map of names\n"), "{shown}");
    assert!(shown.contains("error: given up: nothing was changed\n"), "{shown}");
    assert_eq!((said.code, project.opened("all")), (130, "a: [1]\n".to_owned()));
}

fn without_a_terminal_a_refused_edit_is_kept_encrypted() {
    let project = Project::with(TEXT);
    project.editor("echo 'a: [canary' > \"$1\"");
    let said = project.secrets(&["edit"], "");
    assert_eq!(
        said.err,
        "error: cannot save the edit of `secrets/all.yaml.age`\n\
         caused by: line 1 is not YAML\n\
         hint: your edit is in `secrets/all.edited.yaml.age`\n"
    );
    assert_eq!((said.code, project.opened("all")), (1, TEXT.to_owned()));
    assert_eq!(project.opened("all.edited"), "a: [canary\n");
}

fn changes_of_two_at_other_keys_are_both_kept() {
    let project = Project::with(TEXT);
    project.editor("echo 2 | infra secrets set other 2> /dev/null; sed -i s/old/new/ \"$1\"");
    let said = project.secrets(&["edit"], "");
    assert_eq!(
        said.err,
        "`secrets/all.yaml.age` was changed while you edited it, at other keys\n\
         wrote `secrets/all.yaml.age`\n"
    );
    assert_eq!(project.opened("all"), "# mail\npassword: new # here\nother: \"2\"\n");
}

/// Comments are changes as well.
fn comments_of_two_are_both_kept() {
    let project = Project::with(TEXT);
    project.editor(
        "if test -e once; then sed -i 's/^other: 1/other: 1 # theirs/' \"$1\"\n\
         else touch once; infra secrets edit 2> /dev/null; sed -i 's/^# mail/# post/' \"$1\"; fi",
    );
    let said = project.secrets(&["edit"], "");
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(project.opened("all"), "# post\npassword: old # here\nother: 1 # theirs\n");
}

/// Somebody else sets the same secret while the editor is open for the first time.
const RACE: &str = "if test -e once; then cat \"$1\" > seen\n\
                    else touch once; printf theirs | infra secrets set password 2> /dev/null\n\
                    sed -i s/old/mine/ \"$1\"; fi";

fn changes_of_two_at_the_same_key_are_shown_in_the_editor() {
    let project = Project::with(TEXT);
    project.editor(RACE);
    let said = project.terminal("infra secrets edit", "\n");
    assert_eq!(said.code, 0, "{}", said.out);
    assert!(said.out.contains("and both changed `password`"), "{}", said.out);
    assert_eq!(
        project.read("seen"),
        format!(
            "#! somebody else has other values here. These lines go when you save.\n\
             #! password: theirs\n{}",
            TEXT.replace("old", "mine")
        )
    );
    assert_eq!(project.opened("all"), TEXT.replace("old", "mine"));
}

fn without_a_terminal_neither_change_is_lost() {
    let project = Project::with(TEXT);
    project.editor(RACE);
    let said = project.secrets(&["edit"], "");
    assert_eq!(
        said.err,
        "`secrets/all.yaml.age` was changed while you edited it, and both changed `password`\n\
         error: cannot save the edit of `secrets/all.yaml.age`\n\
         caused by: somebody else has changed `password` as well\n\
         hint: your edit is in `secrets/all.edited.yaml.age`\n"
    );
    assert_eq!(project.opened("all"), TEXT.replace("old", "theirs"));
    assert_eq!(project.opened("all.edited"), TEXT.replace("old", "mine"));
}

fn an_edit_that_cannot_be_saved_can_be_mended() {
    let project = Project::with(TEXT);
    // The list of recipients breaks while the editor is open, and is mended the second time.
    project.editor(
        "if test -e list; then mv list secrets/recipients.yaml; else\n\
         mv secrets/recipients.yaml list; echo 'recipients: 1' > secrets/recipients.yaml\n\
         sed -i s/old/new/ \"$1\"; fi",
    );
    let said = project.terminal("infra secrets edit", "\n");
    let shown = said.out.replace('\r', "");
    assert!(shown.contains("error: cannot use `secrets/recipients.yaml`\n"), "{shown}");
    assert_eq!((said.code, project.opened("all")), (0, TEXT.replace("old", "new")));
    // The same for what is no text at all.
    project.editor("printf 'a: \\377' > \"$1\"");
    let said = project.terminal("infra secrets edit", "q\n");
    assert!(said.out.contains("error: not UTF-8 from byte 3 on"), "{}", said.out);
    assert_eq!(project.opened("all"), TEXT.replace("old", "new"));
}

fn a_failing_editor_changes_nothing() {
    let project = Project::with(TEXT);
    for (editor, error) in [
        (
            "false",
            "the editor `false` failed\ncaused by: exit status: 1\nhint: nothing was changed",
        ),
        (
            "no-such-editor",
            "the editor `no-such-editor` failed\n\
             caused by: No such file or directory (os error 2)\n\
             hint: name another one in the environment: `EDITOR=vim`",
        ),
        (
            "vim",
            "the editor `vim` needs a terminal\n\
             caused by: the standard input is no terminal\n\
             hint: `infra secrets set NAME` takes a value from its input",
        ),
        ("vim '", "cannot use `EDITOR`\ncaused by: a quote is not closed"),
    ] {
        let mut command = project.command(env!("CARGO_BIN_EXE_infra"));
        let said = super::say(command.args(["secrets", "edit"]).env("EDITOR", editor), "");
        assert_eq!(said.err, format!("error: {error}\n"));
    }
    assert_eq!(project.opened("all"), TEXT);
}
