//! Mistakes in the arguments: clap's words, and infra's own for the options of other tools.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, builder::StyledStr};

use crate::error::Error;

/// Options of Ansible and Terraform that people try, each with the way that infra has.
const OF_OTHER_TOOLS: [(&[&str], &str); 17] = [
    (&["--limit", "-l", "--target"], "name the servers and roles: `infra diff web1 --only nginx`"),
    (&["--tags", "-t"], "name the roles: `infra apply web1 --only nginx`"),
    (&["--skip-tags"], "name the roles: `infra apply web1 --skip nginx`"),
    (
        &["--check", "-C", "--diff", "-D", "--dry-run"],
        "`infra diff web1` shows what `apply` would change",
    ),
    (&["--extra-vars", "-e", "--var"], "`--set nginx.port=8080` gives a parameter of a role"),
    (&["--inventory", "-i"], "`--project FOLDER` names the folder that holds `inventory/`"),
    (&["--forks", "-f"], "servers are worked on all at once, or `--serial N` at a time"),
    (&["--auto-approve", "-auto-approve"], "`--yes` asks nothing"),
    (
        &["--become", "-b", "--ask-become-pass", "-K"],
        "`ssh: { user: deploy }` in the file of a server: what is not root's login uses sudo",
    ),
    (&["--user", "-u"], "`ssh: { user: deploy }` in the file of a server says who logs in"),
    (
        &["--ask-vault-pass", "-J", "--vault-password-file"],
        "secrets are opened by the identity of `infra secrets keygen`; `--identity FILE` names it",
    ),
    (
        &["--start-at-task", "--step"],
        "apply again: what is done already is left, and `--only nginx` names a role",
    ),
    (&["--list-hosts"], "`infra inventory` lists the servers"),
    (&["--list-tasks"], "`infra render web1` prints the resources of a server"),
    (&["--syntax-check"], "`infra check` compiles everything, without a connection"),
    (&["--ask-pass", "-k"], "ssh logs in with keys: `ssh-copy-id root@web1` brings one"),
    (&["--private-key"], "`--ssh-identity FILE` names the key to log in with"),
];

/// The error for an option that another tool has; `None` for any other mistake.
pub(crate) fn of_another_tool(error: &clap::Error) -> Option<Error> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let known = OF_OTHER_TOOLS.iter().find(|(options, _)| options.contains(&option.as_str()));
    known.map(|(_, hint)| Error::input(format!("there is no `{option}`")).hint(*hint))
}

/// The mistake without the options that the environment has given: clap counts them among those that the
/// user wrote, and would have them repeated.
pub(crate) fn without_environment(mut error: clap::Error, command: &Command) -> clap::Error {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return error };
    let given = of_environment(command);
    let shorter = given.iter().fold(usage.to_string(), |usage, option| {
        usage.lines().map(|line| line.replace(option, "")).collect::<Vec<_>>().join("\n")
    });
    error.insert(ContextKind::Usage, ContextValue::StyledStr(StyledStr::from(shorter)));
    error
}

/// The options of a command and of those below that a variable gives, as a usage shows them.
fn of_environment(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter(|argument| argument.get_env().is_some());
    let own = own.filter_map(|argument| {
        let value = argument.get_value_names()?.first()?;
        Some(format!("--{} <{value}> ", argument.get_long()?))
    });
    own.chain(command.get_subcommands().flat_map(of_environment)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let folder = clap::Arg::new("folder").long("lab-dir").value_name("FOLDER").env("PATH");
        let up =
            Command::new("up").arg(clap::Arg::new("server").required(true).value_name("SERVER"));
        Command::new("infra")
            .subcommand(Command::new("lab").arg(folder.global(true)).subcommand(up))
    }

    #[test]
    fn a_usage_is_without_what_the_environment_gives() {
        let error = command().try_get_matches_from(["infra", "lab", "up"]).unwrap_err();
        assert!(
            error.to_string().contains("Usage: infra lab up --lab-dir <FOLDER> <SERVER>"),
            "{error}"
        );
        let error = without_environment(error, &command()).to_string();
        assert!(error.contains("Usage: infra lab up <SERVER>\n"), "{error}");
    }

    #[test]
    fn options_of_other_tools_are_answered() {
        let error = command().try_get_matches_from(["infra", "--limit", "x"]).unwrap_err();
        let told = of_another_tool(&error).unwrap();
        assert_eq!(
            told.to_string(),
            "there is no `--limit`\nhint: name the servers and roles: `infra diff web1 --only nginx`"
        );
        for (option, hint) in [
            ("--dry-run", "`infra diff web1` shows what `apply` would change"),
            (
                "--start-at-task=x",
                "apply again: what is done already is left, and `--only nginx` names a role",
            ),
            (
                "--step",
                "apply again: what is done already is left, and `--only nginx` names a role",
            ),
            ("--list-hosts", "`infra inventory` lists the servers"),
            ("--list-tasks", "`infra render web1` prints the resources of a server"),
            ("--syntax-check", "`infra check` compiles everything, without a connection"),
            ("-k", "ssh logs in with keys: `ssh-copy-id root@web1` brings one"),
            ("--private-key", "`--ssh-identity FILE` names the key to log in with"),
        ] {
            let error = command().try_get_matches_from(["infra", option]).unwrap_err();
            let name = option.split('=').next().unwrap();
            let told = of_another_tool(&error).unwrap().to_string();
            assert_eq!(told, format!("there is no `{name}`\nhint: {hint}"));
        }
        let error = command().try_get_matches_from(["infra", "--limti"]).unwrap_err();
        assert!(of_another_tool(&error).is_none());
        let error = command().try_get_matches_from(["infra", "lab", "up"]).unwrap_err();
        assert!(of_another_tool(&error).is_none());
    }
}
