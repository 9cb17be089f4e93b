//! The agent: the program that `infra` puts on a server and starts there.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    infra::secret::keep_memory_private();
    let reverted = match std::env::args().nth(1).as_deref() {
        Some("revert") => infra::agent::revert(false),
        Some("revert-at-boot") => infra::agent::revert(true),
        _ => {
            infra::agent::serve(std::io::stdin(), std::io::stdout());
            return ExitCode::SUCCESS;
        }
    };
    match reverted {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A failure to say so changes nothing.
            let _ = writeln!(std::io::stderr(), "infra: {error}");
            ExitCode::FAILURE
        }
    }
}
