//! The role `php-app`: plugins come with the code, never below what the application may write.

use std::process::Command;

/// How `infra render rufus` ends with a value for flus.io, and what it says.
fn render(value: &str) -> (Option<i32>, String) {
    let set = format!("php-app.apps.\"flus.io\"={value}");
    let done = Command::new(env!("CARGO_BIN_EXE_infra"))
        .args(["render", "rufus", "--lab", "--set", &set])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_release_is_the_code_with_its_plugins() {
    let (code, said) = render(
        "{plugins: {extensions/xExtension-Flus: {ref: v7}}, php_config: {data/x.php: {a: 1}}}",
    );
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "path: /srv/flus.io/releases/v1+extensions-xExtension-Flus-v7/extensions/xExtension-Flus\n",
        "target: releases/v1+extensions-xExtension-Flus-v7\n",
        "target: releases/v1\n",
        "name: values of flus.io in data/x.php\n",
        "MERGE_VALUES: '{\"a\":1}'\n",
        "MERGE_VALUES: (secret)\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// Root would clone into a folder of the application.
#[test]
fn a_plugin_below_a_shared_folder_is_refused() {
    for value in [
        "{shared: {directories: {extensions: {}}}}",
        "{plugins: {data/a/b: {repository: /srv/standin/freshrss.git, ref: v1}}}",
    ] {
        let (code, said) = render(value);
        assert_eq!(code, Some(1), "{value}: {said}");
        assert!(said.contains("both write `/srv/flus.io/releases/v1+"), "{value}: {said}");
    }
}
