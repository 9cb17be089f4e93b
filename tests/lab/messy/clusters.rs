//! Two PostgreSQL clusters on one server, as an upgrade leaves them.

use super::Ground;

crate::tests! {
    databases_are_made_in_the_cluster_that_is_meant = 40,
}

/// `manual` is how `pg_upgradecluster` leaves the old cluster.
fn databases_are_made_in_the_cluster_that_is_meant() {
    let ground = Ground::new("debian-12");
    ground.server.run(
        "apt-get install -y -q --no-install-recommends postgresql >/dev/null 2>&1; \
         pg_createcluster --port 5433 --start 15 second >/dev/null; pg_ctlcluster 15 main start || true",
    );
    let shop = |more: &str| format!("  - postgresql_database: {{ name: shop{more} }}\n");
    let has = |port: u16| {
        let names = "runuser -u postgres -- psql -qAt -c 'SELECT datname FROM pg_database' -p";
        ground.server.shell(&format!("{names} {port} | grep -cx shop"))
    };
    let said = ground.refused(&shop(""));
    let several = "several PostgreSQL clusters could be meant: `15/main`, `15/second`";
    assert!(said.contains(several), "{said}");
    ground.server.run("echo manual > /etc/postgresql/15/second/start.conf");
    ground.hold(&shop(""));
    assert_eq!((has(5432), has(5433)), ("1".to_owned(), "0".to_owned()));
    // The same database under the name of its cluster, and another one of its name.
    ground.declare(&format!("{}{}", shop(", cluster: 15/main"), shop(", port: 5433")));
    ground.server.converge(&["--allow-data-loss"]);
    ground.server.has_nothing_to_do(&["--allow-data-loss"]);
    assert_eq!((has(5432), has(5433)), ("1".to_owned(), "1".to_owned()));
    an_extension_goes_with_its_database(&ground);
    what_postgresql_would_refuse_is_refused_before(&ground);
    let said = ground.refused(&shop(", cluster: 14/main"));
    assert!(said.contains("there is no PostgreSQL cluster `14/main`"), "{said}");
    ground.server.run("pg_ctlcluster 15 main stop");
    for more in ["", ", cluster: 15/main"] {
        let said = ground.refused(&shop(more));
        assert!(said.contains("the PostgreSQL cluster `15/main` is stopped"), "{said}");
    }
}

/// A table that needs the extension keeps it from going alone.
fn an_extension_goes_with_its_database(ground: &Ground) {
    let server = &ground.server;
    let shops = "  - postgresql_database: { name: shop, cluster: 15/main }\n\
                 \x20 - postgresql_database: { name: shop, port: 5433 }\n";
    let depot = "  - postgresql_database: { name: depot, cluster: 15/main }\n";
    let citext = "  - postgresql_extension: { name: citext, database: depot, cluster: 15/main }\n";
    server.run("apt-get install -y -q --no-install-recommends postgresql-contrib >/dev/null 2>&1");
    ground.hold(&format!("{shops}{depot}{citext}"));
    server.run("runuser -u postgres -- psql -qd depot -c 'CREATE TABLE names (name citext)'");
    // The database stays, and so does the table.
    ground.declare(&format!("{shops}{depot}"));
    let (code, said) = server.apply(&["--allow-data-loss"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("names"), "{said}");
    server.run("runuser -u postgres -- psql -qd depot -c 'SELECT * FROM names'");
    ground.declare(shops);
    let plan = server.plan(&["--allow-data-loss"]);
    assert!(!plan.contains("postgresql_extension"), "{plan}");
    server.converge(&["--allow-data-loss"]);
    server.has_nothing_to_do(&["--allow-data-loss"]);
    assert_eq!(
        server
            .shell("runuser -u postgres -- psql -qAtc 'SELECT count(*) FROM pg_database' -d shop"),
        "4"
    );
}

fn what_postgresql_would_refuse_is_refused_before(ground: &Ground) {
    let shops = "  - postgresql_database: { name: shop, cluster: 15/main }\n\
                 \x20 - postgresql_database: { name: shop, port: 5433 }\n";
    let one = |kind: &str, fields: &str| {
        format!("{shops}  - postgresql_{kind}: {{ {fields}, cluster: 15/main }}\n")
    };
    for (kind, fields, refusal) in [
        ("database", "name: depot, owner: keeper", "PostgreSQL has no role `keeper`"),
        ("database", "name: depot, on_create: { encoding: UTF-9 }", "knows no encoding `UTF-9`"),
        ("database", "name: depot, on_create: { locale: xx_XX.UTF-8 }", "no locale `xx_XX.UTF-8`"),
        ("database", "name: depot, on_create: { template: model }", "no database `model` to copy"),
        ("role", "name: keeper, member_of: [keepers]", "PostgreSQL has no role `keepers`"),
        ("extension", "name: earthdistance, database: shop", "it requires the extension `cube`"),
        ("extension", "name: citext, database: shop, schema: own", "has no schema `own`"),
    ] {
        let said = ground.refused(&one(kind, fields));
        assert!(said.contains(refusal), "{said}");
    }
    let all = format!(
        "{shops}  - postgresql_role: {{ name: keepers, login: false, cluster: 15/main }}\n\
         \x20 - postgresql_role: {{ name: keeper, member_of: [keepers], cluster: 15/main }}\n\
         \x20 - postgresql_database: {{ name: depot, owner: keeper, cluster: 15/main, \
                on_create: {{ encoding: UTF8, locale: C.UTF-8 }} }}\n\
         \x20 - postgresql_extension: {{ name: cube, database: depot, cluster: 15/main }}\n\
         \x20 - postgresql_extension: {{ name: earthdistance, database: depot, cluster: 15/main, schema: public }}\n"
    );
    ground.hold(&all);
    let said = ground.refused(&one("role", "name: keeper, state: absent"));
    assert!(said.contains("something belongs to the role `keeper`, or names it"), "{said}");
    assert!(said.contains("in `depot`"), "{said}");
    ground.hold(&format!(
        "{shops}  - postgresql_database: {{ name: depot, cluster: 15/main, state: absent, allow_data_loss: true }}\n\
         \x20 - postgresql_role: {{ name: keeper, state: absent, cluster: 15/main }}\n"
    ));
}
