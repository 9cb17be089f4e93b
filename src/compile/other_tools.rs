//! Words of other tools in roles, and what infra has for them.

use crate::resources::KINDS;

/// Keys of Ansible's tasks, each with the way that infra has.
const KEYS: [(&[&str], &str); 18] = [
    (
        &["notify", "handlers", "listen"],
        "`reload: nginx` or `restart: nginx` beside the kind tells a service",
    ),
    (
        &["loop", "loop_control", "with_items", "with_dict", "with_fileglob"],
        "`for_each: \"{{ names }}\"` repeats a resource, with `item`",
    ),
    (
        &["register"],
        "a `command` says with `unless`, `only_if` or `creates` when it has nothing to do",
    ),
    (&["name"], "a resource has no title: write a comment"),
    (&["tags"], "`--only` and `--skip` name roles and resources"),
    (
        &["become", "become_user", "remote_user"],
        "all is done as root; `command` and `git` have a `user`",
    ),
    (&["block"], "`resources:` in a resource holds others, with one `when` or `for_each` for all"),
    (&["vars"], "`let: { name: value }` gives names to values"),
    (
        &["ignore_errors", "failed_when", "rescue"],
        "`only_if` or `when` says where a resource is not wanted",
    ),
    (
        &["changed_when"],
        "`unless`, `only_if` or `creates` of a `command` says when it has nothing to do",
    ),
    (&["delegate_to", "run_once"], "give the role to the server that it is about"),
    (
        &["include_role", "import_role", "include_tasks", "import_tasks"],
        "list the role in the inventory, or a `for_each` here",
    ),
    (
        &["until", "retries", "delay"],
        "`http_check` and `port_check` wait `within_seconds` for an answer",
    ),
    (&["environment"], "a `command` has variables of its environment in `env`"),
    (&["no_log"], "the values of secrets are masked in every output"),
    (&["check_mode"], "`infra diff` shows what would change, and changes nothing"),
    (&["args"], "fields stand below the kind: `command: { run: make, cwd: /srv/app }`"),
    (&["async", "poll"], "`timeout_seconds` of a `command` says how long its program may run"),
];

/// Modules of Ansible, each with the kind that infra has.
const MODULES: [(&[&str], &str); 17] = [
    (&["apt", "dpkg", "pip"], "`package: nginx` installs a package of Debian"),
    (&["copy", "template"], "`file` takes `content`, `source` or `template`"),
    (&["lineinfile", "replace"], "`line` holds a line of a file"),
    (&["blockinfile"], "`line` holds a line of a file, `file` the whole"),
    (&["shell", "raw", "script"], "`command: { run: [sh, -c, \"…\"] }` runs a shell"),
    (
        &["systemd", "systemd_service", "sysvinit"],
        "`service` runs a unit, `systemd_unit` writes one",
    ),
    (&["get_url", "unarchive"], "`archive` fetches and unpacks"),
    (&["apt_key"], "`apt_repository` has the key of its packages in `signed_by`"),
    (&["ufw", "iptables"], "`firewall` holds all rules of a server"),
    (&["uri", "wait_for"], "`http_check` and `port_check` wait for an answer"),
    (&["postgresql_user"], "`postgresql_role` holds a role of PostgreSQL"),
    (
        &["docker_container", "docker_compose_v2"],
        "`docker_compose` holds the services of a Compose file",
    ),
    (
        &["filesystem", "parted"],
        "`volume` holds the file system of a device and where it is mounted",
    ),
    (&["assert", "fail", "set_fact"], "`assert` and `let` stand at the top of a role"),
    (&["stat"], "a `command` says with `creates`, `unless` or `only_if` when it has nothing to do"),
    (&["debug"], "`infra render SERVER` prints what is made of the roles"),
    (&["meta"], "`reload` and `restart` tell a service at the end of the role"),
];

/// The message and the hint for a key of a resource that Ansible has.
pub(super) fn key(key: &str) -> Option<(String, String)> {
    let name = key.rsplit('.').next().unwrap_or(key);
    // Such as `ansible.builtin.file`.
    if name != key && KINDS.contains(&name) {
        return Some((format!("there is no kind `{key}`"), format!("did you mean `{name}`?")));
    }
    let find = |table: &[(&[&str], &'static str)]| {
        table.iter().find(|(names, _)| names.contains(&name)).map(|(_, hint)| (*hint).to_owned())
    };
    if let Some(hint) = find(&KEYS) {
        return Some((format!("`{name}` is no key of a resource"), hint));
    }
    find(&MODULES).map(|hint| (format!("there is no kind `{name}`"), hint))
}
