//! Where log lines go, and which.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::LogFormat;

/// `RUNJOB_LOG` rules what `runjob` logs. Libraries are heard from `warn` on, whatever it says: below that they may show
/// requests, and requests hold task tokens.
pub fn log_to_stderr(format: Option<LogFormat>) {
    let wanted = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var("RUNJOB_LOG")
        .from_env_lossy();
    // The client's own word on a failed request says less than the error that the worker logs.
    let repeated = |target: &str| target.starts_with("kube_client::client::builder");
    let own = filter_fn(move |event| {
        let target = event.target();
        target.starts_with("runjob") || (*event.level() <= LevelFilter::WARN && !repeated(target))
    });
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    let lines = match format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(own).with_filter(wanted)).init();
}
