//! When a host is said to need a reboot.

use infra::agent::reboot;

use crate::support::{Fake, World};

const RUNS: &str = "/proc/sys/kernel/osrelease: \"6.1.0-18-amd64\\n\", \
                    /proc/sys/kernel/version: \"#1 SMP Debian 6.1.76-1 (2024-02-01)\\n\"";

fn reason(files: &str, packages: &str) -> Option<String> {
    let world = format!("{{ files: {{ {RUNS}, {files} }}, packages: {{ {packages} }} }}");
    let world: World = serde_yaml::from_str(&world).unwrap();
    reboot::reason(&Fake::new(&world)).unwrap()
}

#[test]
fn packages_ask_for_it() {
    assert_eq!(
        reason("/run/reboot-required: x", ""),
        Some("asked for by `/run/reboot-required`".to_owned())
    );
    let asked = "/run/reboot-required: x, /run/reboot-required.pkgs: \"libc6\\ndbus\\nlibc6\\n\"";
    assert_eq!(reason(asked, ""), Some("asked for by dbus, libc6".to_owned()));
    let asked = "/run/reboot-required: x, /run/reboot-required.pkgs: \"a\\nb\\nc\\nd\\ne\\n\"";
    assert_eq!(reason(asked, ""), Some("asked for by a, b, c and 2 more".to_owned()));
}

#[test]
fn another_kernel_is_installed() {
    let runs = "/boot/vmlinuz-6.1.0-18-amd64: x";
    assert_eq!(reason(runs, ""), None);
    assert_eq!(reason(&format!("{runs}, /boot/vmlinuz-6.1.0-9-amd64: x"), ""), None);
    assert_eq!(
        reason(&format!("{runs}, /boot/vmlinuz-6.1.0-21-amd64: x"), ""),
        Some("kernel 6.1.0-18-amd64 runs, 6.1.0-21-amd64 is installed".to_owned())
    );
    // Of another kind: nobody has said that it is to run.
    assert_eq!(reason(&format!("{runs}, /boot/vmlinuz-6.12.0-1-cloud-amd64: x"), ""), None);
    // A container runs none of its own.
    assert_eq!(reason("/boot/vmlinuz-6.1.0-21-amd64: x", ""), None);
}

#[test]
fn another_build_of_the_same_kernel_is_installed() {
    let runs = "/boot/vmlinuz-6.1.0-18-amd64: x";
    assert_eq!(reason(runs, "linux-image-6.1.0-18-amd64: 6.1.76-1"), None);
    assert_eq!(
        reason(runs, "linux-image-6.1.0-18-amd64: 6.1.82-1"),
        Some("kernel 6.1.0-18-amd64 6.1.76-1 runs, 6.1.82-1 is installed".to_owned())
    );
}
