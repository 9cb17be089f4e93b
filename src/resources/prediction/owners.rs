//! The owners of files that nobody touches, once accounts have other numbers.

use super::super::names::is_in;
use super::super::probe::{Stat, UserEntry};
use super::Prediction;

impl Prediction<'_> {
    /// The attributes of a file that nobody touches, once accounts have other numbers: its own number stays, and
    /// has the name of whoever has that number then.
    pub(super) fn owned(&self, path: &str, stat: Stat) -> Stat {
        if self.users.is_empty() && self.groups.is_empty() {
            return stat;
        }
        let (owner, group) = (self.owner_after(path, &stat.owner), self.group_after(&stat.group));
        Stat { owner: owner.unwrap_or(stat.owner), group: group.unwrap_or(stat.group), ..stat }
    }

    fn owner_after(&self, path: &str, name: &str) -> Option<String> {
        let predicted = self.users.get(name)?;
        let real = self.real.user(name).ok()??;
        // usermod(8) gives what is in the home to the new number.
        let follows = |entry: &UserEntry| entry.uid == real.uid || is_in(path, &real.home);
        if predicted.as_ref().is_some_and(follows) {
            return None;
        }
        let mut others = self.users.iter().filter(|(other, _)| *other != name);
        let other = others.find(|(_, entry)| entry.as_ref().is_some_and(|it| it.uid == real.uid));
        Some(other.map_or_else(|| real.uid.to_string(), |(other, _)| other.clone()))
    }

    fn group_after(&self, name: &str) -> Option<String> {
        let predicted = self.groups.get(name)?;
        let real = self.real.group(name).ok()??;
        if predicted.as_ref().is_some_and(|entry| entry.gid == real.gid) {
            return None;
        }
        let mut others = self.groups.iter().filter(|(other, _)| *other != name);
        let other = others.find(|(_, entry)| entry.as_ref().is_some_and(|it| it.gid == real.gid));
        Some(other.map_or_else(|| real.gid.to_string(), |(other, _)| other.clone()))
    }
}
