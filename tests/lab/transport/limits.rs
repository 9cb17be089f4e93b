//! Servers that say too much or nothing: each fails alone, within the limits of a run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use infra::events::{Event, Outcome, RunEnd, RunRecord};
use infra::fleet::{Fleet, News, Server};
use infra::manifest::{Expect, Manifest, Resource};
use infra::resources::{Facts, Spec};
use infra::transport::{Limits, Login, Person, Transport};
use infra::wire::{self, Request, RunOptions};
use tokio::sync::watch;

use super::relay;
use crate::sshd::{Setup, Sshd};

crate::tests! {
    endless_events_end_their_server_alone,
    endless_texts_end = 4,
    endless_heartbeats_end,
    a_frame_that_claims_too_much_is_refused,
    a_frame_that_is_never_whole_is_not_waited_for,
    a_silent_agent_is_not_waited_for,
    a_long_command_is_waited_for = 50,
    a_history_that_is_too_long_is_refused = 25,
    what_was_not_asked_for_is_refused,
    endless_uploads_end,
    endless_words_of_a_server_end,
}

const HINT: &str = "hint: no agent of infra does that: find out what runs on `rufus`";

/// Nobody waits longer for a test that fails.
const PATIENCE: Duration = Duration::from_mins(2);

/// A server on which `script` runs instead of the agent, after the greeting. `$here` holds `frames`.
fn liar(script: &str, frames: &[u8]) -> Sshd {
    let start = "here=$(dirname \"$0\"); cat \"$here/greeting\"";
    stranger(&format!("{start}; {script}"), frames)
}

/// A server on which `script` runs instead of all that is asked for.
fn stranger(script: &str, frames: &[u8]) -> Sshd {
    let before = format!("{script}; exit 0");
    let sshd = Sshd::start(&Setup { before: Some(&before), ..Setup::default() });
    let greeting = wire::encode(&Event::Started { facts: Facts::default() }).unwrap();
    std::fs::write(sshd.file("greeting"), [wire::PREAMBLE.as_slice(), &greeting].concat()).unwrap();
    std::fs::write(sshd.file("frames"), frames).unwrap();
    sshd
}

fn transport(folder: &Path, silence: u64) -> Transport {
    let limits = Limits { silence: Duration::from_secs(silence) };
    Transport::new(Some(folder), Person::new(None), Some(relay())).unwrap().limited(limits)
}

/// Waits for all of it, with an end for a test that fails.
fn within_patience<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
    done.unwrap_or_else(|_| panic!("it has no end"))
}

/// The answer of a server to the question, and its end.
fn answer(sshd: &Sshd, request: &Request, silence: u64) -> (usize, String) {
    within_patience(async {
        let transport = transport(sshd.folder.path(), silence);
        let settings = sshd.settings();
        let login = Login { server: "rufus", settings: &settings };
        let mut link = match transport.connect(login).await {
            Ok(link) => link,
            Err(error) => return (0, error.to_string()),
        };
        link.send(request).await.unwrap();
        let mut count = 0;
        loop {
            match link.receive().await {
                Ok(_) => count += 1,
                Err(error) => return (count, error.to_string()),
            }
        }
    })
}

fn manifest(server: &str, resources: Vec<Resource>) -> Manifest {
    Manifest {
        server: server.to_owned(),
        expect: Expect::default(),
        resources,
        secrets: std::collections::BTreeMap::new(),
    }
}

fn check() -> Request {
    let options = RunOptions { who: "ana@laptop".to_owned(), ..RunOptions::default() };
    Request::Check { manifest: Box::new(manifest("rufus", Vec::new())), options }
}

fn warning(length: usize) -> Vec<u8> {
    wire::encode(&Event::Warning { message: "x".repeat(length) }).unwrap()
}

fn endless_events_end_their_server_alone() {
    let evil = liar("while cat \"$here/frames\"; do :; done", &warning(1).repeat(1000));
    let good = Sshd::start(&Setup::default());
    let servers = [("rufus", &evil), ("mikado", &good)].map(|(name, sshd)| Server {
        ssh: sshd.settings(),
        manifest: Arc::new(manifest(name, Vec::new())),
        withheld: Vec::new(),
    });
    let (mut warnings, mut failures, mut plans) = (0, Vec::new(), Vec::new());
    within_patience(async {
        let mut fleet = Fleet::new(transport(good.folder.path(), 60), 2);
        let tell = |server: &str, news: News| {
            match news {
                News::Event(Event::Warning { .. }) => warnings += 1,
                News::Event(Event::PlanComplete) => plans.push(server.to_owned()),
                News::Failed(error) => failures.push(error.to_string()),
                _ => {}
            }
            Ok(())
        };
        fleet.check(servers.into(), &RunOptions::default(), tell).await.unwrap();
    });
    assert_eq!(failures, [format!("`rufus` sends more than 10000 events\n{HINT}")]);
    assert_eq!(plans, ["mikado"]);
    assert!(warnings < 10_000, "{warnings}");
}

fn endless_texts_end() {
    let evil = liar("while cat \"$here/frames\"; do :; done", &warning(1 << 20));
    let (count, error) = answer(&evil, &check(), 60);
    assert_eq!(error, format!("`rufus` sends more than 8 MiB of texts\n{HINT}"));
    assert_eq!(count, 8);
}

