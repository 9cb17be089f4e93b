//! The command line of `infra`.

fn main() -> std::process::ExitCode {
    infra::cli::main(std::env::args_os()).into()
}
