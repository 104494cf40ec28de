//! Services that are away for minutes, workers that come and go, or are led to the wrong place: played in virtual time.
// For clippy: what stands beside a test may stop at an impossible value too.
#![cfg(test)]

mod beats;
mod budgets;
mod clusters;
mod copies;
mod elsewhere;
mod forbidden;
mod kubernetes;
mod lingering;
mod play;
mod policies;
mod replicas;
mod step_functions;
mod unseen;
