//! A project as it was at a git revision, read without touching the work tree.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::Project;
use super::revision_changes::{self, FOLDERS};
use crate::error::{Context as _, Error, Result};

/// Which revision a project was read at.
#[derive(Clone, Debug)]
pub struct Revision {
    /// As the user wrote it: `HEAD~1`, a tag, a hash.
    pub name: String,
    /// The commit that this is: 40 hexadecimal digits.
    pub commit: String,
    /// Where its files are for as long as somebody reads them.
    _folder: Arc<TempDir>,
}

/// One file of a commit.
struct Blob {
    /// Below the project.
    path: PathBuf,
    mode: Mode,
    hash: String,
}

/// What git distinguishes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    File,
    Program,
    Symlink,
}

impl Project {
    /// The same project as it was at `revision`. Its files are written into a new folder in
    /// `scratch`, which nobody else can read and which goes with the last copy of the project;
    /// secrets in it stay encrypted. Submodules are left out.
    ///
    /// # Errors
    /// If git does not know the revision, or the project is not in it.
    pub fn at(&self, revision: &str, scratch: &Path) -> Result<Self> {
        let git = Git { root: &self.root };
        git.check_place()?;
        let commit = git.commit(revision)?;
        let prefix = git.line(&["rev-parse", "--show-prefix"])?;
        let tree = format!("{commit}:{prefix}");
        let blobs = git.blobs(&tree, revision)?;
        let is_inventory = |blob: &Blob| {
            blob.path.starts_with("inventory")
                && blob.path.extension().is_some_and(|ending| ending == "yaml")
        };
        if !blobs.iter().any(is_inventory) {
            return Err(Error::input(format!("`{revision}` holds no project"))
                .because(format!("there is no `{prefix}inventory/` in commit `{commit}`")));
        }
        let what = || format!("cannot read the project at `{revision}`");
        let folder = tempfile::Builder::new().prefix("infra-at-").tempdir_in(scratch);
        let folder = folder.context(what)?;
        git.write(&blobs, folder.path()).context(what)?;
        let root = folder.path().to_owned();
        let name = revision.to_owned();
        let revision = Revision { name, commit, _folder: Arc::new(folder) };
        Ok(Self { root, revision: Some(revision) })
    }

    /// The same, where the revision is to be trusted and the work tree is not: its files cannot say
    /// what the revision is.
    ///
    /// # Errors
    /// As [`Project::at`]; if the project is a submodule.
    pub fn trusted_at(&self, revision: &str, scratch: &Path) -> Result<Self> {
        let git = Git { root: &self.root };
        git.check_place()?;
        git.check_is_no_submodule()?;
        self.at(revision, scratch)
    }

    /// The commit in which `head` left the history of `revision`: a change is all that came after. The
    /// revision itself where git knows no such commit, as in a shallow clone.
    ///
    /// # Errors
    /// If git does not know the revision.
    pub fn base_of(&self, revision: &str, head: &str) -> Result<String> {
        let git = Git { root: &self.root };
        git.check_place()?;
        let (revision, head) = (git.commit(revision)?, git.commit(head)?);
        let base = git.line(&["merge-base", "--end-of-options", &revision, &head]);
        Ok(base.ok().filter(|base| !base.is_empty()).unwrap_or(revision))
    }

    /// The commit that the work tree is at, with `-dirty` if it differs from it; `None` outside
    /// git. Of a project that was read at a revision, that revision's.
    pub fn commit(&self) -> Option<String> {
        if let Some(revision) = &self.revision {
            return Some(revision.commit.clone());
        }
        let git = Git { root: &self.root };
        git.check_place().ok()?;
        let commit = git.line(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).ok()?;
        let is_as_committed = git.is_as_committed().unwrap_or(false);
        Some(if is_as_committed { commit } else { commit + DIRTY })
    }
}

/// Behind a commit that the work tree differs from.
pub const DIRTY: &str = "-dirty";

/// Options with which git runs no program that a repository names, and takes no files for a
/// repository that lie in a work tree.
const HARMLESS: [&str; 6] = [
    "-c",
    "safe.bareRepository=explicit",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.hooksPath=/dev/null",
];

/// Variables with which git fetches nothing, and takes each object for itself.
const OFFLINE: [(&str, &str); 3] =
    [("GIT_NO_LAZY_FETCH", "1"), ("GIT_ALLOW_PROTOCOL", ""), ("GIT_NO_REPLACE_OBJECTS", "1")];

