//! The function as Lambda runs it, a process behind the Runtime API, between the sandbox's Step Functions and Kubernetes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that meets an impossible value stops there"
)]

mod attempts;
mod crashes;
mod examples;
mod frozen;
mod panics;
mod processes;
mod requests;
mod results;
mod starts;
mod tokens;
mod workers;
mod world;
