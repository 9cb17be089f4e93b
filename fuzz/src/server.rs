//! A server in memory: that of the tests.

#[expect(dead_code, reason = "the tests do more with it")]
#[path = "../../tests/local/support/fake.rs"]
mod fake;
#[path = "../../tests/local/support/files.rs"]
mod files;
#[path = "../../tests/local/support/operations.rs"]
mod operations;
#[path = "../../tests/local/support/systemctl.rs"]
mod systemctl;
#[path = "../../tests/local/support/world.rs"]
mod world;

use infra::agent;
use infra::events::Event;
use infra::manifest::Manifest;
use infra::resources::{Attributes, System};
use infra::wire::{self, RunOptions};

/// A Debian with nothing installed.
pub fn server() -> impl System {
    fake::Fake::new(&world::World::default())
}

/// Puts a file of root's on a server, in a folder that is made if it is missing.
pub fn put(path: &str, content: &[u8], system: &mut dyn System) {
    let folders = path.match_indices('/').skip(1).map(|(end, _)| &path[..end]);
    for folder in folders {
        if !system.exists(folder).unwrap() {
            system.make_directory(folder, &Attributes::new("root", "root", 0o700)).unwrap();
        }
    }
    system.write_file(path, content, &Attributes::new("root", "root", 0o600)).unwrap();
}

/// Applies a manifest as the agent does, and returns the frames that it would send.
pub fn compare_and_apply(
    manifest: &Manifest,
    options: &RunOptions,
    system: &mut dyn System,
) -> Vec<u8> {
    use std::sync::{Arc, Mutex};
    let sent = Arc::new(Mutex::new(Vec::new()));
    let frames = Arc::clone(&sent);
    let sink = move |event: &Event| {
        frames.lock().unwrap().extend(wire::encode(event)?);
        Ok(())
    };
    // A run that cannot go on is none of a fuzzer's business.
    let _ = agent::apply_manifest(manifest, options, system, Box::new(sink));
    std::mem::take(&mut *sent.lock().unwrap())
}
