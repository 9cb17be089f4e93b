//! A plan as a comment on a merge request: a table of the servers, and below it what changes on
//! each, folded. All text of others is in code, in a fence or in a span: markup, links, mentions and
//! references are nothing but text there, also for what GitHub and GitLab look for after they have
//! read the markdown, which no backslash keeps them from.

use super::failure::reasons;
use super::health;
use super::human::{
    MOST_DIFF_LINES, also_removed, counts, cut_run, due, on_one_line, planned, shortened, values,
    word,
};
use super::masks::Masks;
use super::totals::Totals;
use crate::error::{Error, Kind};
use crate::events::{Event, Mark, Outcome};
use crate::manifest::{Resource, ResourceId};
use crate::shown;

/// What fits a comment on GitHub (65,536 characters), with room for what is put around it.
const MOST_BYTES: usize = 60_000;

/// One thing that is told of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// What it is, on one line.
    head: String,
    /// The lines below it.
    body: String,
}

/// What is told of an event; `None` for what is as it should be.
pub(super) fn entry<'a>(
    masks: &Masks,
    resource: impl Fn(&ResourceId) -> Option<&'a Resource>,
    event: &Event,
) -> Option<Entry> {
    let (head, body) = match event {
        Event::Remembered(memory) => (cut_run(memory.cut_run.as_ref()?), String::new()),
        Event::Checked { outcome: Outcome::Ok | Outcome::Deferred, .. } => return None,
        Event::Checked { id, outcome, mark } => {
            let (_, head) = planned(id, outcome, *mark);
            (head, details(masks, resource(id), outcome, *mark))
        }
        Event::ServiceDue { id, action } => (due(id, *action), String::new()),
        Event::AlsoRemoved { packages } => (also_removed(packages), String::new()),
        Event::Declared { message } => (shown::line(&format!("~ {message}")), String::new()),
        Event::Warning { message } => (shown::line(&format!("warning: {message}")), String::new()),
        _ => return None,
    };
    Some(Entry { head, body })
}

/// The lines below a resource. Those of a difference begin at the margin, where they are colored.
fn details(
    masks: &Masks,
    resource: Option<&Resource>,
    outcome: &Outcome,
    mark: Option<Mark>,
) -> String {
    let change = match outcome {
        Outcome::Changed(change) => change,
        Outcome::Failed(error) => return indented(error),
        _ => return String::new(),
    };
    let fields = masks.of(resource, mark).fields(change);
    if fields.is_empty() {
        return String::new();
    }
    if change.is_create() {
        return format!("    {}\n", on_one_line(&fields));
    }
    let mut body = String::new();
    for field in &fields {
        body.extend(["    ", &values(field), "\n"]);
        let lines = field.diff.iter().take(MOST_DIFF_LINES);
        body.extend(lines.map(|line| shown::whole_line(line) + "\n"));
        if let Some(more) = field.diff.len().checked_sub(MOST_DIFF_LINES).filter(|more| *more > 0) {
            body.extend(["… ", &more.to_string(), " more lines\n"]);
        }
    }
    body
}

/// The causes and the hint of an error, indented.
fn indented(error: &Error) -> String {
    reasons(error).iter().flat_map(|line| ["    ", line, "\n"]).collect()
}

/// The whole comment.
pub(super) fn render(servers: &[(&str, &Totals, &[Entry])], changes: usize) -> String {
    let told: Vec<_> = servers.iter().filter(|(_, totals, _)| !totals.is_quiet()).collect();
    let mut text = title(servers, changes);
    if told.is_empty() {
        return text;
    }
    let head = ["server", "create", "change", "remove", "drift", "reload, restart", ""];
    let rows = told.iter().map(|(name, totals, _)| row(name, totals));
    let rows: Vec<[String; 7]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    text.push('\n');
    text.push_str(&table(&rows));
    for (index, (name, totals, entries)) in told.iter().enumerate() {
        let left = MOST_BYTES.saturating_sub(text.len());
        text.push_str(&block(name, totals, entries, left / (told.len() - index)));
    }
    text
}

fn title(servers: &[(&str, &Totals, &[Entry])], changes: usize) -> String {
    let all = match servers.len() {
        1 => "1 server".to_owned(),
        count => format!("{count} servers"),
    };
    let with_changes = servers.iter().filter(|(_, totals, _)| totals.has_changes()).count();
    let failed = servers.iter().filter(|(_, totals, _)| !totals.failures.is_empty()).count();
    let changes = match changes {
        0 => format!("No changes on {all}"),
        1 => format!("1 change on 1 of {all}"),
        count => format!("{count} changes on {with_changes} of {all}"),
    };
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("### infra: {changes}{failed}\n")
}