fn endless_heartbeats_end() {
    let evil = liar("cat /dev/zero", &[]);
    let (_, error) = answer(&evil, &check(), 60);
    assert_eq!(error, format!("`rufus` sends more than 64 MiB in one run\n{HINT}"));
}

fn a_frame_that_claims_too_much_is_refused() {
    for length in [u32::MAX, 200 << 20, (4 << 20) + 1] {
        let evil = liar("cat \"$here/frames\"; sleep 1000", &length.to_le_bytes());
        let (_, error) = answer(&evil, &check(), 60);
        assert_eq!(error, format!("`rufus` sends an event of more than 4 MiB\n{HINT}"));
    }
}

const SILENT: &str = "`rufus` did not say anything for 2 seconds\n\
                      caused by: an agent that works says so every few seconds\n\
                      hint: look at the server with `infra ssh rufus`, and run again";

fn a_frame_that_is_never_whole_is_not_waited_for() {
    let most = (4_u32 << 20).to_le_bytes();
    let frame = [most.as_slice(), &vec![0; 1 << 20]].concat();
    let evil = liar("cat \"$here/frames\"; sleep 1000", &frame);
    assert_eq!(answer(&evil, &check(), 2).1, SILENT);
}

fn a_silent_agent_is_not_waited_for() {
    let evil = liar("sleep 1000", &[]);
    for request in [check(), Request::Facts, Request::History] {
        assert_eq!(answer(&evil, &request, 2), (1, SILENT.to_owned()));
    }
}

fn a_long_command_is_waited_for() {
    let sshd = Sshd::start(&Setup::default());
    let command = r#"{ "name": "nap", "run": ["sh", "-c", "sleep 30; touch /var/lib/nap"],
                       "creates": "/var/lib/nap" }"#;
    let spec = Spec::Command(serde_json::from_str(command).unwrap());
    let nap = Resource::alone(spec, "demo".to_owned());
    let manifest = Arc::new(manifest("rufus", vec![nap]));
    let server = Server { ssh: sshd.settings(), manifest, withheld: Vec::new() };
    let mut said = Vec::new();
    within_patience(async {
        let mut fleet = Fleet::new(transport(sshd.folder.path(), 15), 2);
        let options = RunOptions { who: "ana@laptop".to_owned(), ..RunOptions::default() };
        fleet.check(vec![server], &options, |_, _| Ok(())).await.unwrap();
        // The agent says nothing while nobody waits for it.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let (_stop, stopped) = watch::channel(infra::fleet::Stop::No);
        let tell = |_: &str, news: News| {
            said.push(news);
            Ok(())
        };
        fleet.apply(&["rufus".to_owned()], &stopped, tell).await.unwrap();
    });
    let is_applied = |news: &News| {
        matches!(news, News::Event(Event::Applied { outcome: Outcome::Changed(_), .. }))
    };
    assert!(said.iter().any(is_applied), "{said:?}");
    assert!(matches!(said.last(), Some(News::Event(Event::Finished))), "{said:?}");
}

fn runs(count: usize) -> Vec<u8> {
    let run = RunRecord {
        serial: 0,
        who: String::new(),
        commit: None,
        is_partial: false,
        started: 0,
        ended: None,
        end: RunEnd::Done,
        changed: 0,
        removed: 0,
        failed: 0,
    };
    wire::encode(&Event::History(vec![run; count])).unwrap()
}

fn a_history_that_is_too_long_is_refused() {
    for (count, says) in [
        (101, "more than 100 runs"),
        (300_000, "more than 100 runs"),
        (3_000_000, "an event of more than 4 MiB"),
    ] {
        let evil = liar("cat \"$here/frames\"; sleep 1000", &runs(count));
        let (_, error) = answer(&evil, &Request::History, 60);
        assert_eq!(error, format!("`rufus` sends {says}\n{HINT}"));
    }
}

fn what_was_not_asked_for_is_refused() {
    for frames in [runs(1), wire::encode(&Event::Proved { ids: Vec::new() }).unwrap()] {
        let evil = liar("cat \"$here/frames\"; sleep 1000", &frames);
        let (_, error) = answer(&evil, &check(), 60);
        assert_eq!(error, format!("`rufus` sends something that was not asked for\n{HINT}"));
    }
}

fn endless_uploads_end() {
    let evil = stranger(
        "while printf '\\000infra-upload-1\\nx86_64\\n'; do read -r hash bytes || exit; \
         head -c \"$bytes\" >/dev/null; done",
        &[],
    );
    assert_eq!(
        answer(&evil, &check(), 60).1,
        "`rufus` asks for the agent again\n\
         caused by: it was sent whole, and the server did not start it\n\
         hint: find out what runs on `rufus`"
    );
}

/// The reason of an early end is read, and not all that a server may say.
fn endless_words_of_a_server_end() {
    let evil = stranger(
        "exec >&-; sleep 1; head -c 1000000 /dev/zero | tr '\\0' x >&2; echo; echo END >&2",
        &[],
    );
    let (_, error) = answer(&evil, &check(), 60);
    let is_ended = error.starts_with("the agent did not start on `rufus`\ncaused by: xxx");
    // Where the server was slow to close its output.
    let is_noise = error.starts_with("the login shell of `rufus` prints too much");
    assert!(is_ended || is_noise, "{}", &error[..200]);
    assert!(!error.contains("END"), "{}", error.len());
}
