//! Task tokens: the credential that answers a task.

use std::{fmt, sync::Arc};

/// The longest token that Step Functions accepts, in characters (`SendTaskSuccess`, `taskToken`).
const MAX_LENGTH: usize = 2048;

/// A task token. Whoever holds it (and may call `states:SendTask*` in the account) can answer the task, so it is never
/// printed: `Debug` is redacted, and there is no `Display`. Several tables know it, and it is long: copies share one text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskToken(Arc<str>);

/// The text is no task token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a task token has 1 to 2048 characters, this has {length}")]
pub struct NotAToken {
    length: usize,
}

impl TaskToken {
    /// Takes a token as Step Functions handed it out.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, NotAToken> {
        let text = text.into();
        match text.chars().count() {
            1..=MAX_LENGTH => Ok(Self(text)),
            length => Err(NotAToken { length }),
        }
    }

    /// The token itself, for the call that answers the task and for the Job's annotation. Nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TaskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskToken(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        let token = TaskToken::new("secret").unwrap();
        assert!(!format!("{token:?}").contains("secret"));
    }

    #[test]
    fn an_empty_token_is_none() {
        assert!(TaskToken::new("").is_err());
    }
}
