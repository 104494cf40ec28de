//! The worker of `runjob`: polls Step Functions activities, runs a Kubernetes Job for each task, watches it, collects its
//! logs and answers.
//!
//! ```text
//!  Step Functions                      runjob worker                            Kubernetes
//!                        ┌──────────────────────────────────────┐
//!  GetActivityTask ◄─────│ intake    permit → poll → plan       │── POST Job (stamped) ─►  Job
//!                        │                                      │                          │
//!  SendTaskHeartbeat ◄───│ tracker   one watch → step → effects │◄──────── watch ──────────┘
//!  SendTaskSuccess/   ◄──│             └ logs, diagnosis        │── GET pod logs ────────► Pods
//!  SendTaskFailure       │             └ reply, then settle     │── PATCH Job (settled) ──► Job leaves the watch
//!                        └──────────────────────────────────────┘
//! ```
//!
//! The Job is the ledger: everything that a task needs to be answered stands on it. A worker that is killed and started again
//! finds its Jobs in the first list of its watch and goes on; there is no other way in which it learns of them.

pub mod admin;
mod aws_credentials;
pub mod clock;
pub mod cluster;
pub mod clusters;
pub mod command;
mod error_chain;
pub mod heartbeat;
pub mod intake;
pub mod lease;
pub mod liveness;
pub mod metrics;
pub mod permits;
pub mod process;
pub mod replies;
pub mod retry;
mod room;
pub mod settings;
pub mod sfn;
pub mod site;
pub mod starter;
pub mod telemetry;
pub mod tracker;
pub mod worker;
mod workshop;
