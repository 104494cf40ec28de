//! An error with its sources, in one line.

use std::error::Error;

/// The error and its sources, each once: some of them show their source themselves.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for error in sources(error) {
        // Some take several lines.
        let one = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.contains(&one) {
            text = if text.is_empty() { one } else { format!("{text}: {one}") };
        }
    }
    text
}

/// The error, its source, the source of that, …
pub(crate) fn sources<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
