//! Where the demonstration is shown: lines, and on a terminal a spinner with the elapsed time below them.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is what shows things to a person")]

use std::{
    io::{IsTerminal, stdout},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The screen of one run.
pub(crate) struct Screen {
    start: Instant,
    spinner: Option<ProgressBar>,
}

/// Says what went wrong.
pub(crate) fn complain(message: &str) {
    eprintln!("error: {message}");
}

impl Screen {
    pub(crate) fn new() -> Self {
        let can_draw = stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let spinner = can_draw.then(|| {
            let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise}  {msg}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        Self { start: Instant::now(), spinner }
    }

    /// Shows a line as it is.
    pub(crate) fn line(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// Shows what has happened, with the time since the start.
    pub(crate) fn event(&self, text: &str) {
        self.line(&format!("{:7.2} s  {text}", self.start.elapsed().as_secs_f64()));
        if let Some(spinner) = &self.spinner {
            spinner.set_message(text.to_owned());
        }
    }

    /// There is nothing more to wait for.
    pub(crate) fn end(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