/// Where git looks for a short name, in its order (gitrevisions(7)).
const PLACES: [&str; 5] = ["refs/", "refs/tags/", "refs/heads/", "refs/remotes/", ""];

/// Runs git in a project.
struct Git<'a> {
    root: &'a Path,
}

impl Git<'_> {
    fn command(&self) -> Command {
        let mut git = Command::new("git");
        git.args(HARMLESS).envs(OFFLINE.iter().copied());
        git.env_remove(crate::secret::IDENTITY_VARIABLE)
            .arg("-C")
            .arg(self.root)
            .stdin(Stdio::null());
        git
    }

    /// Refuses a folder whose own files, or those of a folder above, are a repository to git: the
    /// project brings these files, and with them programs that git would run.
    fn check_place(&self) -> Result<()> {
        let root = std::fs::canonicalize(self.root).unwrap_or_else(|_| self.root.to_owned());
        for folder in root.ancestors() {
            if folder.join(".git").exists() {
                break;
            }
            if ["HEAD", "objects", "refs"].iter().all(|name| folder.join(name).exists()) {
                let what = format!("`{}` is a git repository without a `.git`", folder.display());
                return Err(Error::input(what)
                    .because("its settings are files that anybody may have committed")
                    .hint("remove `HEAD`, `objects` and `refs` from the folder"));
            }
        }
        Ok(())
    }

    /// Refuses a project that is a submodule: another repository then says what it holds.
    fn check_is_no_submodule(&self) -> Result<()> {
        let above = self.line(&["rev-parse", "--show-superproject-working-tree"])?;
        if above.is_empty() {
            return Ok(());
        }
        Err(Error::input(format!("`{}` is a submodule", self.root.display()))
            .because("its own repository says what its revisions are")
            .hint("clone that repository by itself, and name it with `--project`"))
    }

    /// Refuses a name that several references have: somebody may have pushed a tag with the name of
    /// a branch.
    fn check_is_unambiguous(&self, revision: &str) -> Result<()> {
        let name = revision.split(['~', '^', '@', ':']).next().unwrap_or(revision);
        let spellings: Vec<String> = PLACES.iter().map(|place| format!("{place}{name}")).collect();
        let mut arguments = vec!["for-each-ref", "--format=%(refname)", "--"];
        arguments.extend(spellings.iter().map(String::as_str));
        let listing = self.output(&arguments)?;
        let listing = String::from_utf8_lossy(&listing);
        let mut found: Vec<&str> =
            listing.lines().filter(|line| spellings.iter().any(|known| known == line)).collect();
        let is_hash = name.len() >= 4 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash && !found.is_empty() {
            found.push("a commit");
        }
        if found.len() < 2 {
            return Ok(());
        }
        let error = Error::input(format!("`{revision}` names several revisions"));
        let error = found.iter().fold(error, |error, name| error.because(format!("`{name}`")));
        Err(error.hint("write the one that you mean in full, such as `refs/remotes/origin/main`"))
    }

    /// Whether another clone of the commit has the same project. `git diff` finds all but files in no commit, and
    /// files in which git is to see no changes.
    fn is_as_committed(&self) -> Result<bool> {
        // A submodule may ask to be ignored. Its files that no commit has are found on the disk.
        let submodules = "--ignore-submodules=untracked";
        let changed = ["diff", "--name-only", "--no-ext-diff", "--no-renames", submodules, "HEAD"];
        let changed = self.output(&changed)?;
        if !changed.is_empty() {
            return Ok(false);
        }
        let listing = self.output(&["ls-files", "-v", "-z", "--recurse-submodules"])?;
        Ok(!revision_changes::has_any(self.root, &listing))
    }

    /// What git prints.
    fn output(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let what = || format!("cannot read the history of `{}`", self.root.display());
        let output = self.command().args(arguments).output();
        let output = output.map_err(|error| {
            Error::input(what()).because(format!("git: {error}")).hint("install `git`")
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::input(what()).because(said.trim()));
        }
        Ok(output.stdout)
    }

    /// The line that git prints.
    fn line(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        Ok(String::from_utf8_lossy(&output).trim_end_matches('\n').to_owned())
    }

    /// The commit that `revision` names.
    fn commit(&self, revision: &str) -> Result<String> {
        // Whether git can be asked at all is another question than whether it knows the revision.
        self.line(&["rev-parse", "--git-dir"])?;
        self.check_is_unambiguous(revision)?;
        let wanted = format!("{revision}^{{commit}}");
        let known = self.line(&["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]);
        known.map_err(|_| {
            let is_shallow = self
                .line(&["rev-parse", "--is-shallow-repository"])
                .is_ok_and(|answer| answer == "true");
            let error = Error::input(format!("git knows no commit `{revision}`"));
            if is_shallow {
                error
                    .because("this clone is shallow: it lacks older commits")
                    .hint("fetch them with `git fetch --unshallow`")
            } else {
                error.hint("`git log --oneline` lists commits; fetch what others pushed")
            }
        })
    }

    /// The files of a tree that a project consists of.
    fn blobs(&self, tree: &str, revision: &str) -> Result<Vec<Blob>> {
        let mut arguments = vec!["ls-tree", "-r", "-z", "--full-tree", tree, "--"];
        arguments.extend(FOLDERS);
        let listing = self.output(&arguments)?;
        let mut blobs = Vec::new();
        for entry in listing.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
            let unclear = || Error::input(format!("git lists `{revision}` in an unknown form"));
            let tab = entry.iter().position(|byte| *byte == b'\t').ok_or_else(unclear)?;
            let head = std::str::from_utf8(&entry[..tab]).map_err(|_| unclear())?;
            let path = PathBuf::from(OsStr::from_bytes(&entry[tab + 1..]));
            let mut words = head.split(' ');
            let mode = match words.next() {
                Some("100644" | "100664") => Mode::File,
                Some("100755") => Mode::Program,
                Some("120000") => Mode::Symlink,
                _ => continue,
            };
            let hash = words.nth(1).ok_or_else(unclear)?.to_owned();
            // git itself never makes such a name; a forged commit could.
            if !path.components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(Error::input(format!(
                    "`{revision}` holds a file with the name `{}`",
                    path.display()
                )));
            }
            blobs.push(Blob { path, mode, hash });
        }
        // Nothing is written through a symlink: they come when every file is there.
        blobs.sort_by_key(|blob| blob.mode == Mode::Symlink);
        Ok(blobs)
    }

    /// Writes files into `folder`, their content read by one git for all of them.
    fn write(&self, blobs: &[Blob], folder: &Path) -> std::io::Result<()> {
        let mut git = self.command();
        git.args(["cat-file", "--batch"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut git = git.stderr(Stdio::null()).spawn()?;
        let hashes: Vec<&str> = blobs.iter().map(|blob| blob.hash.as_str()).collect();
        let wanted = hashes.join("\n") + "\n";
        let input = git.stdin.take();
        // git answers while it is still being asked: one side alone would fill its pipe.
        let asking = std::thread::spawn(move || {
            input.map_or(Ok(()), |mut input| input.write_all(wanted.as_bytes()))
        });
        let written = git.stdout.take().map_or(Ok(()), |output| {
            let mut output = BufReader::new(output);
            blobs.iter().try_for_each(|blob| {
                let content = next_blob(&mut output)?;
                write_blob(&folder.join(&blob.path), blob.mode, &content)
            })
        });
        // After a failure of ours it has nobody to write to, and ends.
        git.wait()?;
        let asked = asking.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
        written.and(asked)
    }
}

/// The content of the next file that `git cat-file --batch` writes.
fn next_blob(output: &mut impl std::io::BufRead) -> std::io::Result<Vec<u8>> {
    let mut head = String::new();
    output.read_line(&mut head)?;
    let size = head.trim_end().rsplit(' ').next().and_then(|size| size.parse::<u64>().ok());
    let size = size.ok_or_else(|| {
        let what = format!("git lacks an object: {}", head.trim_end());
        std::io::Error::new(std::io::ErrorKind::InvalidData, what)
    })?;
    let mut content = Vec::new();
    // A line feed follows the content.
    output.take(size + 1).read_to_end(&mut content)?;
    if content.pop() == Some(b'\n') && content.len() as u64 == size {
        Ok(content)
    } else {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

fn write_blob(path: &Path, mode: Mode, content: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    if mode == Mode::Symlink {
        return symlink(OsStr::from_bytes(content), path);
    }
    fs::write(path, content)?;
    let bits = if mode == Mode::Program { 0o700 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(bits))
}

#[cfg(test)]
#[path = "revision_tests.rs"]
mod tests;
