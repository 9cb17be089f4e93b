//! The memory of a server: `state.json`, and the record of a change that nobody proved.

#![no_main]

use std::sync::LazyLock;

use infra::agent::guard;
use infra::agent::state::State;
use infra::manifest::Manifest;
use infra::wire::RunOptions;
use infra_fuzz::{compare_and_apply, parts, put, server};
use libfuzzer_sys::fuzz_target;

static MANIFEST: LazyLock<Manifest> = LazyLock::new(infra_fuzz::manifest);

fuzz_target!(init: LazyLock::force(&MANIFEST), |input: &[u8]| {
    let [record, state] = parts(input);
    let mut system = server();
    put("/var/lib/infra/state.json", state, &mut system);
    if let Ok(state) = State::load(&system) {
        let _ = (state.memory(&system), state.runs(), state.owed_services(&MANIFEST));
        for allow_data_loss in [false, true] {
            let options = RunOptions { allow_data_loss, ..RunOptions::default() };
            compare_and_apply(&MANIFEST, &options, &mut system);
        }
        let nothing = Manifest { resources: Vec::new(), ..MANIFEST.clone() };
        compare_and_apply(&nothing, &RunOptions::default(), &mut system);
    }
    let mut system = server();
    put("/var/lib/infra/guard/record", record, &mut system);
    let mut state = State::default();
    let _ = guard::recover(&mut system, &mut state);
});
