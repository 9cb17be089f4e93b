//! `archive`: what a tar or zip file holds, unpacked in a folder.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::fields::{AbsolutePath, Presence, root};
use super::ground;
use super::names::Names;
use super::prediction::Prediction;
use super::probe::{FileKind, Probe};
use super::query::Command;
use super::removal::Dropped;
use super::state::{Change, Current, State};
use super::system::{Attributes, System, run_checked};
use super::{Resource, account, needs, url};
use crate::error::{Error, Result};
use crate::manifest::ResourceId;

/// What a tar or zip file holds, unpacked in a folder.
///
/// The file comes from `url`, or is on the server already (`source`); it is unpacked only if it
/// has the given hash. A new folder appears complete or not at all. In a folder that is there
/// already, files are replaced and others stay: to switch versions, unpack each in a folder of
/// its own and point a `symlink` at it. What was unpacked is noted in the folder, in
/// `.infra-archive`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The folder to unpack in. The one above it has to be there.
    pub path: AbsolutePath,
    /// Where to download it, by `curl`. Exactly one of `url` and `source` is given.
    #[serde(default)]
    pub url: Option<String>,
    /// Where it is on the server.
    #[serde(default)]
    pub source: Option<AbsolutePath>,
    /// Its SHA-256, as `sha256sum` prints it.
    #[serde(default)]
    pub sha256: String,
    /// What it is; told by the end of its name if not given.
    #[serde(default)]
    pub format: Option<Format>,
    /// Leaves out so many folders at the beginning of each name in it; for tar only.
    #[serde(default)]
    pub strip_components: u32,
    /// The user that unpacks it, and to whom all of it belongs.
    #[serde(default = "root")]
    pub owner: String,
    /// Whether it should be there. With `absent` the folder goes with all that it holds, if it
    /// was made for the archive.
    #[serde(default)]
    pub state: Presence,
}

/// The formats that can be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// tar, compressed in any way that `tar` knows.
    Tar,
    /// zip; needs the program `unzip`.
    Zip,
}

/// The user that apt downloads as, on every Debian: it owns nothing.
const DOWNLOADER: &str = "_apt";

/// The largest archive that is downloaded.
const LARGEST_DOWNLOAD_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// Where downloads wait until they are unpacked; everybody may read them there.
const DOWNLOADS: &str = "/var/cache/infra";

const STAMP: &str = ".infra-archive";

/// A large file over a slow line takes its time.
const TIMEOUT_SECONDS: u32 = 1800;

/// The largest archive of the server that a preview reads, in bytes: others are read by the apply.
const LARGEST_HASHED_BYTES: u64 = 32 * 1024 * 1024;

const TAR_ENDINGS: &[(&str, Unpacker)] = &[
    (".tar", None),
    (".tar.gz", None),
    (".tgz", None),
    (".tar.xz", Some(("xz", "xz-utils"))),
    (".txz", Some(("xz", "xz-utils"))),
    (".tar.bz2", Some(("bzip2", "bzip2"))),
    (".tbz2", Some(("bzip2", "bzip2"))),
    (".tar.zst", Some(("zstd", "zstd"))),
];

/// A program that unpacks beside tar and gzip, and its package in Debian.
type Unpacker = Option<(&'static str, &'static str)>;

/// What was unpacked in a folder.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    /// The hash and how it was unpacked.
    version: String,
    /// Whether the folder was made for it.
    made: bool,
}

impl Stamp {
    fn text(&self) -> String {
        format!("{} {}\n", if self.made { "made" } else { "added" }, self.version)
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.trim_end();
        let (made, version) = text.split_once(' ')?;
        Some(Self { version: version.to_owned(), made: made == "made" })
    }
}

impl Archive {
    /// The name of its file.
    fn name(&self) -> &str {
        let name = self.url.as_deref().or(self.source.as_ref().map(AbsolutePath::as_str));
        name.unwrap_or_default().split(['?', '#']).next().unwrap_or_default()
    }

