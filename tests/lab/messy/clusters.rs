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
