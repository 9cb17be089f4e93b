//! Saved plans, decrypted: the whole text, sealed or not, and the part of it that this build alone can
//! read.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use infra::saved_plan::{SavedPlan, Seen};
use infra::secrets::PlanKey;
use infra::wire::RunOptions;
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// The first line of a plan of this build.
    static HEAD: String = {
        let plan = SavedPlan::new(RunOptions::default(), Vec::new(), (0, 1), false);
        plan.text(&PlanKey::of_lab()).unwrap().lines().next().unwrap().to_owned()
    };
}

/// A reader of the key may seal any text.
fn sealed(text: &str) -> String {
    format!("{text}\n{}", STANDARD.encode(PlanKey::of_lab().seal(text.as_bytes())))
}

fuzz_target!(|input: &[u8]| {
    let key = PlanKey::of_lab();
    let _ = SavedPlan::parse("input.plan", input, &key);
    let _ =
        SavedPlan::parse("input.plan", sealed(&String::from_utf8_lossy(input)).as_bytes(), &key);
    let text = HEAD.with(|head| sealed(&format!("{head}\n{}", STANDARD.encode(input))));
    let Ok(plan) = SavedPlan::parse("input.plan", text.as_bytes(), &key) else { return };
    let again = plan.text(&key).unwrap();
    assert_eq!(SavedPlan::parse("again.plan", again.as_bytes(), &key).unwrap().header, plan.header);
    for server in &plan.servers {
        let seen = &server.seen;
        let _ = (seen.is_complete(), seen.is_sound());
        let _ = seen.differences(&Seen::default(), &server.manifest);
        let _ = Seen::default().differences(seen, &server.manifest);
        let _ = server.way.differences(&infra::saved_plan::Way::default());
    }
});
