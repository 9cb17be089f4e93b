//! Whether the host should be rebooted: packages ask for it, or another kernel is installed than
//! the one that runs.

use crate::error::Result;
use crate::resources::Probe;

/// Where Debian's packages ask for a reboot, and which did.
const REQUIRED: &str = "/run/reboot-required";
const PACKAGES: &str = "/run/reboot-required.pkgs";

const BOOT: &str = "/boot";
const RELEASE: &str = "/proc/sys/kernel/osrelease";
const BUILD: &str = "/proc/sys/kernel/version";

/// How many packages are named.
const MOST_NAMES: usize = 3;

/// Why the host should be rebooted, as a phrase; `None` if nothing asks for it.
///
/// # Errors
/// If what would say so cannot be read.
pub fn reason(probe: &dyn Probe) -> Result<Option<String>> {
    if probe.exists(REQUIRED)? {
        return Ok(Some(format!("asked for by {}", who_asks(probe)?)));
    }
    kernel(probe)
}

fn who_asks(probe: &dyn Probe) -> Result<String> {
    let names = text(probe, PACKAGES)?.unwrap_or_default();
    let mut names: Vec<&str> = names.lines().map(str::trim).filter(|n| !n.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(MOST_NAMES);
    names.truncate(MOST_NAMES);
    Ok(match more {
        _ if names.is_empty() => format!("`{REQUIRED}`"),
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    })
}

/// Compares the kernel that runs with those in `/boot`. A host that runs none of them, such as a
/// container, is not told anything.
fn kernel(probe: &dyn Probe) -> Result<Option<String>> {
    let Some(running) = text(probe, RELEASE)? else { return Ok(None) };
    let names = probe.list(BOOT)?.unwrap_or_default();
    let installed: Vec<&str> =
        names.iter().filter_map(|name| name.strip_prefix("vmlinuz-")).collect();
    if !installed.contains(&&*running) {
        return Ok(None);
    }
    let (flavour, order) = kind(&running);
    let newer = installed.iter().filter(|one| kind(one).0 == flavour && kind(one).1 > order);
    if let Some(newest) = newer.max_by_key(|one| kind(one).1) {
        return Ok(Some(format!("kernel {running} runs, {newest} is installed")));
    }
    // A security update may bring a new build of the same release. The kernel knows its package's
    // version: `#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)`.
    let build = text(probe, BUILD)?.unwrap_or_default();
    let Some(build) = build.split_once("Debian ").and_then(|(_, rest)| rest.split(' ').next())
    else {
        return Ok(None);
    };
    let package = probe.package(&format!("linux-image-{running}"))?;
    let package = package.filter(|version| version != build);
    Ok(package.map(|version| format!("kernel {running} {build} runs, {version} is installed")))
}

/// What kind of kernel `6.1.0-18-cloud-amd64` is, `cloud-amd64`, and the numbers before that.
fn kind(release: &str) -> (String, Vec<u64>) {
    let parts: Vec<&str> = release.split('-').collect();
    let is_number = |part: &&str| part.starts_with(|c: char| c.is_ascii_digit());
    let numbers = parts.iter().rposition(is_number).map_or(0, |last| last + 1);
    let (version, flavour) = parts.split_at(numbers);
    let version = version.join("-");
    let digits = version.split(|c: char| !c.is_ascii_digit());
    (flavour.join("-"), digits.filter_map(|number| number.parse().ok()).collect())
}

fn text(probe: &dyn Probe, path: &str) -> Result<Option<String>> {
    let content = probe.read(path)?;
    Ok(content.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
}
