//! Names, versions and architectures of packages as apt and dpkg take them, from an archive that
//! the test makes on the server.

use super::Ground;

crate::tests! {
    a_name_stands_for_the_package_that_provides_it = 15,
    a_declared_package_goes_with_no_other = 10,
    an_architecture_is_not_taken_for_another = 10,
    a_source_that_does_not_answer_is_told_and_asked_again = 15,
}

/// Makes an archive of packages that are empty: `alone` provides `lonely`, `one` and `two` provide
/// `both`, `pair` is there for two architectures, and `aged` has two versions. `upper` needs `alone`,
/// which `rival` does not bear.
const ARCHIVE: &str = r#"
mkdir -p /srv/archive/x/DEBIAN && cd /srv/archive || exit 1
make() {
    deb="$1_${2#*:}_$3.deb"
    printf 'Package: %s\nVersion: %s\nArchitecture: %s\nMulti-Arch: same\n' "$1" "$2" "$3" > x/DEBIAN/control
    printf 'Provides: %s\nMaintainer: a <a@example.org>\nDescription: none\n' "$4" >> x/DEBIAN/control
    [ -z "$5" ] || printf '%s\n' "$5" >> x/DEBIAN/control
    dpkg-deb --build x "$deb" >/dev/null || exit 1
    cat x/DEBIAN/control >> Packages
    printf 'Filename: ./%s\nSize: %s\n' "$deb" "$(stat -c %s "$deb")" >> Packages
    printf 'SHA256: %s\n\n' "$(sha256sum < "$deb" | cut -d' ' -f1)" >> Packages
}
make alone 1.0 amd64 lonely; make one 1.0 amd64 both; make two 1.0 amd64 both
make pair 1.0 amd64 twins; make pair 1.0 i386 twins
make upper 1.0 amd64 high 'Depends: alone'; make rival 1.0 amd64 low 'Conflicts: alone'
make aged 5:1.2-1 amd64 old; make aged 5:2.0-1 amd64 old
printf 'Suite: test\nSHA256:\n %s %s Packages\n' "$(sha256sum < Packages | cut -d' ' -f1)" \
    "$(stat -c %s Packages)" > Release
echo 'deb [trusted=yes] file:/srv/archive ./' > /etc/apt/sources.list.d/archive.list
apt-get update -q >/dev/null
"#;

fn ground(os: &str) -> Ground {
    let ground = Ground::new(os);
    ground.server.run(ARCHIVE);
    ground
}

fn installed(ground: &Ground) -> String {
    let names = "dpkg-query -W -f '${db:Status-Abbrev}${binary:Package} ' alone one two pair aged upper rival \
                 2>/dev/null | sed 's/:amd64//g'";
    let words = ground.server.shell(names);
    let words: Vec<&str> = words.split_whitespace().collect();
    let pairs = words.chunks(2).filter(|pair| pair.first() == Some(&"ii"));
    pairs.filter_map(|pair| pair.get(1).copied()).collect::<Vec<_>>().join(" ")
}

/// A name and its provider are one package for plans, for removals and for what came by hand.
fn a_name_stands_for_the_package_that_provides_it() {
    let ground = ground("debian-12");
    let lonely = "  - package: { name: lonely, remove_when_dropped: true }\n";
    let alone = "  - package: { name: alone, remove_when_dropped: true }\n";
    let plan = ground.hold(lonely);
    assert!(plan.contains("version: 1.0, stands for: alone"), "{plan}");
    assert_eq!(installed(&ground), "alone");
    // Each name goes on with what the other has brought, and the last one takes it away.
    for next in [alone, lonely, &alone.replace("alone", "alone:amd64")] {
        let plan = ground.hold(next);
        assert!(!plan.contains("remove"), "{plan}");
        assert_eq!(installed(&ground), "alone");
    }
    ground.hold("");
    assert_eq!(installed(&ground), "");

    ground.server.run("apt-get install -y -q alone two >/dev/null");
    ground.hold(&format!("{lonely}{}", lonely.replace("lonely", "both")));
    ground.hold("");
    assert_eq!(installed(&ground), "alone two", "what came by hand stays");
    ground.server.run("apt-get purge -y -q two >/dev/null");
    let said = ground.refused("  - package: both\n");
    assert!(said.contains("several packages provide `both`"), "{said}");
    assert!(said.contains("declare one of them: `one`, `two`"), "{said}");
    let clash = "  - package: lonely\n  - package: { name: alone, state: absent }\n";
    let said = ground.refused(clash);
    assert!(said.contains("`package:alone` is `package:lonely` under another name"), "{said}");
    let (code, said) = ground.server.apply(&[]);
    assert_eq!((code, installed(&ground).as_str()), (3, "alone"), "{said}");
}

