//! The worker on the sandbox, over real HTTP.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets an impossible value stops there"
)]

mod clusters;
mod cost;
mod crash;
mod create;
mod documents;
mod drain;
mod events;
mod faults;
mod gone;
mod keys;
mod logs;
mod memory;
mod operations;
mod overload;
mod predecessor;
mod proxy;
mod requests;
mod trouble;
