//! The section `[Install]` of a unit, as systemd reads it: from the unit's file and its drop-ins.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::resources::Probe;

/// Where systemd looks for unit files; the first folder that has one wins.
const FOLDERS: [&str; 4] = [
    super::FOLDER,
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// The keys that make links in folders, with the ends of those folders' names.
const FOLDER_KEYS: [(&str, &str); 3] =
    [("WantedBy", "wants"), ("RequiredBy", "requires"), ("UpheldBy", "upholds")];

/// The first release of Debian whose systemd (254) knows `UpheldBy`.
const FIRST_WITH_UPHELD: u32 = 13;

/// The content of `[Install]`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Install {
    lists: BTreeMap<String, Vec<String>>,
    /// Whether the unit has a file of its own where one is looked for.
    has_file: bool,
}

impl Install {
    /// The `[Install]` of the unit `name`. `file` stands for the text of its own file where that is about
    /// to change.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn read(probe: &dyn Probe, name: &str, file: Option<&str>) -> Result<Self> {
        let mut install = Self::default();
        let names = [Some(name.to_owned()), template(name)];
        let names: Vec<&String> = names.iter().flatten().collect();
        let text = match file {
            Some(text) => Some(text.to_owned()),
            None => main_file(probe, &names)?,
        };
        install.has_file = text.is_some();
        install.add(&text.unwrap_or_default());
        for path in drop_ins(probe, &names)?.into_values() {
            let content = probe.read(&path)?.unwrap_or_default();
            install.add(&String::from_utf8_lossy(&content));
        }
        Ok(install)
    }

    /// Whether the unit has a file, beside drop-ins.
    pub(super) fn has_file(&self) -> bool {
        self.has_file
    }

    /// The word of systemd for a unit with this section to which no link leads.
    pub(super) fn state_without_links(&self, os: &str) -> &'static str {
        let has = |key: &str| !self.words(key).is_empty();
        if has("Alias") || folder_keys(os).any(|(key, _)| has(key)) {
            "disabled"
        } else if has("Also") {
            "indirect"
        } else {
            "static"
        }
    }

    /// The words of a list.
    pub(super) fn words(&self, key: &str) -> &[String] {
        self.lists.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// The links below `/etc/systemd/system` that enabling the unit makes for itself; `None` where
    /// a word holds what only systemd can fill in.
    pub(super) fn links(&self, name: &str, os: &str) -> Option<BTreeSet<String>> {
        let name = self.instance(name);
        let mut links = BTreeSet::new();
        for (key, end) in folder_keys(os) {
            for word in self.words(key) {
                links.insert(format!("{}.{end}/{name}", filled(word, &name)?));
            }
        }
        for word in self.words("Alias") {
            let alias = filled(word, &name)?;
            // A template's other name is one of all its instances.
            if alias.contains("@.") {
                return None;
            }
            links.insert(alias);
        }
        links.remove(&name);
        Some(links)
    }

    /// The unit that enabling `name` enables: of a template, its default instance.
    fn instance(&self, name: &str) -> String {
        let default = self.words("DefaultInstance").last();
        match default.filter(|_| super::is_template(name)) {
            Some(default) => name.replacen("@.", &format!("@{default}."), 1),
            None => name.to_owned(),
        }
    }

    /// Reads one file.
    fn add(&mut self, text: &str) {
        for (key, value) in entries(text, "[Install]") {
            let list = self.lists.entry(key).or_default();
            if value.is_empty() {
                list.clear();
            }
            let word = |word: &str| word.trim_matches(['"', '\'']).to_owned();
            list.extend(value.split_whitespace().map(word));
        }
    }
}

/// Those of [`FOLDER_KEYS`] that the systemd of a release knows.
fn folder_keys(os: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let release = os.strip_prefix("debian-").and_then(|release| release.parse::<u32>().ok());
    let knows_upheld = release.is_none_or(|release| release >= FIRST_WITH_UPHELD);
    FOLDER_KEYS.into_iter().filter(move |(key, _)| *key != "UpheldBy" || knows_upheld)
}

