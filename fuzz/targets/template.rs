//! The files of a small project: the inventory, a role, templates with their expressions.

#![no_main]

use std::sync::LazyLock;

use infra_fuzz::Project;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static PROJECT: LazyLock<Project> = LazyLock::new(Project::new);
}

fuzz_target!(|input: &[u8]| {
    PROJECT.with(|project| {
        if let Err(mistakes) = project.compile(input) {
            let _ = mistakes.render(true);
        }
    });
});
