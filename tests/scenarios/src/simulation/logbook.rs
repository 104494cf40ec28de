//! What the workers of a run log, to be looked through for what must not be there.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::{level_filters::LevelFilter, subscriber::DefaultGuard};
use tracing_subscriber::{Layer, filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt};

/// The log lines of everything on this thread.
#[derive(Debug, Clone, Default)]
pub struct Logbook(Arc<Mutex<Vec<u8>>>);

impl Logbook {
    /// Begins to write. Ends when the guard is dropped.
    pub fn open() -> (Self, DefaultGuard) {
        let book = Self::default();
        let own = filter_fn(|event| event.target().starts_with("runjob") || *event.level() <= LevelFilter::WARN);
        let lines = tracing_subscriber::fmt::layer().with_writer(book.clone()).with_ansi(false).without_time();
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(LevelFilter::DEBUG).with_filter(own));
        (book, tracing::subscriber::set_default(subscriber))
    }

    /// What was written.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for Logbook {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logbook {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