/// The keys and values of one section of a unit file, in their order.
fn entries(text: &str, section: &str) -> Vec<(String, String)> {
    let joined = text.replace("\r\n", "\n").replace("\\\n", " ");
    let mut is_inside = false;
    let mut entries = Vec::new();
    for line in joined.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if line.starts_with('[') {
            is_inside = line == section;
        }
        if let Some((key, value)) = line.split_once('=').filter(|_| is_inside) {
            entries.push((key.trim_end().to_owned(), value.trim_start().to_owned()));
        }
    }
    entries
}

/// Whether systemd keeps a service with this file running: it starts the service at boot, or anew where that ends.
pub(in crate::resources) fn is_worker(text: &str) -> bool {
    let [kind, remains, _] = service_type(text).map(|(_, value)| value);
    let entries = entries(text, "[Service]");
    let restart = entries.iter().rev().find(|(key, _)| key == "Restart").map(|(_, value)| value);
    let restarts = restart.is_some_and(|value| !value.is_empty() && value != "no");
    let mut install = Install::default();
    install.add(text);
    let is_pulled_in = FOLDER_KEYS.iter().any(|(key, _)| !install.words(key).is_empty());
    (kind != "oneshot" || remains == "yes") && (restarts || is_pulled_in)
}

/// The words of the section `[Service]` of a file about its type and its reload, in the words of
/// `systemctl show`.
pub(in crate::resources) fn service_type(text: &str) -> [(&'static str, String); 3] {
    let entries = entries(text, "[Service]");
    let last = |wanted: &str| {
        let value = entries.iter().rev().find(|(key, _)| key == wanted).map(|(_, value)| value);
        value.map(String::as_str).unwrap_or_default()
    };
    let stays = ["1", "yes", "y", "true", "t", "on"];
    let remains = stays.iter().any(|yes| last("RemainAfterExit").eq_ignore_ascii_case(yes));
    let kind = if last("Type").is_empty() { "simple" } else { last("Type") };
    let can_reload = kind == "notify-reload" || !last("ExecReload").is_empty();
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    [("Type", kind.to_owned()), ("RemainAfterExit", word(remains)), ("CanReload", word(can_reload))]
}

/// The unit that takes the name `name` once it is enabled, where `name` is no unit now.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn with_alias(probe: &dyn Probe, name: &str) -> Result<Option<String>> {
    let Some((_, suffix)) = name.rsplit_once('.') else { return Ok(None) };
    let end = format!(".{suffix}");
    for folder in FOLDERS {
        let files = probe.list(folder)?.unwrap_or_default();
        let is_other = |file: &String| file.ends_with(&end) && !file.contains('@') && file != name;
        for file in files.into_iter().filter(is_other) {
            let Some(content) = probe.read(&format!("{folder}/{file}"))? else { continue };
            let mut install = Install::default();
            install.add(&String::from_utf8_lossy(&content));
            if install.words("Alias").iter().any(|alias| alias == name) {
                return Ok(Some(file));
            }
        }
    }
    Ok(None)
}

/// `worker@.service` for `worker@1.service`.
pub(super) fn template(name: &str) -> Option<String> {
    let (before, rest) = name.split_once('@')?;
    let (_, suffix) = rest.rsplit_once('.')?;
    Some(format!("{before}@.{suffix}")).filter(|template| template != name)
}

fn main_file(probe: &dyn Probe, names: &[&String]) -> Result<Option<String>> {
    for name in names {
        for folder in FOLDERS {
            if let Some(content) = probe.read(&format!("{folder}/{name}"))? {
                return Ok(Some(String::from_utf8_lossy(&content).into_owned()));
            }
        }
    }
    Ok(None)
}

/// The paths of drop-ins by their file names, in which order systemd reads them; of two with one
/// name, that in the first folder counts.
fn drop_ins(probe: &dyn Probe, names: &[&String]) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for name in names {
        for folder in FOLDERS {
            let folder = format!("{folder}/{name}.d");
            let files = probe.list(&folder)?.unwrap_or_default();
            let is_read = |file: &String| file.strip_suffix(".conf").is_some();
            for file in files.into_iter().filter(is_read) {
                let path = format!("{folder}/{file}");
                found.entry(file).or_insert(path);
            }
        }
    }
    Ok(found)
}

