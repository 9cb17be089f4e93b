//! The lists of packages of the images, cut down to what the tests can ask for.
//!
//! Each question to apt costs time for every package that the lists hold: a second for the 63 000 of Debian. The
//! images keep the packages that a text of the project names, those whose names roles put together, and
//! everything that these need. The lists as they were fetched stay beside the images: another text may name more.
//! After an `apt-get update` with something new in the archive, a server has the whole list again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// The folders and files whose words may be names of packages.
const TEXTS: &[&str] =
    &["roles", "examples", "inventory", "templates", "tests/lab", "src/lab", "src/resources"];

/// The beginnings of names that roles put together with a version.
const BEGINNINGS: &[&str] = &["php", "postgresql"];

/// The fields that name what a package needs, and what it recommends.
const NEEDED: [&str; 3] = ["Depends", "Pre-Depends", "Recommends"];

/// One package of a list.
struct Package<'a> {
    name: &'a str,
    text: &'a str,
    needs: Vec<&'a str>,
    provides: Vec<&'a str>,
    /// Whether every server has it.
    is_base: bool,
}

/// Cuts the lists of an image down, which no server uses at that time.
pub(super) fn cut(image: &Path, originals: &Path) -> io::Result<()> {
    let lists = image.join("var/lib/apt/lists");
    let words = words()?;
    let stamp = originals.with_extension("cut");
    if fs::read_to_string(&stamp).ok() == Some(state(&lists, &words)?) {
        return Ok(());
    }
    if !originals.is_dir() {
        fs::create_dir_all(originals)?;
        for list in of_packages(&lists)? {
            fs::copy(lists.join(&list), originals.join(&list))?;
        }
    }
    let mut texts = Vec::new();
    for list in names(originals)? {
        let text = fs::read_to_string(originals.join(&list))?;
        texts.push((list, text));
    }
    let packages: Vec<(usize, Package<'_>)> = texts
        .iter()
        .enumerate()
        .flat_map(|(list, (_, text))| text.split("\n\n").map(move |text| (list, text)))
        .filter_map(|(list, text)| Some((list, parse(text)?)))
        .collect();
    let wanted = wanted(&packages, &words);
    let mut has_changed = false;
    for (number, (list, _)) in texts.iter().enumerate() {
        let own =
            packages.iter().filter(|(list, one)| *list == number && wanted.contains(one.name));
        let text: String = own.flat_map(|(_, package)| [package.text, "\n\n"]).collect();
        if fs::read_to_string(lists.join(list))? != text {
            fs::write(lists.join(list), text)?;
            has_changed = true;
        }
    }
    if has_changed {
        // apt makes its cache of the lists here, so that not every server does so again.
        let output = Command::new("chroot").arg(image).args(["apt-get", "check"]).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
    }
    fs::write(stamp, state(&lists, &words)?)
}

/// The sizes of the lists and the words that they are cut for: an image that was made anew has longer lists.
fn state(lists: &Path, words: &BTreeSet<String>) -> io::Result<String> {
    let mut lines = Vec::new();
    for list in of_packages(lists)? {
        lines.push(format!("{list} {}", fs::metadata(lists.join(&list))?.len()));
    }
    lines.sort();
    lines.extend(words.iter().cloned());
    Ok(lines.join("\n"))
}

fn of_packages(lists: &Path) -> io::Result<Vec<String>> {
    let mut names = names(lists)?;
    names.retain(|name| name.ends_with("_Packages"));
    Ok(names)
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(folder)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// The words of the project's texts, as far as they are made like names of packages.
fn words() -> io::Result<BTreeSet<String>> {
    let mut words = BTreeSet::new();
    let mut open: Vec<_> =
        TEXTS.iter().map(|text| Path::new(env!("CARGO_MANIFEST_DIR")).join(text)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(names(&path)?.iter().map(|name| path.join(name)));
            continue;
        }
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        let is_of_name =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
        let found = text.split(|c: char| !is_of_name(c));
        words.extend(found.map(|word| word.trim_matches(['.', '-']).to_owned()));
    }
    Ok(words)
}

fn parse(text: &str) -> Option<Package<'_>> {
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    fields.extend(text.lines().filter_map(|line| line.split_once(": ")));
    let name = fields.get("Package")?;
    let list = |field: &str| {
        let value = fields.get(field).copied().unwrap_or_default();
        let words = value.split([',', '|']).filter_map(|one| one.split_whitespace().next());
        words.map(|word| word.split(':').next().unwrap_or(word))
    };
    let is_base = fields.get("Essential").is_some_and(|value| *value == "yes")
        || fields
            .get("Priority")
            .is_some_and(|value| ["required", "important", "standard"].contains(value));
    let needs = NEEDED.iter().flat_map(|field| list(field)).collect();
    Some(Package { name, text, needs, provides: list("Provides").collect(), is_base })
}

/// The names of the packages that are named, of those that every server has, and of all that they need.
fn wanted<'a>(packages: &[(usize, Package<'a>)], words: &BTreeSet<String>) -> BTreeSet<&'a str> {
    let mut by_name: BTreeMap<&str, Vec<&Package<'a>>> = BTreeMap::new();
    for (_, package) in packages {
        for name in package.provides.iter().chain([&package.name]) {
            by_name.entry(name).or_default().push(package);
        }
    }
    let is_named = |package: &&Package<'_>| {
        package.is_base
            || words.contains(package.name)
            || BEGINNINGS.iter().any(|beginning| package.name.starts_with(beginning))
    };
    let named = packages.iter().map(|(_, package)| package).filter(is_named);
    let virtual_ones = words.iter().filter_map(|word| by_name.get(word.as_str())).flatten();
    let mut open: Vec<&Package<'a>> = named.chain(virtual_ones.copied()).collect();
    let mut wanted = BTreeSet::new();
    while let Some(package) = open.pop() {
        if wanted.insert(package.name) {
            let needed = package.needs.iter().filter_map(|name| by_name.get(name));
            open.extend(needed.flatten());
        }
    }
    wanted
}
