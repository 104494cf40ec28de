//! Where log lines go, which, and how they look.

use std::io::IsTerminal;

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::MakeExt,
    filter::filter_fn,
    fmt::{MakeWriter, format::debug_fn},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

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
    let lines = match format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => text(std::io::stderr, terminal).boxed(),
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json().flatten_event(true).boxed()
        }
    };
    tracing_subscriber::registry().with(lines.with_filter(own).with_filter(wanted)).init();
}

/// Lines of text. What a pod, a webhook or an input brings stands in some of them: it can neither begin a line of its own nor reach the
/// terminal.
fn text<S, W>(writer: W, ansi: bool) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let fields = debug_fn(|writer, field, value| match field.name() {
        "message" => write!(writer, "{}", escaped(&format!("{value:?}"))),
        name => write!(writer, "{name}={}", escaped(&format!("{value:?}"))),
    });
    tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(ansi).fmt_fields(fields.delimited(" "))
}

/// Text without anything that has no width of its own: control characters, separators of lines, marks that turn the direction of writing.
/// `Debug` escapes these in strings; what is only displayed, errors above all, has them still.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\'' | '\\' => escaped.push(char),
            char => escaped.extend(char.escape_debug()),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use tracing::{info, info_span, subscriber::with_default};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let written = lines.clone();
        with_default(tracing_subscriber::registry().with(text(move || lines.clone(), false)), log);
        String::from_utf8(std::mem::take(&mut *written.0.lock().unwrap())).unwrap()
    }

    #[test]
    fn nothing_from_outside_forges_a_line_or_reaches_the_terminal() {
        let foreign = "quota\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[2J\u{9b}\u{2028}\u{202e}\u{7f}\0 ü \"x\"";
        let error = io::Error::other(foreign);
        let lines = logged(|| {
            let _job = info_span!("job", job = %foreign).entered();
            info!(%error, cause = foreign, reason = ?Some(foreign), "it was refused: {foreign}");
        });
        assert_eq!(lines.lines().count(), 1, "{lines}");
        let line = lines.trim_end_matches('\n');
        assert!(!line.chars().any(|char| char.is_control() || "\u{2028}\u{202e}".contains(char)), "{line:?}");
        assert_eq!(line.matches("forged\\r\\u{1b}[2J\\u{9b}\\u{2028}\\u{202e}\\u{7f}\\0 ü").count(), 5, "{line}");
    }

    #[test]
    fn a_line_reads_as_it_was_written() {
        let line = logged(|| info!(job = %"batch/x", count = 3, name = "a b", "it's here: C:\\temp"));
        assert!(line.ends_with("it's here: C:\\temp job=batch/x count=3 name=\"a b\"\n"), "{line}");
    }
}
