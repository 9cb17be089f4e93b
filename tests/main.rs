//! All tests that look at the crate from outside, in one binary.

fn main() {}
