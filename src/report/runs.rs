//! The runs that a server remembers, as text and as JSON.

use serde_json::json;

use super::Format;
use super::json::json_line;
use super::time::moment;
use crate::events::{RunEnd, RunRecord};
use crate::shown;

/// How many digits of a commit tell it from others, for people.
const COMMIT_DIGITS: usize = 10;

/// The newest `limit` runs of a server, newest first.
pub fn history(server: &str, runs: &[RunRecord], limit: usize, format: Format) -> String {
    let newest: Vec<&RunRecord> = runs.iter().rev().take(limit).collect();
    if format == Format::Json {
        return json_line(&json!({"event": "history", "server": server, "runs": newest}));
    }
    let mut text = format!("{server}:\n");
    if newest.is_empty() {
        text.push_str("  infra has not been applied here\n");
        return text;
    }
    let rows: Vec<[String; 6]> = newest.into_iter().map(row).collect();
    text.push_str(&table(&rows));
    text
}

fn row(run: &RunRecord) -> [String; 6] {
    let counts =
        [(run.changed, "changed"), (run.removed, "removed"), (run.failed, "failed")].into_iter();
    let counts = counts.filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    let partial = if run.is_partial { " (part)" } else { "" };
    [
        format!("  {}", run.serial),
        moment(run.started),
        shown::name(&run.who),
        commit(run),
        format!("{}{partial}", end(run.end)),
        if counts.is_empty() { "nothing changed".to_owned() } else { counts.join(", ") },
    ]
}

/// The commit of a run, short; `-` for a project outside git.
pub fn commit(run: &RunRecord) -> String {
    short_commit(run.commit.as_deref())
}

/// A commit, short, whatever a server or a plan says it is; `-` outside git.
pub fn short_commit(commit: Option<&str>) -> String {
    let Some(commit) = commit else { return "-".to_owned() };
    let (hash, dirty) = match commit.strip_suffix("-dirty") {
        Some(hash) => (hash, "-dirty"),
        None => (commit, ""),
    };
    let short: String = hash.chars().take(COMMIT_DIGITS).collect();
    shown::line(&format!("{short}{dirty}"))
}

/// How a run ended, in one word.
pub(super) fn end(end: RunEnd) -> &'static str {
    match end {
        RunEnd::Cut => "cut",
        RunEnd::Done => "done",
        RunEnd::Failed => "failed",
        RunEnd::Interrupted => "interrupted",
        RunEnd::Reverted => "reverted",
    }
}

/// Columns as wide as their widest text, two spaces between them.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(serial: u64, end: RunEnd, commit: Option<&str>, counts: [u32; 3]) -> RunRecord {
        let [changed, removed, failed] = counts;
        RunRecord {
            serial,
            who: "ana@laptop".to_owned(),
            commit: commit.map(str::to_owned),
            is_partial: serial == 2,
            started: 1_700_000_000 + serial * 60,
            ended: None,
            end,
            changed,
            removed,
            failed,
        }
    }

    #[test]
    fn the_newest_run_comes_first() {
        let dirty = "0123456789abcdef0123456789abcdef01234567-dirty";
        let runs = [
            run(1, RunEnd::Done, None, [0, 0, 0]),
            run(2, RunEnd::Failed, Some("0123456789abcdef0123456789abcdef01234567"), [12, 1, 2]),
            run(3, RunEnd::Cut, Some(dirty), [0, 0, 0]),
        ];
        assert_eq!(
            history("rufus", &runs, 20, Format::Human),
            "\
rufus:
  3  2023-11-14 22:16 UTC  ana@laptop  0123456789-dirty  cut            nothing changed
  2  2023-11-14 22:15 UTC  ana@laptop  0123456789        failed (part)  12 changed, 1 removed, 2 failed
  1  2023-11-14 22:14 UTC  ana@laptop  -                 done           nothing changed
"
        );
        assert!(history("rufus", &runs, 1, Format::Human).ends_with("nothing changed\n"));
        assert_eq!(
            history("rufus", &[], 20, Format::Human),
            "rufus:\n  infra has not been applied here\n"
        );
    }
}
