//! Services that are away for minutes, workers that come and go, or are led to the wrong place: played in virtual time.
// For clippy: what stands beside a test may stop at an impossible value too.
#![cfg(test)]

mod beats;
mod budgets;
mod clusters;
mod elsewhere;
mod forbidden;
mod kubernetes;
mod play;
mod replicas;
mod step_functions;
