//! FreshRSS: another repository inside its code, and values in the configuration that it writes itself.

use crate::support::{LabServer, copy, lines};

crate::tests! {
    ; on one release:
    a_plugin_is_switched_with_the_code_around_it = 45,
    links_of_a_repository_lead_no_plugin_elsewhere = 30,
    values_reach_a_configuration_that_the_application_writes = 45,
    a_configuration_that_cannot_be_kept_is_refused = 20,
}

const PLUGIN: &str = "php-app.apps.\"flus.io\".plugins.\"extensions/xExtension-Flus\"";

/// The release that is served is never changed in place, and a plugin that cannot be had changes nothing.
fn a_plugin_is_switched_with_the_code_around_it(os: &str) {
    let rufus = copy("rufus", os);
    let served = "readlink /srv/flus.io/current";
    assert_eq!(rufus.shell(served), "releases/v1+extensions-xExtension-Flus-v1.2.1");
    rufus.run("git -C /srv/standin/xExtension-Flus.git tag v1-again v1.2.1");
    let (code, said) = rufus.apply(&["--set", &format!("{PLUGIN}.ref=never")]);
    assert_eq!(code, 3, "{said}");
    assert_eq!(rufus.shell(served), "releases/v1+extensions-xExtension-Flus-v1.2.1");

    let again = format!("{PLUGIN}.ref=v1-again");
    let said = rufus.converge(&["--set", &again]);
    assert_eq!(rufus.shell(served), "releases/v1+extensions-xExtension-Flus-v1-again");
    let reloads = lines(&said, "  reloaded");
    assert!(reloads.iter().any(|line| line.contains("-fpm")), "{said}");
    rufus.has_nothing_to_do(&["--set", &again]);
    let plugin = "/srv/flus.io/current/extensions/xExtension-Flus";
    assert_eq!(rufus.shell(&format!("find -L {plugin} ! -user root; ls -d {plugin}")), plugin);
    assert!(rufus.page("flus.io", "/i/").contains("FreshRSS v1"));
}

/// A release with a link to root's folder, where the plugin or a folder above it should be.
const LINKS: &str = r#"
git clone -q /srv/standin/freshrss.git /srv/links && cd /srv/links
git config user.name x && git config user.email x@example.org
for link in extensions extensions/xExtension-Flus; do
    git checkout -q v1 && git rm -rq --ignore-unmatch extensions
    rm -rf extensions && mkdir -p "$(dirname "$link")" && ln -s /root "$link"
    git add -A && git commit -q -m link && git tag "link-$(basename "$link")"
done
git push -q origin --tags
"#;

fn links_of_a_repository_lead_no_plugin_elsewhere(os: &str) {
    let rufus = copy("rufus", os);
    rufus.run(LINKS);
    let of_root = rufus.shell("ls -A /root");
    for (tag, complaint) in [
        ("link-extensions", "extensions` is a symlink, not a directory"),
        ("link-xExtension-Flus", "xExtension-Flus` is a symlink, not a work tree"),
    ] {
        let set = format!("php-app.apps.\"flus.io\".ref={tag}");
        let (code, said) = rufus.apply(&["--set", &set]);
        assert_eq!(code, 3, "{said}");
        assert!(said.contains(complaint), "{tag}: {said}");
    }
    assert_eq!(rufus.shell("ls -A /root"), of_root);
}

const CONFIG: &str = "/srv/flus.io/shared/data/config.php";

/// An expression of PHP, printed by the application's account; `$c` is its configuration.
fn of_config(rufus: &LabServer, expression: &str) -> String {
    rufus.shell(&format!(
        "cd / && runuser -u flus-io -- php -r '$c = require \"{CONFIG}\"; echo json_encode({expression});'"
    ))
}

