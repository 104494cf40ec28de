//! The Kubernetes API: a client, the shared watch, creates and patches, pods and their logs, Events. Nothing in here knows Step
//! Functions.

mod body;
mod connection;
mod eks;
mod events;
mod exchange;
mod jobs;
mod leases;
mod list;
mod logs;
mod lookup;
mod plugin;
mod pods;
mod reachability;
mod renewed;
mod source;
mod unauthenticated;
mod warnings;
mod watch;

pub use connection::{Cluster, ConnectError};
pub use eks::{
    CertificateAuthority, DescribeError, Eks, EksCluster, EksError, EksName, Endpoint, LocateError, Location,
    NotAnAuthority, NotAnEksName, NotAnEndpoint,
};
pub use events::{EventKind, MAX_UNTOLD, keep_telling};
pub use exchange::{Called, Delivery, Exchanged, Succeeded, Unreachable};
pub use jobs::{Fence, WriteError};
pub use leases::LeaseKey;
pub use list::ListError;
pub use logs::{LONGEST as LONGEST_LOG, LogEnd, LogRequest, MAX_CAUSE, Run};
pub use lookup::{Known, Lookup, Unavailable};
pub use plugin::PluginError;
pub use reachability::{Reachability, keep_probing};
pub use watch::{Scope, Watched, WatchedJob, watch};
