//! The Step Functions calls: poll, heartbeat, success, failure. Nothing in here knows Kubernetes.
//!
//! Two clients per region: one for polls, which the service holds for up to 60 s, and one for everything else, which
//! answers at once. The client for a token is chosen by the activity that the token came from.

mod clients;
mod error;
mod poll;
mod reply;

pub(crate) use clients::POLL_ATTEMPT;
pub use clients::{Clients, NoClient, Trouble};
pub use error::{Gone, SfnError};
pub use poll::PolledTask;
pub use reply::Reply;