/// Neither with one that goes nor for one that comes, whatever their names; nor is it put there in vain.
fn a_declared_package_goes_with_no_other() {
    let ground = ground("debian-13");
    let both = "  - package: { name: lonely, remove_when_dropped: true }\n  - package: upper\n";
    ground.declare("  - package: alone\n  - package: lonely\n");
    let (code, said) = ground.server.apply(&[]);
    assert!(said.contains("`package:lonely` is `package:alone` under another name"), "{said}");
    assert_eq!((code, installed(&ground).as_str()), (3, ""), "{said}");
    ground.declare("  - package: upper\n  - package: { name: alone, state: absent }\n");
    ground.server.run("apt-get install -y -q alone >/dev/null");
    let (code, said) = ground.server.apply(&[]);
    assert!(said.contains("`package:upper` needs `package:alone`"), "{said}");
    assert_eq!((code, installed(&ground).as_str()), (3, "alone"), "{said}");
    ground.server.run("apt-get purge -y -q alone >/dev/null");

    let said = ground.refused("  - package: one\n  - package: rival\n  - package: upper\n");
    assert!(said.contains("package:upper  failed: apt cannot install what is declared"), "{said}");
    assert!(said.contains("caused by: upper : Depends: alone"), "{said}");
    let (code, said) = ground.server.apply(&[]);
    assert_eq!((code, installed(&ground).as_str()), (3, "one rival"), "{said}");
    ground.server.run("apt-get purge -y -q one rival >/dev/null");

    ground.hold(both);
    // Nobody declares it any more, and a declared one needs it.
    let plan = ground.hold("  - package: upper\n");
    let stays = "no longer managed: `package:alone` would take `package:upper` away";
    assert!(plan.contains(stays), "{plan}");
    assert_eq!(installed(&ground), "alone upper");
    for (declared, refusal) in [
        (
            "  - package: high\n  - package: { name: alone, state: absent }\n",
            "`package:alone` would take `package:high` away",
        ),
        (
            "  - package: rival\n  - package: lonely\n",
            "`package:rival` would take `package:lonely` away",
        ),
    ] {
        let said = ground.refused(declared);
        assert!(said.contains(refusal), "{said}");
        let (code, said) = ground.server.apply(&[]);
        assert_eq!((code, installed(&ground).as_str()), (3, "alone upper"), "{said}");
    }
    let said = ground.refused("  - package: { name: openssh-client, state: absent }\n");
    let refusal = "`package:openssh-client` would take `package:openssh-server` away";
    assert!(said.contains(refusal) && said.contains("is how infra logs in"), "{said}");
    let user = "  - user: { name: ann, shell: /bin/mksh }\n";
    ground.hold(&format!("  - package: {{ name: mksh, remove_when_dropped: true }}\n{user}"));
    let plan = ground.hold(user);
    assert!(
        plan.contains("no longer managed: `package:mksh` has the shell of `user:ann`"),
        "{plan}"
    );
    let said = ground.refused(&format!("{user}  - package: {{ name: mksh, state: absent }}\n"));
    assert!(said.contains("`/bin/mksh` would go, and nobody could log in as `ann`"), "{said}");
    // A part of the inventory says nothing of the rest.
    ground.hold("  - package: upper\n  - package: lonely\n");
    ground.declare("  - package: upper\n");
    ground.add_role("other", "  - package: { name: alone, state: absent }\n");
    let (code, said) = ground.server.apply(&["--only", "other"]);
    assert!(said.contains("`package:alone` would take `package:upper` away"), "{said}");
    assert_eq!((code, installed(&ground).as_str()), (3, "alone upper"), "{said}");
}

