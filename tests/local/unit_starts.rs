//! Previews of units whose start, or whose reload, depends on earlier resources of the same run.

use infra::manifest::ResourceId;
use infra::resources::{Change, Prediction, Probe, Spec};

use crate::support::{Fake, World};

fn fake(world: &str) -> Fake {
    Fake::new(&serde_yaml::from_str::<World>(world).unwrap())
}

fn unit(fields: &str) -> Spec {
    let fields: serde_yaml::Value = serde_yaml::from_str(fields).unwrap();
    Spec::deserialize_kind("systemd_unit", fields).unwrap().unwrap()
}

/// Whether the plan refuses a unit that runs with `fields`, right now and after a change of the resource `earlier`.
fn is_refused(fields: &str, earlier: &str) -> [bool; 2] {
    let missing = "missing: [/var/lib/app, /srv/data/app, srv-data.mount]";
    let fake = fake(&format!(
        "{{ {missing}, files: {{ /usr/bin/app: program }}, \
         units: {{ maker.service: {{ active_state: inactive }} }} }}"
    ));
    let spec = unit(&format!("{{ name: app.service, running: true, {fields} }}"));
    let mut world = Prediction::new(&fake);
    let change = Change::between(spec.desired().as_ref(), &spec.current(&world).unwrap()).unwrap();
    let now = spec.check_obstacles(&change, &world).is_err();
    let earlier = ResourceId::parse(earlier).unwrap();
    world.mark_changed(&earlier);
    if earlier.kind() == "service" {
        let fields: serde_yaml::Value =
            serde_yaml::from_str(&format!("{{ name: {} }}", earlier.identity())).unwrap();
        let service = Spec::deserialize_kind("service", fields).unwrap().unwrap();
        let current = service.current(&world).unwrap();
        let change = Change::between(service.desired().as_ref(), &current).unwrap();
        service.predict(&change, &mut world);
    }
    [now, spec.check_obstacles(&change, &world).is_err()]
}

#[test]
fn what_an_earlier_resource_may_bring_to_a_unit_is_left_to_the_apply() {
    let folder = |path: &str| format!("service: {{ ExecStart: app, WorkingDirectory: {path} }}");
    let mount = "unit: { Requires: srv-data.mount }, service: { ExecStart: app }";
    for (fields, earlier, after) in [
        (folder("/var/lib/app"), "service:maker", false),
        (folder("/var/lib/app"), "file:/etc/a", true),
        (folder("/srv/data/app"), "volume:/srv/data", false),
        (folder("/srv/data/app"), "service:maker", true),
        (mount.to_owned(), "mount:/srv/data", false),
        (mount.to_owned(), "file:/etc/a", true),
    ] {
        assert_eq!(is_refused(&fields, earlier), [true, after], "{fields} after {earlier}");
    }
}

#[test]
fn a_drop_in_lets_a_service_reload() {
    let fake = fake(
        "{ units: { app.service: { active_state: active, properties: { CanReload: 'no' } } } }",
    );
    let mut world = Prediction::new(&fake);
    let dropin = |section: &str| unit(&format!("{{ name: app.service, dropin: own, {section} }}"));
    for (section, cannot) in [
        ("service: { LimitNOFILE: 9 }", true),
        ("service: { ExecReload: /bin/kill -HUP $MAINPID }", false),
    ] {
        let spec = dropin(section);
        let current = spec.current(&world).unwrap();
        let change = Change::between(spec.desired().as_ref(), &current).unwrap();
        spec.predict(&change, &mut world);
        assert_eq!(world.unit("app.service").unwrap().cannot_reload(), cannot, "{section}");
    }
}
