//! The harness of this lane: the longest tests first, the slowest named at the end.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};

use super::machine;

/// How many of the slowest tests are named.
const NAMED: usize = 15;

/// One test.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    /// Its module and its function.
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
    /// About how long it takes on two cores: longer tests start earlier.
    pub(crate) seconds: u64,
    /// Whether it runs only when it is asked for by `--ignored`.
    pub(crate) is_ignored: bool,
}

/// The tests of a module: functions, each with about how many seconds it takes if that is more than
/// a few; `@ ignored` behind one that runs only when it is asked for. After `; on each release:`
/// functions of the release, which make a test for each. After `; on one release:` those whose subject the
/// release hardly changes: their test of Debian 12 runs only when it is asked for.
#[macro_export]
macro_rules! tests {
    (
        $($name:ident $(= $seconds:literal)? $(@ $ignored:ident)?),* $(,)?
        $(; on each release: $($each:ident $(= $each_seconds:literal)?),* $(,)?)?
        $(; on one release: $($one:ident $(= $one_seconds:literal)?),* $(,)?)?
    ) => {
        pub(crate) const TESTS: &[$crate::support::Test] = &[
            $($crate::support::Test {
                name: concat!(module_path!(), "::", stringify!($name)),
                run: $name,
                seconds: 2 $(+ $seconds)?,
                is_ignored: false $(|| !stringify!($ignored).is_empty())?,
            },)*
            $($($crate::support::Test {
                name: concat!(module_path!(), "::", stringify!($each), "_on_debian_12"),
                run: || $each("debian-12"),
                seconds: 2 $(+ $each_seconds)?,
                is_ignored: false,
            },
            $crate::support::Test {
                name: concat!(module_path!(), "::", stringify!($each), "_on_debian_13"),
                run: || $each("debian-13"),
                seconds: 2 $(+ $each_seconds)?,
                is_ignored: false,
            },)*)?
            $($($crate::support::Test {
                name: concat!(module_path!(), "::", stringify!($one), "_on_debian_12"),
                run: || $one("debian-12"),
                seconds: 2 $(+ $one_seconds)?,
                is_ignored: true,
            },
            $crate::support::Test {
                name: concat!(module_path!(), "::", stringify!($one), "_on_debian_13"),
                run: || $one("debian-13"),
                seconds: 2 $(+ $one_seconds)?,
                is_ignored: false,
            },)*)?
        ];
    };
}

thread_local! {
    /// The test that this thread runs, for what it says when it fails.
    static CURRENT: RefCell<&'static str> = const { RefCell::new("") };
}

/// How many characters of the two ends of a failure are told again when all tests have ended.
const TOLD_AGAIN: usize = 400;

/// The failures so far: the name of the test and the text.
static FAILURES: Mutex<Vec<(&str, String)>> = Mutex::new(Vec::new());

type Times = Arc<Mutex<Vec<(Duration, &'static str)>>>;

/// Runs the tests that the command line selects.
pub(crate) fn run(modules: &[&[Test]]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let mut tests: Vec<Test> = modules.concat();
    tests.sort_by_key(|test| std::cmp::Reverse(test.seconds));
    let is_idle = !machine::note_selection(&tests, &arguments) || arguments.list;
    if !is_idle {
        if let Err(lacks) = machine::prepare() {
            say(&format!("error: the tests of the lab cannot run on this machine\n{lacks}"));
            return ExitCode::from(101);
        }
        arguments.test_threads = arguments.test_threads.or(Some(machine::workers()));
        name_what_fails();
    }
    let times = Times::default();
    let trials = tests.into_iter().map(|test| trial(test, &times)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if is_idle {
        return conclusion.exit_code();
    }
    machine::end_all();
    let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
    times.sort_unstable();
    if !times.is_empty() {
        say("slowest tests, in seconds:");
    }
    for (time, name) in times.iter().rev().take(NAMED) {
        say(&format!("{:7.1}  {name}", time.as_secs_f64()));
    }
    // What a failure says may be long, and is far above by now.
    for (name, text) in FAILURES.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        say(&format!("failed: {name}\n{}", ends(text)));
    }
    conclusion.exit_code()
}

fn trial(test: Test, times: &Times) -> Trial {
    let times = Arc::clone(times);
    // Every module is below that of the binary.
    let name = test.name.split_once("::").map_or(test.name, |(_, name)| name);
    let run = move || {
        CURRENT.set(name);
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(test.run));
        let time = started.elapsed();
        times.lock().unwrap_or_else(PoisonError::into_inner).push((time, name));
        outcome.unwrap_or_else(|panic| resume_unwind(panic));
        Ok(())
    };
    Trial::test(name, run).with_ignored_flag(test.is_ignored)
}

/// Writes the name of a test before what its failure says.
fn name_what_fails() {
    std::panic::set_hook(Box::new(|panic| {
        let name = CURRENT.with_borrow(|name| *name);
        // At once: the results come only when all tests have ended.
        say(&format!("---- {name}\n{panic}"));
        let mut failures = FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push((name, panic.to_string()));
    }));
}

/// The first and the last characters of a long text.
fn ends(text: &str) -> String {
    let count = text.chars().count();
    if count <= 2 * TOLD_AGAIN {
        return text.to_owned();
    }
    let head: String = text.chars().take(TOLD_AGAIN).collect();
    let tail: String = text.chars().skip(count - TOLD_AGAIN).collect();
    format!("{head} […] {tail}")
}

#[expect(clippy::print_stderr, reason = "what a harness says beside the results")]
pub(super) fn say(text: &str) {
    eprintln!("{text}");
}
