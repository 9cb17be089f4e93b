//! Mikado: Docker and the services of Mailu, after the first apply.
//!
//! The images are stand-ins under Mailu's names, made on the server itself (see
//! `roles/lab-standin-mailu`), because a lab reaches no registry: the programs in them are not
//! Mailu's. The tests show everything around them.

use std::collections::BTreeMap;

use crate::support::{LabServer, copy, lines};

pub(crate) mod accounts;
pub(crate) mod containers;
pub(crate) mod engine;
pub(crate) mod projects;

crate::tests! {
    ;
    on each release:
        a_second_apply_changes_nothing = 25,
        the_records_for_the_dns_are_printed = 20,
}

/// Succeeds once every container does its work. The ports of the administration are open once it
/// has written its accounts: until then it could replace a change that a test makes in them.
const AT_WORK: &str = "test \"$(docker ps --format '{{.State}} {{.Status}}' | \
                       grep -v -E 'starting|unhealthy' | grep -c '^running ')\" = 9 && \
                       mailu compose exec -T admin health < /dev/null";

/// Mikado after its first apply, with every container at work.
fn mikado(os: &str) -> LabServer {
    let mikado = copy("mikado", os);
    mikado.wait_for("the containers of Mailu", AT_WORK);
    mikado
}

/// The containers, by service.
fn containers(mikado: &LabServer) -> BTreeMap<String, String> {
    let format = "{{.Label \"com.docker.compose.service\"}} {{.ID}} {{.State}}";
    let listing = mikado.shell(&format!("docker ps --all --format '{format}'"));
    let pair = |line: &str| {
        let (service, rest) = line.split_once(' ').unwrap();
        assert!(rest.ends_with(" running"), "{line}");
        (service.to_owned(), rest.to_owned())
    };
    assert!(!listing.is_empty(), "there is no container");
    listing.lines().map(pair).collect()
}

/// The first apply leaves nothing to do: accounts were imported once, and the folders that
/// programs have taken for themselves stay theirs.
fn a_second_apply_changes_nothing(os: &str) {
    let mikado = mikado(os);
    let said = mikado.converge(&[]);
    assert_eq!(lines(&said, "  changed"), Vec::<&str>::new(), "{said}");
    mikado.has_nothing_to_do(&[]);
    assert_eq!(containers(&mikado).len(), 9);
    assert_eq!(mikado.shell("cd /mailu && mailu compose config --quiet && echo fine"), "fine");
    assert_eq!(mikado.shell("cat /mailu/data/imports | wc -l"), "1");
    assert_eq!(
        mikado.shell("stat -c %u:%a /mailu/data /mailu/mail").replace('\n', " "),
        "1500:750 1500:750"
    );
}

/// `mailu dns` prints every record that the DNS needs, signatures included.
fn the_records_for_the_dns_are_printed(os: &str) {
    let mikado = mikado(os);
    let records = mikado.shell("mailu dns");
    let address = mikado.address();
    for record in [
        &format!("mail.flus.fr. 600 IN A {address}"),
        "in-addr.arpa. 600 IN PTR mail.flus.fr.",
        "flus.fr. 600 IN MX 10 mail.flus.fr.",
        "flus.io. 600 IN TXT \"v=spf1 mx a:mail.flus.fr ~all\"",
        "dkim._domainkey.flus.fr. 600 IN TXT \"v=DKIM1;",
        "dkim._domainkey.flus.io. 600 IN TXT \"v=DKIM1;",
        "_dmarc.flus.fr. 600 IN TXT \"v=DMARC1;",
    ] {
        assert!(records.contains(record), "{record}:\n{records}");
    }
}
