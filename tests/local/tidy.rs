//! The shape of the source tree, held by a machine: who may use whom, how long files and
//! functions may be, and where programs may be started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// For each module of the crate, the modules it may name. ARCHITECTURE: commands use everything;
/// the stages point one way; `report` and `inventory` know no other stage.
const ARROWS: &[(&str, &[&str])] = &[
    ("agent", &["error", "events", "manifest", "resources", "secret", "wire"]),
    (
        "compile",
        &["diagnostic", "error", "inventory", "manifest", "resources", "secret", "secrets", "yaml"],
    ),
    ("date", &[]),
    ("diagnostic", &["error", "shown"]),
    ("error", &[]),
    ("events", &["error", "manifest", "resources"]),
    ("files", &[]),
    ("inventory", &["diagnostic", "error", "files", "manifest", "secret", "size", "yaml"]),
    ("lab", &["error", "inventory", "octal"]),
    ("manifest", &["resources", "secret"]),
    (
        "report",
        &[
            "date",
            "diagnostic",
            "error",
            "events",
            "exit_code",
            "manifest",
            "resources",
            "secret",
            "shown",
        ],
    ),
    ("octal", &["resources"]),
    ("resources", &["date", "error", "manifest", "octal", "secret", "size"]),
    (
        "saved_plan",
        &["error", "events", "inventory", "manifest", "resources", "secrets", "transport", "wire"],
    ),
    ("secret", &["error"]),
    ("shown", &[]),
    ("size", &[]),
    ("secrets", &["diagnostic", "error", "files", "secret", "yaml"]),
    ("transport", &["error", "events", "inventory", "manifest", "secret", "wire"]),
    ("wire", &["error", "events", "manifest"]),
    ("yaml", &["diagnostic", "error"]),
];

const LONGEST_FILE_LINES: usize = 450;
const LONGEST_FUNCTION_LINES: usize = 70;

#[test]
fn modules_use_only_what_they_may() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let Some(allowed) = module_of(&path).and_then(|module| arrows.get(module.as_str())) else {
            continue;
        };
        let module = module_of(&path).unwrap_or_default();
        for (number, line) in code_lines(&text) {
            for used in line.split("crate::").skip(1) {
                let name: String =
                    used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if !name.is_empty() && name != module && !allowed.contains(&name.as_str()) {
                    wrong.push(format!("{}:{number}: `{module}` uses `{name}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests"] {
        for (path, text) in sources(folder) {
            let lines: Vec<&str> = text.lines().collect();
            if lines.len() > LONGEST_FILE_LINES {
                wrong.push(format!("{}: {} lines", path.display(), lines.len()));
            }
            for (start, length) in functions(&lines) {
                if length > LONGEST_FUNCTION_LINES {
                    let line = lines[start].trim();
                    wrong.push(format!("{}:{}: {length} lines: {line}", path.display(), start + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "split these by meaning:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_report_prints() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        if module_of(&path).is_some_and(|module| module == "report") {
            continue;
        }
        for (number, line) in code_lines(&text) {
            if ["println!", "print!(", "std::io::stdout()", "io::stderr()"]
                .iter()
                .any(|word| line.contains(word))
                && !path.ends_with("agent/main.rs")
            {
                wrong.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "these print beside the report:\n{}", wrong.join("\n"));
}

/// The source files below `folder`, with paths relative to the package.
pub(crate) fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let is_rust = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    texts(folder).into_iter().filter(|(path, _)| is_rust(path)).collect()
}

/// The texts below a folder of the repository.
pub(crate) fn texts(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no source file below `{folder}`");
    found
}

/// `agent` for `src/agent/plan.rs` and for `src/agent.rs`.
pub(crate) fn module_of(path: &Path) -> Option<String> {
    let part = path.components().nth(1)?.as_os_str().to_str()?;
    Some(part.trim_end_matches(".rs").to_owned())
}

/// Lines that are code: no comments, and nothing from the unit tests at a file's end.
pub(crate) fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

/// Start and length of each function, found by rustfmt's indentation.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let is_function =
            ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn ", "async fn ", "pub async fn "]
                .iter()
                .any(|prefix| code.starts_with(prefix));
        if !is_function || code.ends_with([';', '}']) {
            continue;
        }
        let end = format!("{}}}", " ".repeat(line.len() - code.len()));
        if let Some(length) = lines[start..].iter().position(|line| *line == end) {
            found.push((start, length + 1));
        }
    }
    found
}

#[test]
fn links_in_the_docs_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in docs.chain([root.join("README.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            seen += 1;
            if !page.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(seen > 0, "no link found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
