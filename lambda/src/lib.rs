//! The Lambda function of `runjob`: a state machine invokes it with the request that a worker gets as an activity's input.
//!
//! ```text
//!  Step Functions                 runjob function                              Kubernetes
//!  lambda:invoke ──────────► start, then watch that one Job ─────── POST Job ─►  Job
//!    ▲ result, failure,           │                            ◄──── watch ──────┘
//!    │ RunJob.StillRunning ───────┘
//!  lambda:invoke.waitForTaskToken ─► stamp the token on the Job, and return: a worker of the group, or the sweep, answers
//!  EventBridge ─► {"Action": "sweep"}: what a worker does all the time, once
//! ```
//!
//! Whatever an invocation has to remember stands on the Job: the next one may run in another process, or in none for an hour.

pub mod function;
pub mod outcome;
pub mod runtime;
mod session;
pub mod settings;
pub mod sites;
mod start;
mod sweep;
mod wait;
