//! Saved plans, decrypted: the whole text, and the part of it that this build alone can read.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use infra::saved_plan::{SavedPlan, Seen};
use infra::wire::RunOptions;
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// The first line of a plan of this build.
    static HEAD: String = {
        let plan = SavedPlan::new(RunOptions::default(), Vec::new(), 0, false).text().unwrap();
        plan.lines().next().unwrap().to_owned()
    };
}

fuzz_target!(|input: &[u8]| {
    let _ = SavedPlan::parse("input.plan", input);
    let text = HEAD.with(|head| format!("{head}\n{}", STANDARD.encode(input)));
    let Ok(plan) = SavedPlan::parse("input.plan", text.as_bytes()) else { return };
    let again = plan.text().unwrap();
    assert_eq!(SavedPlan::parse("again.plan", again.as_bytes()).unwrap().header, plan.header);
    for server in &plan.servers {
        let seen = &server.seen;
        let _ = (seen.is_complete(), seen.is_sound());
        let _ = seen.differences(&Seen::default(), &server.manifest);
        let _ = Seen::default().differences(seen, &server.manifest);
    }
});
