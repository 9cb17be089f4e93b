//! The owner of a database, who puts names of their own in front of PostgreSQL's: nothing that infra
//! asks or changes runs them.

use std::fs;

use crate::support::copy;

crate::tests! {
    ;
    on one release:
        the_owner_of_a_database_wins_nothing = 30,
}

/// Everything that infra's questions name, as traps: whoever runs one of them as a superuser has
/// run a program on the server and made its owner a superuser.
const TRAP: &str = "\
CREATE ROLE app LOGIN;
CREATE DATABASE app OWNER app;
\\c app
SET SESSION AUTHORIZATION app;
CREATE SCHEMA evil;
CREATE FUNCTION evil.win() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('is_superuser') = 'on' THEN
    EXECUTE $q$COPY (SELECT 1) TO PROGRAM
      'id > /tmp/won; psql -Xqc \"ALTER ROLE app SUPERUSER\"'$q$;
  END IF;
  RETURN true;
END $$;
CREATE VIEW evil.pg_extension AS SELECT e.* FROM pg_catalog.pg_extension e WHERE evil.win();
CREATE VIEW evil.pg_namespace AS SELECT n.* FROM pg_catalog.pg_namespace n WHERE evil.win();
CREATE VIEW evil.pg_available_extensions AS
  SELECT e.* FROM pg_catalog.pg_available_extensions e WHERE evil.win();
CREATE VIEW evil.pg_available_extension_versions AS
  SELECT e.* FROM pg_catalog.pg_available_extension_versions e WHERE evil.win();
CREATE FUNCTION evil.equal(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT evil.win()';
CREATE FUNCTION evil.equal(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.win()';
CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.equal);
CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.equal);
CREATE DOMAIN evil.text AS pg_catalog.text CHECK (evil.win());
ALTER DATABASE app SET search_path = evil, pg_catalog;
";

const ROLE: &str = "\
description: an extension in the database of somebody else
resources:
  - postgresql_role: { name: app }
  - postgresql_database: { name: app, owner: app }
  - postgresql_extension: { name: pg_trgm, database: app }
";

/// The wins of the owner.
const WON: &str = "\
cat /tmp/won /tmp/systemd-private-*/tmp/won 2>/dev/null
runuser -u postgres -- psql -XAtc \"SELECT rolname FROM pg_roles WHERE rolsuper AND rolname = 'app'\"";

fn the_owner_of_a_database_wins_nothing(os: &str) {
    let mut rufus = copy("rufus", os);
    let folder = tempfile::tempdir().unwrap();
    for part in ["inventory", "roles/trap"] {
        fs::create_dir_all(folder.path().join(part)).unwrap();
    }
    let inventory = "ssh: { host: rufus.example.org }\nroles: { trap: {} }\n";
    fs::write(folder.path().join("inventory/rufus.yaml"), inventory).unwrap();
    fs::write(folder.path().join("roles/trap/role.yaml"), ROLE).unwrap();
    let trap = TRAP.replace('\'', "'\\''");
    rufus.run(&format!(
        "printf %s '{trap}' | runuser -u postgres -- psql -Xq -v ON_ERROR_STOP=1 postgres"
    ));
    rufus.use_project(folder.path());
    let only = ["--only", "trap"];
    let plan = rufus.plan(&only);
    assert!(plan.contains("postgresql_extension:app/pg_trgm"), "{plan}");
    assert_eq!(rufus.shell(WON), "", "{plan}");
    let said = rufus.converge(&only);
    assert_eq!(rufus.shell(WON), "", "{said}");
    let schema = "runuser -u postgres -- psql -XAt app -c \"SELECT nspname FROM pg_catalog.pg_extension \
                  e JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace \
                  WHERE extname OPERATOR(pg_catalog.=) 'pg_trgm'\"";
    assert_eq!(rufus.shell(&format!("PGOPTIONS='-c search_path=pg_catalog' {schema}")), "public");
}
