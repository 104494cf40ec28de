//! What every process of `runjob` begins with.

use crate::{settings::LogFormat, telemetry::log_to_stderr};

/// Has log lines written, and settles what TLS is made of.
pub fn prepare(log_format: Option<LogFormat>) {
    log_to_stderr(log_format);
    // Two providers in one process make TLS fail at the first connection; naming one settles it. It fails only when one is
    // set already, and then there is nothing to do.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