fn row(name: &str, totals: &Totals) -> [String; 7] {
    let plan = totals.plan;
    let number = |count: usize| if count == 0 { String::new() } else { count.to_string() };
    let due: Vec<String> = totals
        .due
        .iter()
        .map(|(id, action)| format!("{} {}", word(*action), self::name(id.identity())))
        .collect();
    let due: Vec<&str> = due.iter().map(String::as_str).collect();
    let mut notes = Vec::new();
    for (count, what) in [
        (plan.released, "no longer managed"),
        (plan.staying, "staying for now"),
        (plan.unknown, "known later"),
        (plan.deferred, "to verify"),
        (plan.failed, "failed"),
    ] {
        if count > 0 {
            notes.push(format!("{count} {what}"));
        }
    }
    let reboot = totals.memory.reboot.iter();
    notes.extend(reboot.map(|because| format!("reboot needed: {}", self::name(because))));
    notes.extend(totals.memory.maintenance.iter().map(|it| self::name(&health::maintenance(it))));
    for (_, error) in totals.failures.iter().filter(|(id, _)| id.is_none()) {
        let what = if error.kind == Kind::Unreachable { "unreachable" } else { "failed" };
        notes.push(format!("**{what}**"));
    }
    [
        server(name),
        number(plan.create),
        number(plan.change),
        number(plan.remove),
        number(plan.drifted),
        shortened(&due),
        notes.join(", "),
    ]
}

/// Text of others, in a span of code.
pub(super) fn code(text: &str) -> String {
    // A table is cut into cells before spans are read, and a backslash says nothing in a span.
    let text = shown::line(text).replace('|', "\\u{7c}");
    let ticks = "`".repeat(longest_run(&text) + 1);
    // Without spaces a backtick at an end would belong to the marks of the span.
    let is_padded = text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']);
    let space = if is_padded && !text.trim().is_empty() { " " } else { "" };
    if text.is_empty() { text } else { format!("{ticks}{space}{text}{space}{ticks}") }
}

/// A name that others gave, in a span of code.
pub(super) fn name(text: &str) -> String {
    code(&shown::name(text))
}

/// The name of a server: as it is unless it may be taken for a link.
pub(super) fn server(name: &str) -> String {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_plain { name.to_owned() } else { code(name) }
}

/// A table of cells that are markdown; the first row is its head.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut lines: Vec<String> = rows.iter().map(|row| line(row)).collect();
    lines.insert(1.min(lines.len()), format!("|{}\n", " --- |".repeat(N)));
    lines.concat()
}

/// What changes on one server, in at most about `most` bytes.
fn block(name: &str, totals: &Totals, entries: &[Entry], most: usize) -> String {
    let failures = totals.failures.iter().filter(|(id, _)| id.is_none());
    let failures = failures.map(|(_, error)| Entry {
        head: format!("! {}", shown::line(&error.message)),
        body: indented(error),
    });
    let entries: Vec<Entry> = failures.chain(entries.iter().cloned()).collect();
    if entries.is_empty() {
        return String::new();
    }
    let mut code = String::new();
    // The heads of those that are still to come are worth more than a long difference.
    let mut heads: usize = entries.iter().map(|entry| entry.head.len() + 1).sum();
    let mut left_out = 0;
    for entry in &entries {
        heads -= entry.head.len() + 1;
        if code.len() + entry.head.len() > most {
            left_out += 1;
            continue;
        }
        code.push_str(&entry.head);
        code.push('\n');
        if code.len() + entry.body.len() + heads <= most {
            code.push_str(&entry.body);
        } else if !entry.body.is_empty() {
            code.push_str("    … shown by `infra diff`\n");
        }
    }
    if left_out > 0 {
        code.extend(["… ", &left_out.to_string(), " more, shown by `infra diff`\n"]);
    }
    let fence = fence(&code);
    let open = if totals.failures.is_empty() { "" } else { " open" };
    let summary = match counts(totals.plan) {
        counts if !counts.is_empty() => counts.join(", "),
        _ if totals.failures.is_empty() => "services".to_owned(),
        _ => "failed".to_owned(),
    };
    format!(
        "\n<details{open}><summary><b>{name}</b>: {summary}</summary>\n\n{fence}diff\n{code}{fence}\n\n\
         </details>\n"
    )
}

/// What encloses `code`, so that nothing in it ends it.
fn fence(code: &str) -> String {
    "`".repeat(3.max(longest_run(code) + 1))
}

