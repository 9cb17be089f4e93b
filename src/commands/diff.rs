//! `infra diff`: what `apply` would change.

use std::path::PathBuf;

use crate::cli::Context;
use crate::exit_code::ExitCode;
use crate::session::{Selection, runtime};
use crate::wire::RunOptions;

use super::apply::{seconds, who};
use super::saved;

/// The arguments of `infra diff`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("names", |names| names.required(false).required_unless_present("since")))]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Work without opening the secrets: resources that hold some are not compared.
    #[arg(long)]
    no_secrets: bool,
    /// Compare the project with this git revision instead of the servers: no connection is made, and
    /// no identity is needed.
    #[arg(long, value_name = "REV", conflicts_with_all = ["no_secrets", "trust", "out"])]
    since: Option<String>,
    /// Preview a change that nobody has looked at yet: reach the servers as this git revision says,
    /// send no secrets, and ask of a server only what the revision asks as well.
    #[arg(long, value_name = "REV", conflicts_with = "out")]
    trust: Option<String>,
    /// Save the plan, encrypted to those who read the secrets in it, for `infra apply --plan FILE`.
    #[arg(long, value_name = "FILE", conflicts_with = "no_secrets")]
    out: Option<PathBuf>,
    /// How long the saved plan can be applied: `90m`, `12h`, `7d`.
    #[arg(long, value_name = "TIME", default_value = "7d", requires = "out", value_parser = validity)]
    valid_for: u32,
}

/// How long a saved plan can be applied unless the user says otherwise, in seconds.
const VALID_SECONDS: u32 = 7 * 86_400;

/// No plan can be applied for longer, in seconds: the world is another by then.
const MOST_VALID_SECONDS: u32 = 365 * 86_400;

/// The seconds in a text such as `12h`.
fn validity(text: &str) -> Result<u32, String> {
    let wrong = || "expected a time from `1m` to `365d`, such as `12h`".to_owned();
    if !text.ends_with(['m', 'h', 'd']) {
        return Err(wrong());
    }
    let seconds = seconds(text).map_err(|_| wrong())?;
    if (1..=MOST_VALID_SECONDS).contains(&seconds) { Ok(seconds) } else { Err(wrong()) }
}

impl Args {
    /// Compares everything selected.
    pub fn complete(selection: Selection) -> Self {
        let (since, trust, out) = (None, None, None);
        Self { selection, no_secrets: false, since, trust, out, valid_for: VALID_SECONDS }
    }
}

/// Prints the plan of every server, and saves it if that is wanted. Changes nothing.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<ExitCode> {
    if let Some(revision) = &args.since {
        return Ok(args.selection.since(context, revision)?.finish()?);
    }
    let options = RunOptions { who: who(), ..RunOptions::default() };
    let mut session = match &args.trust {
        Some(revision) => args.selection.open_distrusting(context, options, revision)?,
        None => args.selection.open(context, options, args.no_secrets)?,
    };
    let is_lab = args.selection.targets.lab;
    let saving = match &args.out {
        Some(path) => {
            Some(saved::Saving::prepare(path, args.valid_for, &session, is_lab, context)?)
        }
        None => None,
    };
    let seen = runtime()?.block_on(session.check())?;
    let code = session.report.finish()?;
    if let Some(saving) = saving {
        saving.save(seen)?;
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::validity;

    #[test]
    fn a_plan_is_valid_for_a_time_with_a_unit() {
        for (text, expected) in [("90m", 5400), ("12h", 43_200), ("365d", 31_536_000)] {
            assert_eq!(validity(text), Ok(expected));
        }
        for text in ["7", "0m", "400d", "1w", "90s", "soon", "99999999d"] {
            let error = "expected a time from `1m` to `365d`, such as `12h`".to_owned();
            assert_eq!(validity(text), Err(error), "{text}");
        }
    }
}
