//! What the function is told: environment variables with the names that the worker's flags have there.

use std::time::Duration;

use clap::Parser;
use runjob::settings::{JobSettings, duration, rate};

/// What the function is told.
#[derive(Debug, Clone, Parser)]
pub struct FunctionSettings {
    /// What a worker is told, too.
    #[command(flatten)]
    pub jobs: JobSettings,

    /// How long before its deadline an invocation comes to its end.
    #[arg(long, env = "RUNJOB_MARGIN", value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub margin: Duration,

    /// The most heartbeats a second that a sweep sends.
    #[arg(long, env = "RUNJOB_HEARTBEAT_RATE", value_name = "RATE", default_value = "100/s", value_parser = rate)]
    pub heartbeat_rate: u32,
}

impl FunctionSettings {
    /// From the environment of this process.
    pub fn from_environment() -> Result<Self, clap::Error> {
        Self::try_parse_from(["bootstrap"])
    }
}
