//! The production worker in made-up time, whatever befalls its requests.
//!
//! ```text
//!   Story ──► Stage ─ workers, started again and again ─ Link ─ Mishaps ─► Step Functions, Kubernetes
//!               │                                                                │
//!               └────────► verdict ◄──────────────────────────────── Witness ◄───┘
//! ```
//!
//! A run follows from its story, its seed and its mishaps: it can be played again.
#![expect(clippy::indexing_slicing, reason = "only JSON is indexed: what is not there is null")]

pub mod bug;
pub mod crew;
pub mod enumeration;
pub mod expected;
pub mod functions;
pub mod logbook;
pub mod mishap;
pub mod program;
pub mod run;
pub mod stage;
pub mod stories;
pub mod story;
pub mod verdict;
pub mod walk;
pub mod weather;
pub mod witness;
