//! Task tokens: opaque to workers, made of a counter and the service's secret, so that a token of another service (or
//! one that was tampered with) is recognised as foreign.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;

/// What AWS' own tokens begin with. Nothing depends on it; a log that shows it shows a token.
const PREFIX: &str = "AQC";
/// Random-looking words behind the counter: with the prefix that makes tokens of 110 characters.
const SEAL_WORDS: u64 = 9;

/// A task's number. Tasks are numbered in the order in which they are scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskId(pub(super) u64);

/// What a worker holds. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TaskToken(String);

impl TaskToken {
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

impl fmt::Debug for TaskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskToken(…)")
    }
}

/// Makes the tokens of one service, and knows them again.
#[derive(Clone, Copy)]
pub(super) struct Mint {
    secret: u64,
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mint(…)")
    }
}

impl Mint {
    pub(super) fn new(seed: u64) -> Self {
        Self { secret: scramble(seed ^ 0x7275_6e6a_6f62) }
    }

    pub(super) fn token(self, TaskId(number): TaskId) -> TaskToken {
        let mut bytes = number.to_be_bytes().to_vec();
        for word in 1..=SEAL_WORDS {
            bytes.extend(scramble(self.secret ^ scramble(number.wrapping_mul(31).wrapping_add(word))).to_be_bytes());
        }
        TaskToken(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes)))
    }

    /// The task behind a token of this service. `None` for any other text.
    pub(super) fn recognise(self, text: &str) -> Option<TaskId> {
        let bytes = BASE64URL_NOPAD.decode(text.strip_prefix(PREFIX)?.as_bytes()).ok()?;
        let number = TaskId(u64::from_be_bytes(*bytes.first_chunk()?));
        (self.token(number).0 == text).then_some(number)
    }
}

/// The finaliser of `SplitMix64`: spreads a counter over all bits.
pub(super) fn scramble(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mint_recognises_its_own_tokens_only() {
        let (mint, other) = (Mint::new(1), Mint::new(2));
        let token = mint.token(TaskId(7)).into_text();
        assert!(token.len() > 100, "{} characters", token.len());
        assert_eq!(mint.recognise(&token), Some(TaskId(7)));
        assert_eq!(other.recognise(&token), None);
        assert_eq!(mint.recognise(&token[1..]), None);
        assert_eq!(mint.recognise("AQC"), None);
        assert_eq!(mint.recognise(""), None);
    }

    #[test]
    fn debug_output_shows_no_token() {
        let token = Mint::new(1).token(TaskId(7));
        assert_eq!(format!("{token:?}"), "TaskToken(…)");
    }
}
