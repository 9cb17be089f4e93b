//! How bytes reach a server: ssh, and the upload of the agent.

pub mod agent;
