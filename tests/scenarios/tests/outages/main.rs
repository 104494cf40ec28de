//! Services that are away for minutes, and workers that come and go: played in virtual time.
// For clippy: what stands beside a test may stop at an impossible value too.
#![cfg(test)]

mod beats;
mod budgets;
mod kubernetes;
mod play;
mod replicas;
mod step_functions;
