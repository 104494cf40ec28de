//! What the scenarios are told in: a world with a worker, Jobs to run in it, and what came of them.

pub mod jobs;
pub mod process;
pub mod world;
