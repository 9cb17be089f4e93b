//! Shares of files: who decides about a whole file, who about a part of it, and whether all of them can
//! hold at once.

use std::collections::BTreeMap;

use super::{Names, Probe, Spec};
use crate::manifest::Resource;

/// How much of a file a resource decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of it: nothing that somebody else writes stays.
    Whole,
    /// A part, such as a line.
    Part,
    /// That a folder is there, and no file or link.
    Folder,
}

/// Two resources that cannot both hold.
#[derive(Debug)]
pub struct Clash<'a> {
    /// The one that is declared first.
    pub first: &'a Resource,
    /// The other one.
    pub second: &'a Resource,
    /// The file that both decide about.
    pub path: String,
    /// Whether both write parts of it.
    pub is_in_parts: bool,
}

impl Clash<'_> {
    /// A lowercase phrase.
    pub fn message(&self) -> String {
        let (first, second, path) = (&self.first.id, &self.second.id, &self.path);
        if self.is_in_parts {
            format!("`{second}` and `{first}` undo each other in `{path}`")
        } else {
            let is_held = |one: &Resource| one.spec.desired().is_some();
            let are_held = is_held(self.first) && is_held(self.second);
            let does = if are_held { "write" } else { "decide about" };
            format!("`{second}` and `{first}` both {does} `{path}`")
        }
    }

    /// The way out.
    pub fn hint(&self) -> &'static str {
        if self.is_in_parts {
            "leave these lines to one of them"
        } else {
            "leave the file to one of them"
        }
    }
}

/// A share of a resource in one file.
struct Holder<'a> {
    resource: &'a Resource,
    path: String,
    share: Share,
}

impl Holder<'_> {
    /// The file as this resource makes it out of `content`; `None` where nobody can tell.
    fn edits(&self, content: &[u8], probe: Option<&dyn Probe>) -> Option<Vec<u8>> {
        // Its own check tells what is wrong with it.
        self.resource.spec.edits(&self.path, content, probe).ok().flatten()
    }

    fn changes(&self, content: &[u8], probe: Option<&dyn Probe>) -> bool {
        self.edits(content, probe).is_some_and(|edited| edited != content)
    }

    /// The content of a file that this resource writes whole, where it is known: none where it should
    /// not be there.
    fn content(&self) -> Option<&[u8]> {
        let Spec::File(file) = &self.resource.spec else { return None };
        if self.resource.spec.desired().is_none() { Some(&[]) } else { file.content() }
    }

    /// Whether this resource and an earlier one cannot both hold, as far as their shares tell.
    fn excludes(&self, first: &Self, probe: Option<&dyn Probe>) -> bool {
        let (whole, other) = match (first.share, self.share) {
            // Nobody minds two reasons for the absence of one thing.
            (Share::Whole, Share::Whole) => {
                let is_held = |one: &Self| one.resource.spec.desired().is_some();
                return is_held(first) || is_held(self);
            }
            (Share::Whole, _) => (first, self),
            (_, Share::Whole) => (self, first),
            _ => return false,
        };
        if other.share == Share::Folder {
            // A link that should go is none where something else is; a file that should go is a mistake there.
            let is_link = matches!(whole.resource.spec, Spec::Symlink(_));
            return !is_link || whole.resource.spec.desired().is_some();
        }
        match whole.content() {
            Some(content) if other.edits(content, probe).is_some() => other.changes(content, probe),
            // Without a server, not everything is known.
            _ => probe.is_some(),
        }
    }
}

/// The resources that cannot hold beside others: by the places that the server of `names` has for their
/// paths, or without a server by the paths as written.
pub fn clashes<'a>(
    resources: impl IntoIterator<Item = &'a Resource>,
    names: Option<&Names<'_>>,
) -> Vec<Clash<'a>> {
    let probe = names.map(Names::probe);
    let mut files: BTreeMap<String, Vec<Holder<'a>>> = BTreeMap::new();
    for resource in resources {
        for (path, share) in resource.spec.shares(probe) {
            let place = names.map_or_else(|| path.clone(), |names| names.place(&path));
            // A part is written to the file behind a link, and a whole file takes the place of the link.
            let target = names.filter(|_| share == Share::Part).map(|names| names.target(&path));
            let target = target.filter(|target| *target != place);
            let on_disk = names.map(|names| names.on_disk(&path)).filter(|path| *path != place);
            for place in std::iter::once(place).chain(target).chain(on_disk) {
                let holder = Holder { resource, path: path.clone(), share };
                files.entry(place).or_default().push(holder);
            }
        }
    }
    let shared = files.values().filter(|holders| holders.len() > 1);
    shared.flat_map(|holders| clashes_of(holders, probe)).collect()
}

/// The clashes over one file.
fn clashes_of<'a>(holders: &[Holder<'a>], probe: Option<&dyn Probe>) -> Vec<Clash<'a>> {
    let clash = |first: &Holder<'a>, second: &Holder<'a>, is_in_parts| Clash {
        first: first.resource,
        second: second.resource,
        path: second.path.clone(),
        is_in_parts,
    };
    let mut clashes = Vec::new();
    for (index, second) in holders.iter().enumerate() {
        let mut before = holders.iter().take(index);
        let excluded = |first: &&Holder<'_>| {
            first.resource.id != second.resource.id && second.excludes(first, probe)
        };
        clashes.extend(before.find(excluded).map(|first| clash(first, second, false)));
    }
    let parts: Vec<&Holder<'a>> =
        holders.iter().filter(|holder| holder.share == Share::Part).collect();
    let undone = undone(&parts, probe);
    clashes.extend(undone.map(|(first, second)| clash(first, second, true)));
    clashes
}

/// Of the resources that write parts of one file, two that undo each other. Written one after the other
/// into an empty file, all of them have to find it as it should be.
fn undone<'b, 'a>(
    parts: &[&'b Holder<'a>],
    probe: Option<&dyn Probe>,
) -> Option<(&'b Holder<'a>, &'b Holder<'a>)> {
    let write =
        |content: Vec<u8>, part: &&Holder<'_>| part.edits(&content, probe).unwrap_or(content);
    let all = parts.iter().fold(Vec::new(), write);
    let changed = parts.iter().position(|part| part.changes(&all, probe))?;
    let one = *parts.get(changed)?;
    let alone = write(Vec::new(), &one);
    let undoes = |other: &&&Holder<'_>| {
        let both = write(alone.clone(), other);
        one.resource.id != other.resource.id && one.changes(&both, probe)
    };
    let other = *parts.iter().find(undoes).or_else(|| parts.last())?;
    let is_first = parts.iter().position(|part| std::ptr::eq(*part, other))? > changed;
    Some(if is_first { (one, other) } else { (other, one) })
}
