//! `infra secrets import`: secrets that ansible-vault or SOPS encrypted, encrypted by age instead.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::cli::Context;
use crate::diagnostic::Source;
use crate::error::{Context as _, Error};
use crate::exit_code::ExitCode;
use crate::report::{self, Format};
use crate::secrets::import::{Imported, VaultPasswords, combine, import};
use crate::secrets::{Folder, Opened, Replaced, document};
use crate::yaml::emit::emit;
use crate::yaml::{self, Node};

/// The arguments of `infra secrets import`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files of ansible-vault, YAML files with `!vault` values, or files of SOPS with age.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The file of secrets that takes them.
    #[arg(long, value_name = "NAME", default_value = "all")]
    into: String,
    /// The name of the one secret in a file that is not YAML, such as `tls.key`.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Replace secrets that are there already with other values.
    #[arg(long)]
    replace: bool,
    /// A file with the password of vaults [default: asked for].
    #[arg(long, value_name = "FILE", env = "ANSIBLE_VAULT_PASSWORD_FILE")]
    vault_password_file: Option<PathBuf>,
    /// The label of vaults and the file with their password, as ansible takes it.
    #[arg(long, value_name = "LABEL@FILE")]
    vault_id: Vec<String>,
}

/// Reads all files, then adds what is in them to one file of secrets.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    super::check_name(&args.into)?;
    let folder = super::folder(context)?;
    let mut passwords = passwords(args, context)?;
    let mut files = Vec::new();
    for file in &args.files {
        files.push(read(file, args.key.as_deref(), &mut passwords, &folder)?);
    }
    let before = folder.open(&args.into)?;
    let text = merged(args, before.as_ref(), &files)?;
    // A file that infra cannot read would take every other secret in it along.
    document::parsed(&args.into, &text)?;
    let count = files.iter().map(|file| values(&file.node)).sum::<usize>();
    let path = Folder::shown(&args.into);
    if before.as_ref().is_none_or(|before| *before.text != *text) {
        let bytes = before.as_ref().map(|before| before.bytes.as_slice());
        if folder.replace(&args.into, bytes, &text)? == Replaced::Changed {
            return Err(Error::failed(format!("`{path}` has changed meanwhile"))
                .hint("import again")
                .into());
        }
        super::note_readers(&folder, &args.into, before.is_none())?;
    }
    files.iter().flat_map(|file| &file.told).for_each(|told| report::note(told));
    let plain: usize = files.iter().map(|file| file.plain).sum();
    if plain > 0 {
        let are = if plain == 1 { "1 value was" } else { &format!("{plain} values were") };
        report::note(&format!("{are} not encrypted, and not imported: the inventory is for them"));
    }
    let plural = if count == 1 { "secret" } else { "secrets" };
    report::print(&match context.output {
        Format::Human | Format::Markdown => format!("{path}  {count} {plural} imported\n"),
        Format::Json => {
            let object = serde_json::json!({ "file": path, "imported": count, "plain": plain });
            report::json_line(&object)
        }
    })?;
    Ok(ExitCode::Done)
}

fn passwords(args: &Args, context: &Context) -> anyhow::Result<VaultPasswords> {
    let mut passwords = VaultPasswords::new(context.identity.ask.clone());
    for id in &args.vault_id {
        let (label, file) = id.split_once('@').ok_or_else(|| {
            Error::input(format!("`--vault-id {id}` names no file")).hint("write `LABEL@FILE`")
        })?;
        if file == "prompt" {
            passwords.add_prompt(label);
        } else {
            passwords.add_file(Some(label), Path::new(file))?;
        }
    }
    if let Some(file) = &args.vault_password_file {
        passwords.add_file(None, file)?;
    }
    Ok(passwords)
}

fn read(
    file: &Path,
    key: Option<&str>,
    passwords: &mut VaultPasswords,
    folder: &Folder,
) -> anyhow::Result<Imported> {
    let shown = file.display().to_string();
    let content = std::fs::read_to_string(file).context(|| format!("cannot read `{shown}`"))?;
    let unwrap = |bytes: &[u8]| folder.unwrap(&shown, bytes);
    Ok(import(&shown, &content, key, passwords, &unwrap)?)
}

/// The new text of the file: what there is, with what is imported.
fn merged(
    args: &Args,
    before: Option<&Opened>,
    files: &[Imported],
) -> anyhow::Result<Zeroizing<String>> {
    if let (None, [only]) = (before, files)
        && let Some(text) = &only.text
    {
        return Ok(text.clone());
    }
    let empty = || yaml::parse(&Source::new("", "{}")).map_err(anyhow::Error::from);
    let known = match before {
        Some(before) => document::parsed(&args.into, &before.text)?,
        None => empty()?,
    };
    let (mut conflicts, mut more) = (Vec::new(), empty()?);
    for file in files {
        more = combine(&more, &file.node, args.replace, "", &mut conflicts);
    }
    let all = combine(&known, &more, args.replace, "", &mut conflicts);
    if !conflicts.is_empty() {
        let names: Vec<String> = conflicts.iter().map(|name| format!("`{name}`")).collect();
        return Err(Error::input(format!(
            "`{}` has other values already",
            Folder::shown(&args.into)
        ))
        .because(format!("of {}", names.join(", ")))
        .hint("replace them with `--replace`, or import into another file with `--into`")
        .into());
    }
    Ok(before
        .and_then(|before| appended(before, &known, &more, &all))
        .unwrap_or_else(|| emit(&all)))
}

/// The text that is there with the new names below it, so that comments stay; `None` where that
/// does not say the same.
fn appended(before: &Opened, known: &Node, more: &Node, all: &Node) -> Option<Zeroizing<String>> {
    if *emit(known) == *emit(all) {
        return Some(before.text.clone());
    }
    let text = Zeroizing::new(format!("{}\n{}", before.text.trim_end(), *emit(more)));
    let read = yaml::parse(&Source::new("", text.as_str())).ok()?;
    (*emit(&read) == *emit(all)).then_some(text)
}

/// How many values are in a document.
fn values(node: &Node) -> usize {
    if let Some(map) = node.as_map() {
        map.entries.iter().map(|entry| values(&entry.value)).sum()
    } else if let Some(list) = node.as_list() {
        list.iter().map(values).sum()
    } else {
        1
    }
}
