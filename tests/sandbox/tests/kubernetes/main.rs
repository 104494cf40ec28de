//! The sandbox's Kubernetes, driven over the wire, in memory.

// For clippy: what stands beside a test may stop at an impossible value too.
#![cfg(test)]

mod cluster;
mod deletion;
mod faults;
mod jobs;
mod logs;
mod objects;
mod patches;
mod processes;
mod watches;
