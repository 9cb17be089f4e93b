//! The command line of `infra`.

fn main() -> std::process::ExitCode {
    infra::secret::keep_memory_private();
    infra::compile::end_at_panics();
    infra::compile::end_long_evaluations(infra::cli::end);
    if let Err(error) = infra::secret::hide_identity() {
        return infra::cli::refuse(&error).into();
    }
    infra::cli::main(std::env::args_os()).into()
}
