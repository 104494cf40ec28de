//! The sandbox's Kubernetes, driven over the wire, in memory.

mod cluster;
mod deletion;
mod jobs;
mod logs;
mod objects;
mod patches;
mod processes;
mod watches;
