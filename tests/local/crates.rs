//! The crates of others: their licences, their sources, and those that are not wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// `tests/local/crates/rules.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    licences: BTreeSet<String>,
    banned: BTreeMap<String, String>,
    once: BTreeSet<String>,
}

/// A crate, as cargo tells it; infra itself has no source.
#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    links: Option<String>,
}

/// `tests/local/crates/bad.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    crates: Vec<Crate>,
    mistakes: Vec<String>,
}

#[test]
fn every_crate_is_as_the_rules_want_it() {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Crate>,
    }
    // What other systems alone need may not be on this machine.
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", &host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).unwrap();
    assert!(metadata.packages.len() > 100, "{} crates", metadata.packages.len());
    let wrong = mistakes(&rules(), &metadata.packages, true);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Of the crates for other systems as well, and of those that fuzzing needs.
#[test]
fn the_locked_crates_are_as_the_rules_want_them() {
    for file in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let crates = locked(&std::fs::read_to_string(path).unwrap());
        assert!(crates.len() > 100, "{file}: {} crates", crates.len());
        let wrong = mistakes(&rules(), &crates, false);
        assert!(wrong.is_empty(), "{file}: {wrong:#?}");
    }
}

#[test]
fn bad_crates_are_found() {
    let bad: Bad = serde_yaml::from_str(include_str!("crates/bad.yaml")).unwrap();
    assert_eq!(mistakes(&rules(), &bad.crates, true), bad.mistakes);
}

/// A rule about a crate that is not there any more can never fail.
#[test]
fn every_crate_that_may_be_there_once_is_there() {
    let (rules, root) = (rules(), Path::new(env!("CARGO_MANIFEST_DIR")));
    let crates = locked(&std::fs::read_to_string(root.join("Cargo.lock")).unwrap());
    let gone = rules.once.iter().find(|name| !crates.iter().any(|one| one.name == **name));
    assert_eq!(gone, None, "no such crate");
}

fn rules() -> Rules {
    serde_yaml::from_str(include_str!("crates/rules.yaml")).unwrap()
}

/// The crates of a `Cargo.lock`, which knows of no licences.
fn locked(text: &str) -> Vec<Crate> {
    let crates = text.split("[[package]]").skip(1).map(|block| {
        let value = |key: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        Crate {
            name: value("name").unwrap(),
            version: value("version").unwrap(),
            license: None,
            source: value("source"),
            links: None,
        }
    });
    crates.collect()
}

/// The mistakes of crates, by the rules. The source of the first crate is that of all.
fn mistakes(rules: &Rules, crates: &[Crate], with_licences: bool) -> Vec<String> {
    let is_index = |source: &&String| source.starts_with("registry+");
    let index = crates.iter().find_map(|one| one.source.as_ref()).filter(is_index);
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for one in crates {
        let Some(source) = &one.source else { continue };
        let mut mistake = |what: String| {
            wrong.push(format!("`{}` {}: {what}", one.name, one.version));
        };
        match &one.license {
            _ if !with_licences => {}
            None => mistake("no licence".to_owned()),
            Some(licence) if is_allowed(licence, &rules.licences) => {}
            Some(licence) => mistake(format!("the licence `{licence}`")),
        }
        if Some(source) != index {
            mistake(format!("the source `{source}`"));
        }
        if let Some(why) = rules.banned.get(&one.name) {
            mistake(why.clone());
        }
        if let Some(library) = &one.links {
            mistake(format!("it links the library `{library}`"));
        }
        if !seen.insert(&one.name) && rules.once.contains(&one.name) {
            mistake("a second version of it".to_owned());
        }
    }
    wrong
}

/// Whether an SPDX expression can be met with the licences: one of each `OR`, all of each `AND`.
fn is_allowed(expression: &str, licences: &BTreeSet<String>) -> bool {
    // Before SPDX, cargo had a slash for `OR`.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    alternatives(&mut rest, licences) && rest.is_empty()
}

/// Reads alternatives up to a closing parenthesis or the end.
fn alternatives(rest: &mut &[&str], licences: &BTreeSet<String>) -> bool {
    let mut is_met = together(rest, licences);
    while let ["OR", after @ ..] = *rest {
        *rest = after;
        is_met |= together(rest, licences);
    }
    is_met
}

/// Reads what is joined by `AND`. A licence with an exception is another one.
fn together(rest: &mut &[&str], licences: &BTreeSet<String>) -> bool {
    let mut is_met = true;
    loop {
        match *rest {
            ["(", after @ ..] => {
                *rest = after;
                is_met &= alternatives(rest, licences);
                let [")", after @ ..] = *rest else { return false };
                *rest = after;
            }
            [_, "WITH", _, after @ ..] => {
                *rest = after;
                is_met = false;
            }
            [licence, after @ ..] => {
                *rest = after;
                is_met &= licences.contains(*licence);
            }
            [] => return false,
        }
        let ["AND", after @ ..] = *rest else { return is_met };
        *rest = after;
    }
}