/// Versions are patterns as for apt, and what is on hold stays.
fn an_architecture_is_not_taken_for_another() {
    let ground = ground("debian-13");
    let pair = "  - package: { name: 'pair:i386', remove_when_dropped: true }\n";
    ground.hold("  - package: pair\n");
    let said = ground.refused(pair);
    assert!(said.contains("the server takes no packages for `i386`"), "{said}");
    assert!(said.contains("`dpkg --add-architecture i386` enables it"), "{said}");
    let enable = "  - command: { name: i386, run: dpkg --add-architecture i386, \
                  unless: grep -qx i386 /var/lib/dpkg/arch }\n";
    // The archives of Debian need not have lists for it.
    ground.server.run("rm /etc/apt/sources.list.d/debian*; apt-get update -q >/dev/null");
    ground.hold(&format!("{enable}{pair}"));
    assert_eq!(installed(&ground), "pair pair:i386");
    ground.hold(enable);
    assert_eq!(installed(&ground), "pair");

    ground.hold("  - package: { name: aged, version: '5:1.*' }\n");
    let said = ground.refused("  - package: { name: aged, version: '5:3.*' }\n");
    assert!(said.contains("no version of package `aged` matches `5:3.*`"), "{said}");
    ground.server.run("apt-mark hold aged");
    let said = ground.refused("  - package: { name: aged, version: '5:2.*' }\n");
    assert!(said.contains("`aged` is on hold, and would change"), "{said}");
    ground.server.run("apt-mark unhold aged");
    let plan = ground.hold("  - package: { name: aged, version: '5:2.*' }\n");
    assert!(plan.contains("package:aged  change\n"), "nobody else changed it: {plan}");
    assert!(plan.contains("version: 5:1.2-1 → 5:2.*"), "{plan}");
}

/// Nothing listens on port 9 of the server.
fn a_source_that_does_not_answer_is_told_and_asked_again() {
    let ground = ground("debian-12");
    ground.server.run(
        "echo 'Acquire::Retries 0;' > /etc/apt/apt.conf.d/zz-test; rm /etc/apt/sources.list.d/debian*; \
         mv /etc/apt/sources.list.d/archive.list /root; apt-get update -q >/dev/null",
    );
    let vendor = "  - apt_repository: { name: vendor, uris: 'http://127.0.0.1:9/', suites: ./, \
                  signed_by: /usr/share/keyrings/debian-archive-keyring.gpg }\n";
    let words = "Failed to fetch http://127.0.0.1:9/./InRelease";
    ground.declare(&format!("{vendor}  - package: alone\n"));
    let (code, said) = ground.server.apply(&[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(words) && !said.contains("check its name"), "{said}");
    assert!(said.contains("apt could not fetch the lists of all sources"), "{said}");
    // The source that has it is back; the one that nobody needs is told, and asked the next time.
    ground.server.run("mv /root/archive.list /etc/apt/sources.list.d/");
    let (code, said) = ground.server.apply(&[]);
    assert_eq!((code, installed(&ground).as_str()), (0, "alone"), "{said}");
    assert!(said.contains("warning: ") && said.contains(words), "{said}");
    ground.declare(&format!("{vendor}  - package: alone\n  - package: one\n"));
    let said = ground.server.converge(&[]);
    assert!(said.contains(words), "{said}");
    ground.hold("  - package: alone\n");
    ground.hold("  - package: alone\n  - package: two\n");
    ground.server.run("test ! -e /var/lib/infra/apt-update-owed");
}