/// They come with the first apply, stay when the application saves its configuration, and come
/// again when somebody changes them. All else is the application's.
fn values_reach_a_configuration_that_the_application_writes(os: &str) {
    let rufus = copy("rufus", os);
    let key = rufus.shell("sed -n 's/^APP_FLUS_PRIVATE_KEY=//p' /srv/flus.fr/shared/.env");
    let wanted = format!("[\"{}\",true,587]", key.trim_matches(['\'', '"']));
    let found = "[$c[\"billing\"][\"flus_private_key\"], $c[\"extensions_enabled\"][\"Flus\"], $c[\"smtp\"][\"port\"]]";
    assert_eq!(of_config(&rufus, found), wanted);
    let kept = of_config(&rufus, "[$c[\"salt\"], $c[\"db\"]]");
    assert!(!kept.contains("null"), "{kept}");

    rufus.run(
        "cd /srv/flus.io/current && runuser -u flus-io -- php cli/reconfigure.php --title=Mine",
    );
    rufus.has_nothing_to_do(&[]);
    let attributes = rufus.shell(&format!("stat -c '%U %a' {CONFIG}"));
    rufus.run(&format!("sed -i 's/{key}/stolen/; s/587/25/' {CONFIG} && chown flus-io: {CONFIG}"));
    let said = rufus.converge(&[]);
    let changed = ["rufus  command:values of flus.io in data/config.php  changed"];
    assert_eq!(lines(&said, "  changed"), changed, "{said}");
    assert_eq!(lines(&said, "  reloaded").len(), 1, "{said}");
    assert!(!said.contains("stolen") && !said.contains(&key), "{said}");
    assert_eq!(of_config(&rufus, found), wanted);
    assert_eq!(of_config(&rufus, "[$c[\"salt\"], $c[\"db\"]]"), kept);
    assert_eq!(of_config(&rufus, "$c[\"title\"]"), "\"Mine\"");
    assert_eq!(rufus.shell(&format!("stat -c '%U %a' {CONFIG}")), attributes);
}

/// Nothing of these files is lost or shown.
fn a_configuration_that_cannot_be_kept_is_refused(os: &str) {
    let rufus = copy("rufus", os);
    let merge = |action: &str, values: &str| {
        rufus.shell(&format!(
            "cd / && runuser -u flus-io -- env MERGE_VALUES='{values}' \
             php /usr/local/lib/php-app/merge-php-config.php {action} {CONFIG} 2>&1; echo $?"
        ))
    };
    for (content, complaint) in [
        ("<?php return 5;", "returns no array"),
        ("hunter2", "prints something instead of only returning an array"),
        ("<?php exit(0);", "the file ended the program instead of returning an array"),
        ("<?php throw new Exception(\"hunter2\");", "cannot be read as PHP: Exception in line 1"),
        ("<?php return [hunter2", "cannot be read as PHP: ParseError in line 1"),
        ("<?php return [new stdClass];", "holds something that cannot be written back"),
    ] {
        rufus.run(&format!("printf %s '{content}' >{CONFIG}"));
        for action in ["check", "run"] {
            let said = merge(action, "{\"a\": 1}");
            assert!(said.contains(complaint) && said.ends_with("\n2"), "{content}: {said}");
            assert!(!said.contains("hunter2"), "{content}: {said}");
        }
        assert_eq!(rufus.shell(&format!("cat {CONFIG}")), content);
    }
    rufus.run(&format!("rm {CONFIG}"));
    assert!(merge("run", "{\"a\": 1}").contains("is not there"));

    rufus.run(&format!("printf %s '<?php return [\"a\" => [\"b\" => 1, \"c\" => [1, 2]]];' >{CONFIG} && chown flus-io: {CONFIG}"));
    let values = "{\"a\": {\"c\": [3], \"d\": {}}, \"e\": null}";
    assert_eq!(merge("check", values), "1");
    assert_eq!(merge("run", values), "0");
    assert_eq!(merge("check", values), "0");
    assert_eq!(of_config(&rufus, "$c"), "{\"a\":{\"b\":1,\"c\":[3],\"d\":[]},\"e\":null}");
}
