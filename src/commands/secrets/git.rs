//! What git runs: `infra secrets textconv` and `infra secrets merge`; and `infra secrets
//! git-setup`, which tells git to do so.

use std::path::{Path, PathBuf};
use std::process::Command;

use zeroize::Zeroizing;

use crate::cli::Context;
use crate::error::{Context as _, Error, Result};
use crate::exit_code::ExitCode;
use crate::report;
use crate::secret::IDENTITY_VARIABLE;
use crate::secrets::{Folder, Header, change, write};

/// The line in `.gitattributes`.
const ATTRIBUTES: &str = "secrets/*.yaml.age diff=infra-secrets merge=infra-secrets";

/// The arguments of `infra secrets git-setup`.
#[derive(Debug, clap::Args)]
pub(super) struct SetupArgs {}

/// Writes the attributes, which belong into the repository, and the settings of this clone.
pub(super) fn setup(_: &SetupArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let root = context.project()?.root;
    let infra = own_command()?;
    for (key, value) in [
        ("diff.infra-secrets.textconv", format!("{infra} secrets textconv")),
        // A cache would hold the secrets in the clear.
        ("diff.infra-secrets.cachetextconv", "false".to_owned()),
        ("merge.infra-secrets.name", "secrets, key by key".to_owned()),
        ("merge.infra-secrets.driver", format!("{infra} secrets merge %O %A %B %P")),
    ] {
        git(&root, &["config", "--local", key, &value])?;
    }
    let path = root.join(".gitattributes");
    let old = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other.context(|| "cannot read `.gitattributes`".to_owned())?,
    };
    if !old.lines().any(|line| line.trim() == ATTRIBUTES) {
        let gap = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
        write::replace(&path, format!("{old}{gap}{ATTRIBUTES}\n").as_bytes())?;
        report::note("wrote `.gitattributes`: commit it, and run this once in every clone");
    }
    report::note("`git diff` shows secrets in the clear, and `git merge` merges them key by key");
    Ok(ExitCode::Done)
}

/// How git starts this program: by its name where a shell finds it, else by its path.
fn own_command() -> Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join("infra").is_file()) {
        return Ok("infra".to_owned());
    }
    let own = std::env::current_exe().context(|| "cannot find this program".to_owned())?;
    Ok(format!("'{}'", own.display().to_string().replace('\'', "'\\''")))
}

fn git(folder: &Path, arguments: &[&str]) -> Result<()> {
    let refused = || Error::input(format!("cannot run `git {}`", arguments.join(" ")));
    let output = Command::new("git")
        .env_remove(IDENTITY_VARIABLE)
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .output();
    let output = output.map_err(|error| refused().because(error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(refused().because(String::from_utf8_lossy(&output.stderr).trim()))
}

/// The arguments of `infra secrets textconv`.
#[derive(Debug, clap::Args)]
pub(super) struct TextconvArgs {
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Prints a file in the clear. What cannot be opened is printed as it is: git would show nothing
/// at all of a commit if this failed.
pub(super) fn textconv(args: &TextconvArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let bytes = std::fs::read(&args.file);
    let bytes = bytes.context(|| format!("cannot read `{}`", args.file.display()))?;
    let root = context.project().map_or_else(|_| PathBuf::from("."), |project| project.root);
    let folder = Folder::new(&root, &context.identity);
    let text = if bytes.is_empty() {
        Zeroizing::default()
    } else {
        folder.decrypt(&name_of(&args.file), &bytes).unwrap_or_else(|error| {
            report::note(&format!("shown encrypted: {error}"));
            String::from_utf8_lossy(&bytes).into_owned().into()
        })
    };
    report::print(&text)?;
    Ok(ExitCode::Done)
}

/// The arguments of `infra secrets merge`, as git gives them.
#[derive(Debug, clap::Args)]
pub(super) struct MergeArgs {
    /// The common ancestor.
    base: PathBuf,
    /// This side; the result is written there.
    ours: PathBuf,
    /// The other side.
    theirs: PathBuf,
    /// The path in the repository.
    path: PathBuf,
}

/// Merges key by key. What both sides changed stays as on this side, with the other value as a
/// note in the file, and git is told that there is a conflict.
pub(super) fn merge(args: &MergeArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let name = name_of(&args.path);
    // The project may be a folder inside the repository.
    let above = args.path.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    let folder = Folder::new(&Path::new(".").join(above), &context.identity);
    let read = |path: &Path| -> Result<(Vec<u8>, Zeroizing<String>)> {
        let bytes = std::fs::read(path).context(|| format!("cannot read `{}`", path.display()))?;
        let is_there = !bytes.is_empty();
        let text = is_there.then(|| folder.decrypt(&name, &bytes)).transpose()?;
        Ok((bytes, text.unwrap_or_default()))
    };
    let (_, base) = read(&args.base)?;
    let (our_bytes, ours) = read(&args.ours)?;
    let (their_bytes, theirs) = read(&args.theirs)?;
    // A reader that the other side adds has to wait for `rekey`, as everywhere.
    let before = Some(our_bytes.as_slice()).filter(|bytes| !bytes.is_empty());
    let encrypt = |text: &str| folder.encrypt(&name, before, text);
    let merged = change::merge(&name, &base, &ours, &theirs)?;
    let conflicts = &merged.conflicts;
    if !conflicts.is_empty() {
        let text = change::with_notes(&name, &merged.text, &theirs, conflicts, "the other side")?;
        write::replace(&args.ours, &encrypt(&text)?)?;
        let (keys, file) = (merged.conflict_names(), args.path.display());
        let error = Error::input(format!("both sides changed {keys} in `{file}`"));
        let hint = format!("choose with `infra secrets edit {name}`, then `git add {file}`");
        return Err(error.hint(hint).into());
    }
    // Bytes that somebody has already committed are taken as they are, if they are for those who
    // may read the file here.
    if *merged.text == *theirs && *theirs != *ours && is_for_readers(&folder, &name, &their_bytes) {
        write::replace(&args.ours, &their_bytes)?;
    } else if *merged.text != *ours {
        write::replace(&args.ours, &encrypt(&merged.text)?)?;
    }
    Ok(ExitCode::Done)
}

/// Whether `bytes` are encrypted to the readers that the file `name` has in this work tree, as
/// far as can be told.
fn is_for_readers(folder: &Folder, name: &str, bytes: &[u8]) -> bool {
    let header = Header::read(&Folder::shown(name), bytes);
    let (Ok(header), Ok(recipients)) = (header, folder.recipients()) else { return false };
    header.difference(&recipients.of_file(name), &recipients).is_none()
}

/// `all` for `secrets/all.yaml.age`.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(".age").trim_end_matches(".yaml").to_owned()
}
