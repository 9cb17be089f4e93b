//! The agent: the program that `infra` puts on a server and starts there.

fn main() {
    infra::agent::serve(std::io::stdin(), std::io::stdout());
}
