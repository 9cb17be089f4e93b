//! The part that runs on a server.
