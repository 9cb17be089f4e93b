//! The things that commands are about, as far as their arguments tell.

use std::collections::BTreeSet;

use super::super::names::is_in;
use super::Prediction;
use crate::manifest::ResourceId;

impl Prediction<'_> {
    /// The command `id` will run with these arguments.
    pub fn command(&mut self, id: ResourceId, arguments: impl IntoIterator<Item = String>) {
        let names = arguments.into_iter().flat_map(|argument| names_in(&argument));
        self.commands.push((id, names.collect()));
    }
}

/// The names in an argument: words, also behind `--option=` and in `user:group`. Options and short words name
/// nothing that anybody declares.
fn names_in(argument: &str) -> Vec<String> {
    let is_between = |c: char| c.is_whitespace() || "=:,;|&<>()'\"`".contains(c);
    let words = argument.split(is_between).map(|word| word.trim_end_matches('/'));
    words.filter(|word| word.len() > 1 && !word.starts_with('-')).map(str::to_owned).collect()
}

/// Whether `name` is one of `names`, or as a path leads to or is below one of them.
pub(super) fn is_one_of(name: &str, names: &BTreeSet<String>) -> bool {
    names.contains(name)
        || name.starts_with('/')
            && names
                .iter()
                .filter(|other| other.starts_with('/'))
                .any(|other| is_in(name, other) || is_in(other, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_about_the_names_in_its_arguments() {
        for (argument, name, is_about) in [
            ("/var/www/", "/var/www", true),
            ("/var/www", "/var/www/site", true),
            ("/var/www/site", "/var/www", true),
            ("/var/www2", "/var/www", false),
            ("deploy:deploy", "deploy", true),
            ("--target=/srv/app", "/srv/app", true),
            ("mv /var/www '/srv/www'", "/srv/www", true),
            ("-R", "R", false),
            ("/", "/srv/app", false),
            ("deployment", "deploy", false),
        ] {
            let names = names_in(argument).into_iter().collect();
            assert_eq!(is_one_of(name, &names), is_about, "{argument} {name}");
        }
    }
}
