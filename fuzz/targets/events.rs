//! Frames from a server, and the reports that are made of their events.

#![no_main]

use std::io::{Read as _, Seek as _};
use std::sync::{Arc, LazyLock, Mutex};

use infra::error::Error;
use infra::events::Event;
use infra::manifest::Manifest;
use infra::report::{Format, Health, Report, history};
use infra::saved_plan::Seen;
use infra::wire;
use libfuzzer_sys::fuzz_target;

static MANIFEST: LazyLock<Arc<Manifest>> = LazyLock::new(|| Arc::new(infra_fuzz::manifest()));

/// Takes the place of standard output, which reports are written to.
static PRINTED: LazyLock<Mutex<std::fs::File>> = LazyLock::new(|| {
    let file = rustix::fs::memfd_create("printed", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::stdio::dup2_stdout(&file).unwrap();
    Mutex::new(file.into())
});

/// As many events as the client reads of an input.
const MOST_EVENTS: usize = 200;

fuzz_target!(
    init: {
        LazyLock::force(&PRINTED);
        LazyLock::force(&MANIFEST);
    },
    |input: &[u8]| {
        let (events, error) = received(input);
        for format in [Format::Human, Format::Json, Format::Markdown] {
            for verbose in [false, true] {
                report(format, verbose, &events, error.as_ref());
                check(format, &printed());
            }
            let mut health = Health::new(["web".to_owned()]);
            events.iter().for_each(|event| health.event("web", event));
            check(format, &health.render(format));
            for event in &events {
                if let Event::History(runs) = event {
                    check(format, &history("web", runs, 20, format));
                }
            }
        }
        let (mut seen, nothing) = (Seen::default(), Seen::default());
        events.iter().for_each(|event| seen.add(event));
        let _ = (nothing.differences(&seen, &MANIFEST), seen.differences(&nothing, &MANIFEST));
        assert_eq!(seen.differences(&seen, &MANIFEST), Vec::<String>::new());
    }
);

/// The events in an input, and why there are no more.
fn received(mut input: &[u8]) -> (Vec<Event>, Option<Error>) {
    let mut events = Vec::new();
    while events.len() < MOST_EVENTS {
        match wire::read_frame(&mut input) {
            Ok(Some(event)) => events.push(event),
            Ok(None) => break,
            Err(error) => return (events, Some(Error::failed("lost").because(error))),
        }
    }
    (events, None)
}

fn report(format: Format, verbose: bool, events: &[Event], error: Option<&Error>) {
    let mut report = Report::new(format, verbose, false, [Arc::clone(&MANIFEST)]);
    report.connecting("web");
    for event in events {
        report.event("web", event).unwrap();
    }
    if let Some(error) = error {
        report.failed("web", error.clone()).unwrap();
    }
    let _ = (report.servers_with_changes(), report.changes([&"web".to_owned()]));
    report.finish().unwrap();
}

/// The output of reports since the last call.
fn printed() -> String {
    let mut file = PRINTED.lock().unwrap();
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    file.set_len(0).unwrap();
    file.rewind().unwrap();
    text
}

/// A terminal obeys nothing of the text, and programs can read JSON.
fn check(format: Format, text: &str) {
    if format == Format::Json {
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
    let is_obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(!text.contains(is_obeyed), "{format:?} has control characters: {text:?}");
}