/// A word with its specifiers filled in, as far as the unit's name tells them.
fn filled(word: &str, name: &str) -> Option<String> {
    let (stem, _) = name.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let mut text = String::new();
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match rest.next()? {
            '%' => text.push('%'),
            'i' => text.push_str(instance),
            'n' => text.push_str(name),
            'N' => text.push_str(stem),
            'p' => text.push_str(prefix),
            _ => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(name: &str, text: &str) -> Vec<String> {
        let mut install = Install::default();
        install.add(text);
        install.links(name, "debian-12").unwrap().into_iter().collect()
    }

    #[test]
    fn links_are_those_of_the_last_list() {
        let text = "[Unit]\nWantedBy=no.target\n[Install]\nWantedBy=a.target b.target\n\
                    #WantedBy=c.target\nWantedBy=\nWantedBy=d.target \\\n e.target\nAlias=x.service\n";
        assert_eq!(
            links("w.service", text),
            ["d.target.wants/w.service", "e.target.wants/w.service", "x.service"]
        );
    }

    #[test]
    fn a_service_has_a_type() {
        let type_of = |text: &str| service_type(text).map(|(_, value)| value).join(" ");
        assert_eq!(
            type_of("[Service]\nType = oneshot\n[Unit]\nRemainAfterExit=yes"),
            "oneshot no no"
        );
        assert_eq!(type_of("[Service]\nRemainAfterExit=True\nType=oneshot"), "oneshot yes no");
        assert_eq!(type_of("[Service]\n#Type=oneshot"), "simple no no");
        assert_eq!(type_of("[Service]\nExecReload=/bin/kill -HUP $MAINPID"), "simple no yes");
    }

    #[test]
    fn a_unit_without_links_has_a_state_by_its_section() {
        for (text, os, state) in [
            ("[Service]\nType=oneshot\n", "debian-12", "static"),
            ("[Install]\nWantedBy=\n", "debian-12", "static"),
            ("[Install]\nWantedBy=a.target\nAlso=b.socket\n", "debian-12", "disabled"),
            ("[Install]\nAlias=b.service\n", "debian-12", "disabled"),
            ("[Install]\nAlso=b.socket\n", "debian-12", "indirect"),
            ("[Install]\nUpheldBy=a.target\n", "debian-12", "static"),
            ("[Install]\nUpheldBy=a.target\n", "debian-13", "disabled"),
        ] {
            let mut install = Install::default();
            install.add(text);
            assert_eq!(install.state_without_links(os), state, "{text} {os}");
        }
    }

    #[test]
    fn a_worker_is_kept_running() {
        for (text, is_kept) in [
            ("[Service]\nExecStart=/bin/a\n[Install]\nWantedBy=a.target\n", true),
            ("[Service]\nExecStart=/bin/a\nRestart=on-failure\n", true),
            ("[Service]\nType=oneshot\nRemainAfterExit=yes\n[Install]\nWantedBy=a.target\n", true),
            ("[Service]\nType=oneshot\nRestart=on-failure\n[Install]\nWantedBy=a.target\n", false),
            ("[Service]\nExecStart=/bin/a\nRestart=no\n", false),
            ("[Service]\nExecStart=/bin/a\n", false),
        ] {
            assert_eq!(is_worker(text), is_kept, "{text}");
        }
    }

    #[test]
    fn an_instance_fills_in_its_name() {
        let text = "[Install]\nWantedBy=%p@%i.target\nDefaultInstance=d\n";
        assert_eq!(links("w@1.service", text), ["w@1.target.wants/w@1.service"]);
        assert_eq!(links("w@.service", text), ["w@d.target.wants/w@d.service"]);
        let mut install = Install::default();
        install.add("[Install]\nWantedBy=%H.target\n");
        assert_eq!(install.links("w.service", "debian-12"), None);
    }

    #[test]
    fn an_old_systemd_makes_no_links_that_uphold() {
        let mut install = Install::default();
        install.add("[Install]\nUpheldBy=a.target\n");
        assert_eq!(install.links("w.service", "debian-12"), Some(BTreeSet::new()));
        let new = BTreeSet::from(["a.target.upholds/w.service".to_owned()]);
        assert_eq!(install.links("w.service", "debian-13"), Some(new));
    }
}
