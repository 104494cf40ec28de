//! Step Functions and Kubernetes in one process, for the demonstration and the tests of `runjob`; and Lambda, which state machines invoke.
//!
//! Two HTTP services with state of their own. The production worker talks to them with the real SDK and the real
//! Kubernetes client; nothing in here stands in for any of `runjob`'s own code.
//!
//! ```text
//!             ┌ Front ───────────────┐
//!  request ──►│ Recorder ► Faults ►  │──► Endpoint: sfn::StepFunctions | kube::Kubernetes
//!             └──────────────────────┘
//!  over TCP: serve::serve(front)          in memory: memory::Link, or front.call(request)
//!                                         a state that invokes a function: sfn::StepFunctions ──► lambda::Lambda
//! ```
//!
//! The sandbox imitates what the worker touches and no more; breadth comes from the real backends of the scenarios.

pub mod access;
pub mod faults;
pub mod front;
pub mod kube;
pub mod lambda;
pub mod memory;
mod reaper;
pub mod record;
pub mod sandbox;
mod seed;
pub mod serve;
pub mod sfn;
