//! The Kubernetes API: a client, the shared watch, creates and patches, pods and their logs. Nothing in here knows Step
//! Functions.

mod connection;
mod exchange;
mod jobs;
mod logs;
mod pods;
mod reachability;
mod watch;

pub use connection::{Cluster, ConnectError};
pub use exchange::{Delivery, Exchanged, Unreachable};
pub use jobs::{Fence, WriteError};
pub use logs::{LogEnd, LogRequest, MAX_CAUSE, Run};
pub use pods::ListError;
pub use reachability::{Reachability, keep_probing};
pub use watch::{Scope, Watched, WatchedJob, watch};
