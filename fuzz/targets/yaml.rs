//! Texts of YAML: the reader, the specs of all kinds, the list of recipients, and what writes YAML.

#![no_main]

use infra::diagnostic::{Diagnostic, Diagnostics, Source};
use infra::resources::Spec;
use infra::secrets::recipients::Recipients;
use infra::wire;
use infra::yaml::emit::emit;
use infra::yaml::{self, Entry, Node};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let source = Source::new("input.yaml", text);
    if let Err(mistakes) = Recipients::parse(&source) {
        render(&mistakes);
    }
    match yaml::parse(&source) {
        Ok(node) => document(&node),
        Err(mistakes) => render(&mistakes),
    }
});

/// Both ways to show mistakes.
fn render(mistakes: &Diagnostics) {
    assert!(!mistakes.is_empty());
    let _ = (mistakes.render(true), mistakes.render(false));
}

fn document(node: &Node) {
    let text = emit(node);
    let again = yaml::parse(&Source::new("again.yaml", text.as_str()));
    let again = again.unwrap_or_else(|mistakes| {
        panic!("what was written is not read:\n{}\n{}", *text, mistakes.render(false))
    });
    assert_eq!(*emit(&again), *text, "what was written is read as something else");
    let _ = yaml::without_nulls(&yaml::merge(node, &again));
    for element in node.as_list().unwrap_or(std::slice::from_ref(node)) {
        element.as_map().into_iter().flat_map(|map| &map.entries).for_each(resource);
    }
}

/// `kind: fields` as in a role.
fn resource(entry: &Entry) {
    let Some(spec) = Spec::deserialize_kind(&entry.key, &entry.value) else { return };
    let mut spec = match spec {
        Ok(spec) => spec,
        Err(error) => {
            let mistake: Diagnostic = error.into_diagnostic(&entry.key, &entry.key_span);
            return render(&mistake.into());
        }
    };
    if spec.validate().is_err() {
        return;
    }
    if let Spec::DockerCompose(compose) = &mut spec {
        let _ = compose.read_services();
    }
    let sent = wire::encode(&spec).unwrap();
    let received: Spec = wire::decode(&sent[4..]).unwrap();
    assert_eq!(received, spec, "the wire changes a spec");
    let _ = (spec.id(), spec.desired(), spec.dropped(), spec.switches(), spec.replaces());
    let _ = (spec.units(), spec.runs_after_change_of());
}
