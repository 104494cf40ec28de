//! The worker on the sandbox, over real HTTP.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that meets an impossible value stops there")]

mod cost;
mod crash;
mod create;
mod drain;
mod failure;
mod gone;
mod logs;
mod requests;
mod success;
mod trouble;