    /// The entry of its name among those of tar.
    fn tar(&self) -> Option<&'static (&'static str, Unpacker)> {
        TAR_ENDINGS.iter().find(|(ending, _)| self.name().ends_with(ending))
    }

    fn format(&self) -> Option<Format> {
        let by_name = if self.tar().is_some() {
            Some(Format::Tar)
        } else {
            self.name().strip_suffix(".zip").map(|_| Format::Zip)
        };
        self.format.or(by_name)
    }

    fn unpacker(&self) -> Unpacker {
        match self.format()? {
            Format::Zip => Some(("unzip", "unzip")),
            Format::Tar => self.tar().and_then(|(_, unpacker)| *unpacker),
        }
    }

    /// What makes one unpacking equal to another.
    fn version(&self) -> String {
        let strip = self.strip_components;
        if strip == 0 { self.sha256.clone() } else { format!("{} strip {strip}", self.sha256) }
    }

    fn stamp_path(&self) -> String {
        format!("{}/{STAMP}", self.path)
    }

    fn stamp(&self, probe: &dyn Probe) -> Result<Option<Stamp>> {
        Ok(probe.read(&self.stamp_path())?.as_deref().and_then(Stamp::parse))
    }

    /// Where it is while it is unpacked: nobody else can change it between the check of its hash
    /// and the unpacking.
    fn file(&self) -> String {
        format!("{DOWNLOADS}/{}", self.sha256)
    }

    /// Brings it there.
    fn fetch(&self, file: &str, system: &mut dyn System) -> Result<()> {
        system.make_directory(DOWNLOADS, &Attributes::new("root", "root", 0o755))?;
        match (&self.url, &self.source) {
            (Some(url), _) => {
                // Whatever else runs as the user of the download may still write to its file.
                let part = format!("{file}.part");
                let downloaded = download(url, &part, system)
                    .and_then(|()| system.copy_file(&part, file, &closed()));
                system.remove_file(&part)?;
                downloaded?;
            }
            (None, Some(source)) => system.copy_file(source.as_str(), file, &closed())?,
            (None, None) => return Err(Error::input("one of `url` and `source` is missing")),
        }
        // Nobody else reads what is not the archive that was asked for.
        self.check_hash(file, system)?;
        system.set_attributes(file, &Attributes::new("root", "root", 0o644))
    }

    fn check_hash(&self, file: &str, system: &mut dyn System) -> Result<()> {
        let sum = Command::new(["sha256sum", "--", file]).timeout_seconds(TIMEOUT_SECONDS);
        let output = run_checked(system, &sum)?.text();
        // A name with a backslash or a line break is announced by a backslash before the hash.
        let found = output.trim_start_matches('\\').split_whitespace().next().unwrap_or_default();
        let source = self.source.as_ref().map(AbsolutePath::as_str);
        self.is_of_hash(self.url.as_deref().or(source).unwrap_or(file), found)
    }

    fn is_of_hash(&self, name: &str, found: &str) -> Result<()> {
        if found == self.sha256 {
            return Ok(());
        }
        Err(Error::failed(format!("`{name}` has another hash"))
            .because(format!("its SHA-256 is {found}, not {}", self.sha256)))
    }

    /// Refuses to unpack as root where others could send it elsewhere by a link.
    fn check_ground(&self, probe: &dyn Probe) -> Result<()> {
        if self.owner != "root" {
            return Ok(());
        }
        let hint = "name the owner of the folder with `owner`";
        ground::check(&self.stamp_path(), "root would unpack", hint, probe)
    }

    fn unpack(&self, file: &str, folder: &str, system: &mut dyn System) -> Result<()> {
        let command = match self.format() {
            Some(Format::Zip) => Command::new(["unzip", "-q", "-o", file, "-d", folder]),
            // As root, tar would keep the bits that make a program run as its owner.
            _ => Command::new(["tar", "--extract", "--no-same-owner", "--no-same-permissions"])
                .arg("--file")
                .arg(file)
                .arg("--directory")
                .arg(folder)
                .arg(format!("--strip-components={}", self.strip_components)),
        };
        let command = command.timeout_seconds(TIMEOUT_SECONDS);
        let command = if self.owner == "root" { command } else { command.user(&self.owner) };
        run_checked(system, &command).map(drop)
    }

    /// Unpacks beside the place of a new folder, or into the one that is there.
    fn place(&self, file: &str, system: &mut dyn System) -> Result<()> {
        let path = self.path.as_str();
        let made = system.stat(path)?.is_none();
        let made_before = self.stamp(system)?.is_some_and(|stamp| stamp.made);
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = if made { format!("{parent}/.infra-{name}") } else { path.to_owned() };
        if made {
            let group = system.user(&self.owner)?.map(|user| user.group);
            let group =
                group.ok_or_else(|| Error::failed(format!("there is no user `{}`", self.owner)))?;
            system.remove_tree(&folder)?;
            system.make_directory(&folder, &Attributes::new(&self.owner, &group, 0o755))?;
        }
        let stamp = Stamp { version: self.version(), made: made || made_before };
        let result = self.unpack(file, &folder, system).and_then(|()| {
            let attributes = Attributes::new("root", "root", 0o644);
            system.write_file(&format!("{folder}/{STAMP}"), stamp.text().as_bytes(), &attributes)
        });
        match result {
            Ok(()) if made => system.rename(&folder, path),
            Err(error) if made => {
                system.remove_tree(&folder)?;
                Err(error)
            }
            result => result,
        }
    }
}

