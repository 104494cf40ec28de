//! The pure part of `runjob`: what a task asks for, what is written on its Job, what happens next, what is answered.
//!
//! Nothing in here does I/O, knows a clock, Kubernetes' client or the AWS SDK. Time comes in as an argument, decisions
//! go out as values, and the shell around it carries them out.
//!
//! ```text
//! input ─► request ─► plan ─► stamped Job              (intake)
//! watched Job ─► job ─► lifecycle ─► Decision          (tracker)
//! pods, logs ─► diagnosis, output, failure ─► reply    (within budget)
//! ```

pub mod answer;
pub mod arn;
pub mod attach;
pub mod brake;
pub mod budget;
pub mod call;
pub mod catalogue;
pub mod clusters;
pub mod diagnosis;
pub mod event;
pub mod failure;
mod fields;
pub mod foreign;
mod hidden;
pub mod invalid;
pub mod job;
pub mod json;
pub mod lease;
pub mod ledger;
pub mod lifecycle;
pub mod log_options;
pub mod logs;
pub mod lookup;
pub mod manifest;
pub mod names;
pub mod output;
pub mod owner;
pub mod patch;
pub mod pending;
pub mod plan;
pub mod pod;
mod pointer;
pub mod progress;
pub mod refusal;
pub mod request;
mod reserved;
pub mod restart;
pub mod retry_after;
pub mod service_account;
pub mod tempo;
pub mod token;
pub mod waiter;
pub mod warning;
mod yaml;

#[cfg(test)]
mod fixtures;
