//! The ground of all targets: a small project, and a server in memory.

mod project;
mod server;

use std::path::PathBuf;

pub use project::{Project, manifest};
pub use server::{compare_and_apply, put, server};

/// The identity that opens the files of secrets that the tests bring.
pub const IDENTITY: &str = include_str!("../../tests/local/import/identity.txt");

/// Stands between the files of one input, on a line of its own.
pub const SEPARATOR: &[u8] = b"\n=====\n";

/// The files of an input, as many as are wanted: those that it does not have are empty.
pub fn parts<const COUNT: usize>(input: &[u8]) -> [&[u8]; COUNT] {
    let mut rest = Some(input);
    std::array::from_fn(|_| {
        let Some(input) = rest else { return &[][..] };
        let end = input.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        let end = end.unwrap_or(input.len());
        rest = input.get(end + SEPARATOR.len()..);
        &input[..end]
    })
}

/// A file or folder of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
