//! The agent: the program that `infra` starts on a server.

fn main() {}
