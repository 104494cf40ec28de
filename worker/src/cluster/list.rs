//! Lists, page by page.

use serde_json::Value;

use super::{
    Cluster, Exchanged, Unreachable,
    exchange::{Ask, escape},
};

/// How many objects one page has. Most lists are shorter, and cost one request.
const PAGE: usize = 500;

/// A list could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The API server would not.
    #[error("unable to {operation}: the server answered {}", refused.answer.status)]
    Refused {
        /// What was asked for: "list the pods of the Job default/x".
        operation: String,
        /// The answer.
        refused: Exchanged,
    },
    /// There was no answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

impl Cluster {
    /// Asks for a list, and gives each of its objects to `take` as the pages arrive: a list may be longer than what should be
    /// held of it. The URI of the question has a query already.
    pub(super) async fn list(&self, mut ask: Ask, mut take: impl FnMut(&Value) + Send) -> Result<(), ListError> {
        let first = format!("{}&limit={PAGE}", ask.uri);
        ask.uri.clone_from(&first);
        loop {
            let exchanged = self.exchange(&ask).await?;
            if !exchanged.answer.is_success() {
                return Err(ListError::Refused { operation: ask.operation, refused: exchanged });
            }
            let list = &exchanged.answer.body;
            list.get("items").and_then(Value::as_array).into_iter().flatten().for_each(&mut take);
            match list.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(more) if !more.is_empty() => ask.uri = format!("{first}&continue={}", escape(more)),
                _ => return Ok(()),
            }
        }
    }
}
