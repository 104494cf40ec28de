//! The worker and the function with roles of AWS: the API server of `tests/cluster/cluster up` believes their tokens because AWS' own
//! authenticator does (`tests/cluster/eks up`). Step Functions and Lambda are the sandbox's.
//!
//! They need both, so they are ignored unless asked for.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets an impossible value stops there"
)]

mod bed;
mod function;
mod worker;
