//! The effect of `systemctl` on the units of the server in memory.

use infra::resources::Unit;

use super::fake::Fake;
use super::files::FakeFile;

const FOLDER: &str = "/etc/systemd/system";

impl Fake {
    /// Does to a unit, and to its links, as `systemctl` would.
    pub(super) fn systemctl(&mut self, argv: &[String]) {
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        let (verb, name) = match words.as_slice() {
            ["systemctl", verb, "--", name] => (*verb, *name),
            ["systemctl", "daemon-reload"] => {
                self.units.values_mut().for_each(|unit| unit.needs_daemon_reload = false);
                return;
            }
            _ => return,
        };
        if matches!(verb, "disable" | "reenable") {
            self.unlink(name);
        }
        if matches!(verb, "enable" | "reenable") {
            self.link(name);
        }
        let Some(unit) = self.units.get_mut(name) else { return };
        let active = |unit: &mut Unit, active: &str, sub: &str| {
            active.clone_into(&mut unit.active_state);
            sub.clone_into(&mut unit.sub_state);
        };
        match verb {
            "start" | "restart" | "reload-or-restart" => active(unit, "active", "running"),
            "stop" => active(unit, "inactive", "dead"),
            "enable" | "reenable" => "enabled".clone_into(&mut unit.unit_file_state),
            "disable" | "unmask" => {
                "disabled".clone_into(&mut unit.unit_file_state);
                "loaded".clone_into(&mut unit.load_state);
            }
            "mask" => {
                "masked".clone_into(&mut unit.unit_file_state);
                "masked".clone_into(&mut unit.load_state);
            }
            _ => {}
        }
    }

    /// Makes the links that the file of a unit asks for.
    fn link(&mut self, name: &str) {
        let path = [FOLDER, "/usr/lib/systemd/system"].map(|folder| format!("{folder}/{name}"));
        let Some(path) = path.into_iter().find(|path| self.files.contains_key(path)) else {
            return;
        };
        let text = String::from_utf8_lossy(&self.files[&path].content).into_owned();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            for word in value.split_whitespace() {
                let link = match key {
                    "WantedBy" => format!("{FOLDER}/{word}.wants/{name}"),
                    "Alias" => format!("{FOLDER}/{word}"),
                    _ => continue,
                };
                self.put_with_parents(&link, FakeFile::symlink(&path));
            }
        }
    }

    /// Takes away all links to a unit.
    fn unlink(&mut self, name: &str) {
        let end = format!("/{name}");
        let is_link = |file: &FakeFile| file.target.as_ref().is_some_and(|to| to.ends_with(&end));
        self.files.retain(|path, file| !path.starts_with(FOLDER) || !is_link(file));
    }
}
