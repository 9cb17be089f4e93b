//! Which servers a command is about.

use super::{ALL, Inventory, Server};
use crate::diagnostic::{Diagnostic, Diagnostics};

impl Inventory {
    /// The names of the servers that `targets` stand for: names of servers, groups (with or without
    /// `@`), patterns with `*` and `?`, or `all`. They are in the order of the targets, which is
    /// that of `apply --serial`; those of one target are sorted.
    ///
    /// # Errors
    /// Every target that stands for nothing.
    pub fn select(&self, targets: &[String]) -> Result<Vec<String>, Diagnostics> {
        let mut selected: Vec<String> = Vec::new();
        let mut mistakes = Diagnostics::new();
        for target in targets {
            let found = self.matching(target);
            if found.is_empty() {
                mistakes.push(self.unknown(target));
            }
            for name in found {
                if !selected.contains(&name) {
                    selected.push(name);
                }
            }
        }
        if mistakes.is_empty() {
            let servers = selected.iter().filter_map(|name| self.servers.get(name));
            let servers: Vec<&Server> = servers.collect();
            self.check_sets(&servers, "none of these servers has", &mut mistakes);
        }
        mistakes.into_result(selected)
    }

    fn matching(&self, target: &str) -> Vec<String> {
        if target.strip_prefix('@').unwrap_or(target) == ALL {
            let real = self.servers.values().filter(|server| !server.is_of_lab);
            return real.map(|server| server.name.clone()).collect();
        }
        if let Some(group) = target.strip_prefix('@') {
            return self.groups.get(group).map(|group| group.servers.clone()).unwrap_or_default();
        }
        if self.servers.contains_key(target) {
            return vec![target.to_owned()];
        }
        if target.contains(['*', '?']) {
            let names = self.servers.keys().filter(|name| glob(target, name));
            return names.cloned().collect();
        }
        self.groups.get(target).map(|group| group.servers.clone()).unwrap_or_default()
    }

    fn unknown(&self, target: &str) -> Diagnostic {
        let name = target.trim_start_matches('@');
        if self.servers.is_empty() {
            return Diagnostic::nowhere("no server is declared")
                .hint("`inventory/NAME.yaml` declares one");
        }
        if self.groups.contains_key(name) {
            return Diagnostic::nowhere(format!("no server lists the group `{name}`"));
        }
        let names = self.servers.keys().chain(self.groups.keys()).map(String::as_str);
        let mistake = Diagnostic::nowhere(format!("unknown target `{target}`"));
        let mistake = mistake.suggest(name, names);
        if mistake.hint.is_some() {
            return mistake;
        }
        mistake.hint("`infra inventory` lists servers and groups")
    }
}

/// Whether `name` has the form of `pattern`: `*` stands for any text, `?` for one character.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Which prefixes of the name the pattern read so far can stand for.
    let mut reach = vec![false; name.len() + 1];
    reach[0] = true;
    for symbol in pattern {
        let mut next = vec![false; name.len() + 1];
        for index in 0..=name.len() {
            next[index] = match symbol {
                '*' => reach[index] || index > 0 && next[index - 1],
                '?' => index > 0 && reach[index - 1],
                other => index > 0 && reach[index - 1] && name[index - 1] == other,
            };
        }
        reach = next;
    }
    reach[name.len()]
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn patterns() {
        for (pattern, name, matches) in [
            ("web*", "web-1", true),
            ("web*", "web", true),
            ("*.fr", "flus.fr", true),
            ("w?b", "web", true),
            ("w?b", "wb", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
        ] {
            assert_eq!(glob(pattern, name), matches, "{pattern} {name}");
        }
    }
}
