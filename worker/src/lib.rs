//! x
pub mod clock;
pub mod cluster;
pub mod retry;
pub mod sfn;