impl Resource for Archive {
    const KIND: &'static str = "archive";
    const PRIMARY: Option<&'static str> = None;
    const EXAMPLE: &'static str = "\
- archive:
    path: /opt/node-20.11.1
    url: https://nodejs.org/dist/v20.11.1/node-v20.11.1-linux-x64.tar.xz
    sha256: d8dab549b09672b03356aa2257699f3de3b58c96e74eb26a8b495fbdc9cf6fbe
    strip_components: 1
";

    fn needed_paths(&self) -> Vec<String> {
        self.source.iter().map(ToString::to_string).collect()
    }

    fn identity(&self) -> String {
        self.path.to_string()
    }

    fn known_as(&self, names: &Names<'_>) -> Result<String> {
        Ok(names.place(self.path.as_str()))
    }

    fn validate(&self) -> Result<(), String> {
        if self.state.is_absent() {
            return Ok(());
        }
        match (&self.url, &self.source) {
            (Some(_), Some(_)) => return Err("`url` and `source` exclude each other".to_owned()),
            (None, None) => return Err("one of `url` and `source` is missing".to_owned()),
            (Some(url), None) => url::check(url)?,
            _ => {}
        }
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if self.sha256.len() != 64 || !self.sha256.bytes().all(is_hex) {
            return Err("`sha256` is missing, or is not 64 digits as `sha256sum` prints".to_owned());
        }
        match self.format() {
            None => Err("its name does not tell what it is: say `format: tar` or `zip`".to_owned()),
            Some(Format::Zip) if self.strip_components > 0 => {
                Err("`strip_components` is for tar only".to_owned())
            }
            Some(_) => Ok(()),
        }
    }

    fn check_obstacles(&self, change: &Change, probe: &dyn Probe) -> Result<()> {
        let is_known = !change.is_remove() && !probe.is_preview_of_more();
        if let Some((program, _)) = self.unpacker().filter(|_| is_known)
            && !probe.has_program(program)?
        {
            return Err(Error::tool_missing(program));
        }
        let Some(source) = self.source.as_ref().filter(|_| is_known) else { return Ok(()) };
        let Some(stat) = probe.stat(source.as_str())? else {
            if needs::may_come(source.as_str(), probe) {
                return Ok(());
            }
            return Err(Error::failed(format!("there is no file `{source}`")));
        };
        if stat.size > LARGEST_HASHED_BYTES {
            return Ok(());
        }
        let content = probe.read(source.as_str())?.unwrap_or_default();
        self.is_of_hash(source.as_str(), &format!("{:x}", Sha256::digest(content)))
    }

