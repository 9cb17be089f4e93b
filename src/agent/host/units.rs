//! systemd's units: all that a run asks about in one `systemctl show` (5 units: 8 ms, where a
//! fork for each question takes 42 ms).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::resources::{Command, Unit};

use super::processes;

/// `Type` says what `active` means; timers and the like have none.
const PROPERTIES: &str = "Id,Names,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,\
                          Type,RemainAfterExit,CanReload,SourcePath,MainPID,NRestarts,InvocationID";

/// The units that were asked about, until they are forgotten.
#[derive(Default)]
pub(super) struct Units {
    expected: RefCell<BTreeSet<String>>,
    known: RefCell<BTreeMap<String, Unit>>,
}

impl Units {
    /// Asks for these together with the next question.
    pub(super) fn preload(&self, names: &[String]) {
        self.expected.borrow_mut().extend(names.iter().cloned());
    }

    /// The unit `name`; one that systemd does not know has the load state `not-found`.
    pub(super) fn get(&self, name: &str) -> Result<Unit> {
        if let Some(unit) = self.known.borrow().get(name) {
            return Ok(unit.clone());
        }
        // A template is no unit, and a question that names one is refused as a whole.
        if name.contains("@.") {
            return Ok(Unit::default());
        }
        let mut names = self.expected.borrow().clone();
        names.retain(|name| !name.contains("@."));
        names.insert(name.to_owned());
        let fresh = show(&names)?;
        let mut known = self.known.borrow_mut();
        known.extend(fresh);
        Ok(known.get(name).cloned().unwrap_or_default())
    }

    /// Asks anew the next time.
    pub(super) fn forget(&self) {
        self.known.borrow_mut().clear();
    }
}

fn show(names: &BTreeSet<String>) -> Result<BTreeMap<String, Unit>> {
    let arguments = ["systemctl", "show", "--no-pager", "-p", PROPERTIES, "--"];
    let argv = arguments.iter().map(|argument| (*argument).to_owned()).chain(names.iter().cloned());
    let command = Command::new(argv).timeout_seconds(30);
    let output = processes::run(&command, &processes::Setting::default(), None)?;
    if !output.success() {
        return Err(Error::failed("systemd does not say how its units are").because(output.tail(5)));
    }
    // One paragraph a unit, in the order of the question: a name that is an alias gives the
    // unit's own name as `Id`.
    Ok(names.iter().cloned().zip(output.text().split("\n\n").map(parse)).collect())
}

fn parse(paragraph: &str) -> Unit {
    let mut unit = Unit::default();
    for (key, value) in paragraph.lines().filter_map(|line| line.split_once('=')) {
        let value = value.to_owned();
        match key {
            "LoadState" => unit.load_state = value,
            "ActiveState" => unit.active_state = value,
            "SubState" => unit.sub_state = value,
            "UnitFileState" => unit.unit_file_state = value,
            "NeedDaemonReload" => unit.needs_daemon_reload = value == "yes",
            _ => {
                unit.properties.insert(key.to_owned(), value);
            }
        }
    }
    unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_paragraph_of_systemctl_show() {
        let unit = parse(
            "Id=nginx.service\nLoadState=loaded\nActiveState=active\nSubState=running\n\
             UnitFileState=enabled\nNeedDaemonReload=no\nType=forking",
        );
        assert_eq!(unit.properties["Type"], "forking");
        assert!(unit.exists() && unit.is_active() && !unit.needs_daemon_reload);
        assert_eq!(unit.unit_file_state, "enabled");
    }
}
