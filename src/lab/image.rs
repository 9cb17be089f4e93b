//! The system that servers of one release start from, built once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest as _, Sha256};

use super::folder::{self, Folder};
use super::program::Program;
use super::release::Release;
use super::sources::{self, Mirror};
use crate::error::{Context as _, Result};

/// The keys of Debian's archives, here and on every Debian.
pub(super) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What is there beside the essential packages: a minimal installation of Debian with a login
/// over SSH, as providers hand it out, and nothing that a role should ask for itself.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "less",
    "netbase",
    "openssh-server",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tzdata",
];

/// Units that would disturb a run or this machine: timers that hold dpkg's lock or trim disks,
/// and what loads modules into this machine's kernel.
const MASKED: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-modules-load.service",
];

/// Programs that systemd runs at each boot and each `daemon-reload` to look for what no container has: encrypted and
/// verified disks, partitions by their types, a state of hibernation, orders of a boot loader
/// (systemd.generator(7)). A link to `/dev/null` leaves a generator out.
const LEFT_OUT: &[&str] = &[
    "systemd-cryptsetup-generator",
    "systemd-debug-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-integritysetup-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-tpm2-generator",
    "systemd-veritysetup-generator",
];

/// Where administrators put the certificates of their own networks.
const CERTIFICATES: &str = "/usr/local/share/ca-certificates";

/// Counted up when the code below makes another image of the same settings.
const VERSION: u32 = 3;

/// After how many days an image is built anew: its package lists name files that the archive
/// removes in time.
const DAYS: u64 = 14;

/// How long mmdebstrap may take over a slow line.
const BUILD_TIMEOUT: Duration = Duration::from_mins(20);

/// Everything that an image is made of.
#[derive(Debug)]
pub(super) struct Recipe {
    release: Release,
    mirror: Mirror,
    apt_settings: String,
    /// Name and content.
    certificates: Vec<(String, Vec<u8>)>,
    /// Counts up every [`DAYS`] days.
    period: u64,
}

impl Recipe {
    /// The recipe for `release` on this machine.
    ///
    /// # Errors
    /// When this machine's own configuration cannot be read.
    pub(super) fn new(release: Release) -> Result<Self> {
        let mut certificates = Vec::new();
        for name in folder::names(Path::new(CERTIFICATES))? {
            let path = Path::new(CERTIFICATES).join(&name);
            if path.is_file() && path.extension().is_some_and(|extension| extension == "crt") {
                let content =
                    fs::read(&path).context(|| format!("cannot read `{}`", path.display()))?;
                certificates.push((name, content));
            }
        }
        let mirror = Mirror::of_this_machine()?;
        let apt_settings = sources::fetch_settings()?;
        // A clock before 1970 has no period, and works.
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let period = age.as_secs() / (DAYS * 24 * 60 * 60);
        Ok(Self { release, mirror, apt_settings, certificates, period })
    }

    /// The image's name: another recipe has another one.
    pub(super) fn name(&self) -> String {
        let Self { release: _, mirror, apt_settings, certificates, period } = self;
        let recipe = format!(
            "{VERSION} {period}\n{mirror:?}\n{apt_settings}\n{certificates:?}\n{PACKAGES:?}\n{MASKED:?}\n{LEFT_OUT:?}"
        );
        let mut digits = format!("{:x}", Sha256::digest(recipe));
        digits.truncate(8);
        format!("{}-{digits}", self.release)
    }

    /// The image in `lab`, built where it is missing.
    ///
    /// # Errors
    /// When mmdebstrap fails.
    pub(super) fn ensure(&self, lab: &Folder, notice: &dyn Fn(&str)) -> Result<PathBuf> {
        let image = lab.images().join(self.name());
        if image.is_dir() {
            return Ok(image);
        }
        notice(&format!("building the image of {} (about 20 seconds, once)", self.release));
        let started = Instant::now();
        let unfinished = lab.images().join(format!(".{}", self.name()));
        folder::remove(&unfinished)?;
        folder::create(&lab.images())?;
        self.bootstrap(&unfinished)?;
        self.configure(&unfinished)?;
        // On a busy machine mmdebstrap has left `/proc` mounted.
        folder::unmount_below(&unfinished)?;
        fs::rename(&unfinished, &image).context(|| format!("cannot name `{}`", image.display()))?;
        let seconds = started.elapsed().as_secs();
        notice(&format!("built the image of {} in {seconds} seconds", self.release));
        Ok(image)
    }

    fn bootstrap(&self, root: &Path) -> Result<()> {
        // A file, because the address of a proxy may hold a password.
        let settings = root.with_extension("apt.conf");
        folder::write(&settings, &self.apt_settings, 0o600)?;
        let arguments =
            self.bootstrap_arguments(&root.to_string_lossy(), &settings.to_string_lossy());
        let built = Program::new(&arguments)
            .stdin(self.mirror.lines(self.release))
            .timeout(BUILD_TIMEOUT)
            .run();
        folder::remove_file(&settings)?;
        built.map_err(|error| {
            error.context(format!("cannot build the image of {}", self.release))
        })?;
        Ok(())
    }

