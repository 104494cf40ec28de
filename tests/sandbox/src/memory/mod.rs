//! Both services in memory, and the production worker against them without a network: on a current-thread runtime with a
//! paused clock, hours pass in milliseconds, and the same seed gives the same requests at the same times.
//!
//! ```text
//!             ┌ one worker ────────┐      ┌ Link ──────────────────────────────┐
//!             │ aws-sdk-sfn client ├─────►│ number ► fate ► a moment on the way ├──► Front<StepFunctions>
//!             │ kube client        ├─────►│ journal                             ├──► Front<Kubernetes>
//!             └────────────────────┘      └────────────────────────────────────┘
//! ```
//!
//! What is random otherwise follows from the thread's generator (`fastrand`), which [`simulate`] seeds.

mod fate;
mod journal;
mod kube_client;
mod link;
mod runtime;
mod services;
mod sfn_client;

pub use fate::{Fate, Outbound, Service, Traffic, Undisturbed};
pub use journal::{Journal, Line};
pub use link::{DeliberatePanic, Link};
pub use runtime::simulate;
pub use services::{LinkedWorker, Memory, Place, Ways};
