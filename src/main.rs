//! The command line of `infra`.

fn main() -> std::process::ExitCode {
    infra::secret::keep_memory_private();
    infra::cli::main(std::env::args_os()).into()
}
