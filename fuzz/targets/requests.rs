//! Frames from a client, and runs of the agent with their manifests on a server in memory.

#![no_main]

use infra::manifest::Manifest;
use infra::wire::{self, Request};
use infra_fuzz::{compare_and_apply, server};
use libfuzzer_sys::fuzz_target;

/// As many requests as the agent reads of an input.
const MOST_REQUESTS: usize = 20;

fuzz_target!(|input: &[u8]| {
    let mut input = input;
    let mut system = server();
    for _ in 0..MOST_REQUESTS {
        let Ok(Some(request)) = wire::read_frame::<Request>(&mut input) else { break };
        let sent = wire::encode(&request).unwrap();
        wire::decode::<Request>(&sent[4..]).unwrap();
        let Request::Check { manifest, options } = request else { continue };
        compare_and_apply(&manifest, &options, &mut system);
        let nothing = Manifest { resources: Vec::new(), ..*manifest };
        compare_and_apply(&nothing, &options, &mut system);
    }
});
