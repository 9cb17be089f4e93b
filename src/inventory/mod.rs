//! What is declared: servers, groups, and how they are reached.

pub mod connection;