/// How many backticks follow each other in `text` at most.
fn longest_run(text: &str) -> usize {
    text.split(|character| character != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::events::{Memory, ServiceAction};
    use crate::manifest::{Expect, Manifest};
    use crate::report::{Format, Report};
    use crate::resources::{Change, FieldChange, State, Value};

    fn report(servers: &[&str]) -> Report {
        let manifests = servers.iter().map(|name| {
            Arc::new(Manifest {
                server: (*name).to_owned(),
                expect: Expect::default(),
                resources: Vec::new(),
                secrets: BTreeMap::new(),
            })
        });
        Report::new(Format::Markdown, false, false, manifests)
    }

    fn checked(id: &str, outcome: Outcome, mark: Option<Mark>) -> Event {
        Event::Checked { id: ResourceId::parse(id).unwrap(), outcome, mark }
    }

    fn content(old: &str, new: &str) -> Outcome {
        Outcome::Changed(Change::Update(vec![FieldChange {
            field: "content".to_owned(),
            current: Some(Value::Content(old.into())),
            desired: Value::Content(new.into()),
        }]))
    }

    #[test]
    fn a_table_and_what_changes_below_it() {
        let mut report = report(&["faremis", "mikado", "rufus"]);
        let created = Outcome::Changed(Change::Create(State::new().with("mode", "0644")));
        let nginx = ResourceId::new("service", "nginx");
        for event in [
            Event::Remembered(Box::new(Memory {
                reboot: Some("asked for by libc6".to_owned()),
                ..Memory::default()
            })),
            Event::Warning { message: "it has 2 processors, its inventory expects 4".to_owned() },
            checked("file:/etc/new", created, None),
            checked("file:/etc/motd", content("a\n```\n", "b\n```\n"), Some(Mark::Drift)),
            checked("file:/etc/old", Outcome::Changed(Change::Remove), Some(Mark::Undeclared)),
            checked("file:/etc/same", Outcome::Ok, None),
            checked("http_check:a|b", Outcome::Deferred, None),
            Event::ServiceDue { id: nginx, action: ServiceAction::Reload },
            Event::PlanComplete,
        ] {
            report.event("rufus", &event).unwrap();
        }
        report.event("mikado", &checked("file:/etc/same", Outcome::Ok, None)).unwrap();
        let error = Error::new(Kind::Unreachable, "cannot reach `faremis`");
        report.failed("faremis", error.because("no route").hint("look")).unwrap();
        assert_eq!(
            report.markdown(),
            "\
### infra: 4 changes on 1 of 3 servers, 1 failed

| server | create | change | remove | drift | reload, restart |  |
| --- | --- | --- | --- | --- | --- | --- |
| faremis |  |  |  |  |  | **unreachable** |
| rufus | 1 | 1 | 1 | 1 | reload `nginx` | 1 to verify, reboot needed: `asked for by libc6` |

<details open><summary><b>faremis</b>: failed</summary>

```diff
! cannot reach `faremis`
    caused by: no route
    hint: look
```

</details>

<details><summary><b>rufus</b>: 1 to create, 1 to change, 1 to remove, 1 to verify, 1 of them drift</summary>

````diff
warning: it has 2 processors, its inventory expects 4
+ file:/etc/new  create
    mode: 0644
~ file:/etc/motd  change (drift: changed on the server since the last apply)
    content: 2 lines
@@ -1 +1 @@
-a
+b
 ```
- file:/etc/old  remove (no longer declared)
~ service:nginx  reload
````

</details>
"
        );
    }

    #[test]
    fn text_of_others_is_a_span_of_code() {
        for (text, expected) in [
            ("libc6", "`libc6`"),
            ("a`b", "``a`b``"),
            ("`a` b", "`` `a` b ``"),
            ("``", "``` `` ```"),
            ("a|b\\", "`a\\u{7c}b\\`"),
            ("a\n<b>", "`a\\n<b>`"),
            (" ", "` `"),
            ("", ""),
        ] {
            assert_eq!(code(text), expected);
        }
        assert_eq!(server("rufus"), "rufus");
        assert_eq!(server("www.rufus.org"), "`www.rufus.org`");
    }

    #[test]
    fn nothing_to_do_is_one_line() {
        let mut report = report(&["rufus"]);
        report.event("rufus", &checked("file:/etc/same", Outcome::Ok, None)).unwrap();
        assert_eq!(report.markdown(), "### infra: No changes on 1 server\n");
    }

    #[test]
    fn it_fits_a_comment() {
        let mut report = report(&["mikado", "rufus"]);
        let long = format!("{}\n", "x".repeat(90)).repeat(55);
        for name in ["mikado", "rufus"] {
            for number in 0..400 {
                let id = format!("file:/etc/{number}/{}", "y".repeat(80));
                report.event(name, &checked(&id, content("", &long), None)).unwrap();
            }
        }
        let text = report.markdown();
        assert!(text.len() < 65_536, "{}", text.len());
        assert!(text.contains("    … shown by `infra diff`\n"), "{text}");
        assert!(text.contains(" more, shown by `infra diff`\n"), "{text}");
        assert_eq!(text.matches("</details>").count(), 2);
    }
}