    fn bootstrap_arguments(&self, root: &str, settings: &str) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["mmdebstrap", "--quiet", "--mode=root", "--format=directory"]
                .map(str::to_owned)
                .to_vec();
        arguments.push("--variant=minbase".to_owned());
        arguments.push(format!("--include={}", PACKAGES.join(",")));
        arguments.push(format!("--keyring={KEYRING}"));
        // A server that was just installed has the lists as well; fetching them takes a while.
        arguments.push("--skip=cleanup/apt/lists".to_owned());
        arguments.push(format!("--aptopt={settings}"));
        // An image that is half built is thrown away: it need not survive a power cut.
        arguments.push("--dpkgopt=force-unsafe-io".to_owned());
        arguments.extend([self.release.codename(), root, "-"].map(str::to_owned));
        arguments
    }

    fn configure(&self, root: &Path) -> Result<()> {
        let apt = root.join("etc/apt");
        // What mmdebstrap noted of its own options.
        for leftover in
            ["apt/apt.conf.d/99mmdebstrap", "apt/sources.list", "dpkg/dpkg.cfg.d/99mmdebstrap"]
        {
            folder::remove_file(&root.join("etc").join(leftover))?;
        }
        let sources = self.mirror.deb822(self.release, KEYRING);
        folder::write(&apt.join("sources.list.d/debian.sources"), sources, 0o644)?;
        // Neither need the servers.
        folder::write(&root.join("etc/dpkg/dpkg.cfg.d/lab"), "force-unsafe-io\n", 0o644)?;
        // Nobody reads descriptions of packages in other languages there.
        let settings = format!(
            "Acquire::Languages \"none\";\n\
             APT::Keep-Downloaded-Packages \"true\";\n\
             Binary::apt::APT::Keep-Downloaded-Packages \"true\";\n{}",
            self.apt_settings
        );
        folder::write(&apt.join("apt.conf.d/80lab"), settings, 0o644)?;
        for name in folder::names(&root.join("etc/ssh"))? {
            if name.starts_with("ssh_host_") {
                folder::remove_file(&root.join("etc/ssh").join(name))?;
            }
        }
        let units = root.join("etc/systemd/system");
        for unit in MASKED {
            folder::remove_file(&units.join(unit))?;
            symlink("/dev/null", units.join(unit)).context(|| format!("cannot mask `{unit}`"))?;
        }
        let generators = root.join("etc/systemd/system-generators");
        folder::create(&generators)?;
        for generator in LEFT_OUT {
            symlink("/dev/null", generators.join(generator))
                .context(|| format!("cannot leave out `{generator}`"))?;
        }
        let root_option = format!("--root={}", root.display());
        Program::new(["systemctl", "--quiet", &root_option, "enable", "systemd-networkd.service"])
            .run()?;
        self.trust(root)?;
        Self::prepare_apt(root)
    }

    /// Lets apt prepare what it makes of its lists, so that not every server does so again: half a
    /// second of a processor.
    fn prepare_apt(root: &Path) -> Result<()> {
        Program::new(["chroot".as_ref(), root.as_os_str(), "apt-get".as_ref(), "check".as_ref()])
            .timeout(Duration::from_mins(1))
            .run()?;
        Ok(())
    }

    /// Makes the image trust the certificates that this machine's administrator trusts.
    fn trust(&self, root: &Path) -> Result<()> {
        if self.certificates.is_empty() {
            return Ok(());
        }
        for (name, content) in &self.certificates {
            folder::write(&root.join(&CERTIFICATES[1..]).join(name), content, 0o644)?;
        }
        Program::new(["chroot".as_ref(), root.as_os_str(), "update-ca-certificates".as_ref()])
            .timeout(Duration::from_mins(1))
            .run()?;
        Ok(())
    }
}

/// Removes the images that are not among `keep`, and those half built.
///
/// # Errors
/// When something cannot be removed.
pub(super) fn clean(lab: &Folder, keep: &[String]) -> Result<()> {
    for name in folder::names(&lab.images())? {
        if !keep.contains(&name) {
            folder::remove(&lab.images().join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            release: Release::Debian12,
            mirror: Mirror::example(),
            apt_settings: "Acquire::Retries \"3\";\n".to_owned(),
            certificates: Vec::new(),
            period: 1400,
        }
    }

    #[test]
    fn mmdebstrap_gets_arguments() {
        assert_eq!(
            recipe().bootstrap_arguments("/lab/images/.x", "/lab/images/.x.apt.conf"),
            [
                "mmdebstrap",
                "--quiet",
                "--mode=root",
                "--format=directory",
                "--variant=minbase",
                "--include=ca-certificates,curl,dbus,iproute2,less,netbase,openssh-server,procps,\
                 sudo,systemd,systemd-sysv,tzdata",
                "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg",
                "--skip=cleanup/apt/lists",
                "--aptopt=/lab/images/.x.apt.conf",
                "--dpkgopt=force-unsafe-io",
                "bookworm",
                "/lab/images/.x",
                "-",
            ]
        );
    }

    #[test]
    fn another_recipe_is_another_image() {
        let (first, mut second) = (recipe(), recipe());
        assert_eq!(first.name(), second.name());
        assert!(first.name().starts_with("debian-12-"), "{}", first.name());
        second.certificates.push(("office.crt".to_owned(), b"x".to_vec()));
        assert_ne!(first.name(), second.name());
        let later = Recipe { period: first.period + 1, ..recipe() };
        assert_ne!(first.name(), later.name());
    }
}