    fn takes_folder(&self, _: &dyn Probe) -> Result<Option<String>> {
        Ok((self.state.is_absent()).then(|| self.path.to_string()))
    }

    fn needs(&self) -> Vec<ResourceId> {
        let program = self.unpacker().map(|(_, package)| ResourceId::new("package", package));
        account::named([self.owner.as_str()], []).into_iter().chain(program).collect()
    }

    fn desired(&self) -> Option<State> {
        (!self.state.is_absent()).then(|| State::new().with("sha256", self.version()))
    }

    fn current(&self, probe: &dyn Probe) -> Result<Current> {
        let path = self.path.as_str();
        if !self.state.is_absent() {
            self.check_ground(probe)?;
        }
        match probe.stat(path)?.map(|stat| stat.kind) {
            None => return Ok(Current::Absent),
            Some(FileKind::Directory | FileKind::Symlink) => {}
            Some(kind) => {
                let message = format!("`{path}` is a {}, not a directory", kind.noun());
                return Err(Error::failed(message));
            }
        }
        Ok(match self.stamp(probe)? {
            Some(stamp) if self.state.is_absent() && !stamp.made => {
                return Err(Error::failed(format!("`{path}` was there before the archive"))
                    .hint(format!("remove what is not needed, and `{}`", self.stamp_path())));
            }
            Some(stamp) => Current::Present(State::new().with("sha256", stamp.version)),
            None => Current::Absent,
        })
    }

    fn apply(&self, change: &Change, system: &mut dyn System) -> Result<()> {
        if change.is_remove() {
            return system.remove_tree(self.path.as_str());
        }
        self.check_ground(system)?;
        let file = self.file();
        let result = self.fetch(&file, system).and_then(|()| self.place(&file, system));
        system.remove_file(&file)?;
        result
    }

    fn predict(&self, change: &Change, world: &mut Prediction<'_>) {
        let path = self.path.as_str();
        if change.is_remove() {
            return world.removed(path);
        }
        let made = world.stat(path).is_ok_and(|stat| stat.is_none());
        if made {
            world.directory(path, &self.owner, &self.owner, 0o755);
        }
        let stamp = Stamp { version: self.version(), made };
        world.file(&self.stamp_path(), stamp.text().as_bytes(), "root", "root", 0o644);
        world.brings_more(&ResourceId::new(Self::KIND, &self.identity()));
    }

    fn dropped(&self) -> Option<Dropped<Self>> {
        let absent = Self { state: Presence::Absent, ..self.clone() };
        Some(Dropped::stays_unless_allowed(absent, "it may hold data beside what was unpacked"))
    }
}

/// Of a file that nobody but root reads.
fn closed() -> Attributes {
    Attributes::new("root", "root", 0o600)
}

/// Downloads `url` to `file`, as the user that apt downloads as.
fn download(url: &str, file: &str, system: &mut dyn System) -> Result<()> {
    system.write_file(file, b"", &Attributes::new(DOWNLOADER, "root", 0o600))?;
    // The address may hold a password, so curl reads it from its input.
    let quiet = ["curl", "--fail", "--location", "--silent", "--show-error"];
    let limits = ["--connect-timeout", "30", "--retry", "3"];
    let command = Command::new(quiet.into_iter().chain(limits))
        .user(DOWNLOADER)
        .arg("--max-filesize")
        .arg(LARGEST_DOWNLOAD_BYTES.to_string())
        .arg("--output")
        .arg(file)
        .arg("--config")
        .arg("-")
        .stdin(format!("url = \"{url}\"\n"))
        .timeout_seconds(TIMEOUT_SECONDS);
    run_checked(system, &command).map(drop)
}
