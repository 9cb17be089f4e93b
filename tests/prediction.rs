//! What a preview says of things that an earlier resource of the same run brings about.

use infra::manifest::ResourceId;
use infra::resources::{Change, Current, Prediction, Probe, Spec, State};

use crate::support::{Fake, World};

fn fake(world: &str) -> Fake {
    Fake::new(&serde_yaml::from_str::<World>(world).unwrap())
}

fn spec(kind: &str, fields: &str) -> Spec {
    let fields: serde_yaml::Value = serde_yaml::from_str(fields).unwrap();
    Spec::deserialize_kind(kind, fields).unwrap().unwrap()
}

#[test]
fn a_stopped_postgresql_is_asked_once_it_runs() {
    let fake = fake("{ missing: [postgresql], units: { postgresql@15-main.service: {} } }");
    let mut world = Prediction::new(&fake);
    let role = spec("postgresql_role", "{ name: flus }");
    assert!(role.current(&world).is_err(), "nothing will start it");
    let service = spec("service", "{ name: postgresql@15-main }");
    let change = Change::between(service.desired().as_ref(), &service.current(&world).unwrap());
    service.predict(&change.unwrap(), &mut world);
    assert_eq!(role.current(&world), Ok(Current::Unknown));
    let after = ResourceId::parse("service:postgresql@15-main");
    assert_eq!(world.first_unpredictable(), after);
}

#[test]
fn a_database_to_come_is_empty() {
    let fake = fake("{ sql: [{ sql: FROM pg_database, rows: [] }] }");
    let mut world = Prediction::new(&fake);
    let database = spec("postgresql_database", "{ name: flus }");
    assert_eq!(database.current(&world), Ok(Current::Absent));
    database.predict(&Change::Create(State::new()), &mut world);
    let extension = spec("postgresql_extension", "{ name: pg_trgm, database: flus }");
    assert_eq!(extension.current(&world), Ok(Current::Absent));
}
