//! `infra rollback`: the commit before the last, applied.

use crate::cli::Context;
use crate::error::{Error, Result};
use crate::events::{Event, RunEnd, RunRecord};
use crate::exit_code::ExitCode;
use crate::report;
use crate::session::{Selection, Targets};
use crate::shown;
use crate::wire::Request;

use super::apply;
use super::ask::ask;

/// The arguments of `infra rollback`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    targets: Targets,
    /// Do not ask before changing anything.
    #[arg(long)]
    yes: bool,
    /// Let what only the newer commit declares go even if it holds data.
    #[arg(long)]
    allow_data_loss: bool,
}

/// Finds the commit in the server's history, and applies it as `apply --at` does.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    let (_, names) = args.targets.load(&context.project()?, &[])?;
    let [server] = names.as_slice() else {
        return Err(Error::input("only one server at a time can be rolled back")
            .because(format!("these are {}: `{}`", names.len(), names.join("`, `")))
            .hint("each has a history of its own; `infra history` shows it")
            .into());
    };
    let mut runs = Vec::new();
    let code = ask(&args.targets, &Request::History, context, |_, event| {
        if let Event::History(history) = event {
            runs.clone_from(history);
        }
        Ok(())
    })?;
    if code != ExitCode::Done {
        return Ok(code);
    }
    let (from, to) = before_last(server, &runs)?;
    report::note(&announcement(server, from, to));
    let commit = to.commit.clone().unwrap_or_default();
    let selection = Selection::at(args.targets.clone(), commit, args.allow_data_loss);
    apply::run(&apply::Args::of(selection, args.yes), context)
}

fn announcement(server: &str, from: &RunRecord, to: &RunRecord) -> String {
    let (from, commit) = (report::commit(from), report::commit(to));
    let (when, who) = (report::moment(to.started), shown::name(&to.who));
    format!("rolling back `{server}` from {from} to {commit}, applied {when} by {who}")
}

/// The last run, and the newest before it that brought the server to another commit.
///
/// # Errors
/// If there is none, or its commit does not say what was applied.
fn before_last<'a>(server: &str, runs: &'a [RunRecord]) -> Result<(&'a RunRecord, &'a RunRecord)> {
    let nowhere = |because: String| {
        Err(Error::input(format!("`{server}` cannot be rolled back"))
            .because(because)
            .hint("choose a commit: `infra apply SERVER --at REV`"))
    };
    let Some((last, earlier)) = runs.split_last() else {
        return nowhere("infra has not been applied there".to_owned());
    };
    let is_whole = |run: &&RunRecord| run.end == RunEnd::Done && !run.is_partial;
    let mut earlier = earlier.iter().rev().filter(is_whole);
    let Some(target) = earlier.find(|run| run.commit != last.commit) else {
        return nowhere("it remembers no complete run of another commit".to_owned());
    };
    match &target.commit {
        Some(commit) if !commit.ends_with("-dirty") => Ok((last, target)),
        Some(_) => nowhere(format!(
            "run {} before it was made with changes that are in no commit ({})",
            target.serial,
            report::commit(target)
        )),
        None => nowhere(format!("run {} before it was made outside git", target.serial)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(serial: u64, commit: &str, end: RunEnd) -> RunRecord {
        RunRecord {
            serial,
            who: "ana@laptop".to_owned(),
            commit: (!commit.is_empty()).then(|| commit.to_owned()),
            is_partial: commit == "part",
            started: 0,
            ended: Some(1),
            end,
            changed: 0,
            removed: 0,
            failed: 0,
        }
    }

    #[test]
    fn goes_to_the_newest_complete_run_of_another_commit() {
        use RunEnd::{Done, Failed};
        let runs = [
            run(1, "a", Done),
            run(2, "b", Done),
            run(3, "b", Done),
            run(4, "part", Done),
            run(5, "c", Failed),
            run(6, "c", Failed),
        ];
        let (last, target) = before_last("rufus", &runs).unwrap();
        assert_eq!((last.serial, target.serial), (6, 3));
        // Twice is there and back again.
        let runs = [run(1, "a", Done), run(2, "b", Done), run(3, "a", Done)];
        assert_eq!(before_last("rufus", &runs).unwrap().1.serial, 2);
    }

    #[test]
    fn a_server_forges_no_line_of_the_announcement() {
        let mut to = run(1, "\n\x1b[2J::a", RunEnd::Done);
        to.who = "x\nhint: y".to_owned();
        assert_eq!(
            announcement("rufus", &to, &to),
            "rolling back `rufus` from \\n\\u{1b}[2J::a to \\n\\u{1b}[2J::a, \
             applied 1970-01-01 00:00 UTC by x\\nhint: y"
        );
    }

    #[test]
    fn says_why_it_cannot() {
        let hint = "hint: choose a commit: `infra apply SERVER --at REV`";
        for (runs, because) in [
            (vec![], "infra has not been applied there"),
            (
                vec![run(1, "a", RunEnd::Failed), run(2, "b", RunEnd::Done)],
                "it remembers no complete run of another commit",
            ),
            (
                vec![run(1, "a-dirty", RunEnd::Done), run(2, "a", RunEnd::Done)],
                "run 1 before it was made with changes that are in no commit (a-dirty)",
            ),
            (
                vec![run(1, "", RunEnd::Done), run(2, "a", RunEnd::Done)],
                "run 1 before it was made outside git",
            ),
        ] {
            let error = before_last("rufus", &runs).unwrap_err().to_string();
            let expected = format!("`rufus` cannot be rolled back\ncaused by: {because}\n{hint}");
            assert_eq!(error, expected);
        }
    }
}
