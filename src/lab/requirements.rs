//! What this machine must have to run a lab, checked before anything is changed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::image::KEYRING;
use super::program::{self, Program};
use crate::error::{Error, Result};

/// Programs, and the Debian packages that bring them.
const PROGRAMS: &[(&str, &str)] = &[
    ("chroot", "coreutils"),
    ("ip", "iproute2"),
    ("mmdebstrap", "mmdebstrap"),
    ("mount", "mount"),
    ("nft", "nftables"),
    ("setsid", "util-linux"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("systemctl", "systemd"),
    ("systemd-nspawn", "systemd-container"),
];

/// Packages that hold no program, by a file of theirs.
const FILES: &[(&str, &str)] = &[(KEYRING, "debian-archive-keyring")];

/// What a machine lacks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lacks {
    /// What no package can bring, a phrase each.
    causes: Vec<String>,
    /// Programs and files, with their packages.
    missing: Vec<(&'static str, &'static str)>,
}

impl Lacks {
    /// The Debian packages that would help, sorted, each once.
    fn packages(&self) -> Vec<&'static str> {
        let mut packages: Vec<_> = self.missing.iter().map(|(_, package)| *package).collect();
        packages.sort_unstable();
        packages.dedup();
        packages
    }

    fn into_error(self) -> Option<Error> {
        if self == Self::default() {
            return None;
        }
        let packages = self.packages();
        let mut error = Error::failed("this machine cannot run the lab");
        for cause in self.causes {
            error = error.because(cause);
        }
        for (name, _) in self.missing {
            error = error.because(format!("`{name}` is not installed"));
        }
        if packages.is_empty() {
            return Some(error.hint("run the lab as root on a Linux machine of your own"));
        }
        Some(error.hint(format!("run `apt-get install {}`", packages.join(" "))))
    }
}

/// Checks everything, so that one error names all that is missing.
///
/// # Errors
/// When this machine cannot run a lab.
pub(super) fn check() -> Result<()> {
    lacks().into_error().map_or(Ok(()), Err)
}

/// Installs the missing packages from the Debian archive.
///
/// # Errors
/// When apt fails.
pub(super) fn install(notice: &dyn Fn(&str)) -> Result<()> {
    let packages = lacks().packages();
    if packages.is_empty() {
        return Ok(());
    }
    notice(&format!("installing {}", packages.join(", ")));
    let long = Duration::from_mins(10);
    Program::new(["apt-get", "update"]).timeout(long).run()?;
    let arguments = ["apt-get", "install", "--yes", "--no-install-recommends"];
    Program::new(arguments.iter().chain(&packages)).timeout(long).run()?;
    Ok(())
}

fn lacks() -> Lacks {
    let mut lacks = Lacks::default();
    if !cfg!(target_os = "linux") {
        lacks.causes.push("it does not run Linux".to_owned());
        return lacks;
    }
    if !rustix::process::geteuid().is_root() {
        lacks.causes.push("you are not root".to_owned());
    } else if !has_overlay() {
        lacks.causes.push("its kernel has no overlay file system".to_owned());
    }
    lacks.missing.extend(PROGRAMS.iter().filter(|(name, _)| program::find(name).is_none()));
    lacks.missing.extend(FILES.iter().filter(|(path, _)| !Path::new(path).exists()));
    lacks
}

/// The module may have to be loaded first, which is no change that anybody would miss.
fn has_overlay() -> bool {
    let is_known = || {
        fs::read_to_string("/proc/filesystems")
            .is_ok_and(|text| text.lines().any(|line| line.trim_end().ends_with("\toverlay")))
    };
    is_known()
        || (Program::new(["modprobe", "overlay"]).output().is_ok_and(|output| output.success)
            && is_known())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_missing_is_named_at_once() {
        let lacks = Lacks {
            causes: vec!["you are not root".to_owned()],
            missing: vec![
                ("ssh", "openssh-client"),
                ("ssh-keygen", "openssh-client"),
                ("mmdebstrap", "mmdebstrap"),
            ],
        };
        assert_eq!(
            lacks.into_error().unwrap().to_string(),
            "this machine cannot run the lab\n\
             caused by: you are not root\n\
             caused by: `ssh` is not installed\n\
             caused by: `ssh-keygen` is not installed\n\
             caused by: `mmdebstrap` is not installed\n\
             hint: run `apt-get install mmdebstrap openssh-client`"
        );
    }

    #[test]
    fn what_no_package_brings_has_another_hint() {
        let lacks = Lacks { causes: vec!["it does not run Linux".to_owned()], missing: vec![] };
        assert_eq!(
            lacks.into_error().unwrap().hint.as_deref(),
            Some("run the lab as root on a Linux machine of your own")
        );
        assert_eq!(Lacks::default().into_error(), None);
    }
}
