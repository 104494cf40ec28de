//! What the behaviour of `runjob` is told in.
//!
//! [`scenario`] holds a behaviour as data, the same for every [`backend`]; [`play`] plays it through the public APIs of Kubernetes
//! and Step Functions alone, with the worker as a process of its own. [`world`] is for what only the sandbox can show: requests
//! that are counted, answers that are lost.

mod api;
pub mod article;
pub mod backend;
pub mod check;
mod deployment;
mod execution;
pub mod jobs;
pub mod line;
pub mod load;
pub mod machines;
mod patience;
pub mod play;
pub mod policy;
pub mod process;
pub mod report;
mod rights;
pub mod scenario;
pub mod simulation;
mod stage;
pub mod step;
mod workers;
pub mod world;
