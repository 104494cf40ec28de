//! What a test can choose about the service.

use std::time::Duration;

use jiff::Timestamp;

/// 2026-01-01T00:00:00Z: the wall clock of every service whose configuration does not say otherwise.
const START_SECONDS: i64 = 1_767_225_600;

/// The settings of one [`super::StepFunctions`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The account in every ARN.
    pub account: String,
    /// The region in every ARN.
    pub region: String,
    /// How long `GetActivityTask` is held when no task is there. AWS: 60 s.
    pub poll_hold: Duration,
    /// What an empty poll's answer looks like.
    pub empty_poll: EmptyPoll,
    /// The name of the activity that `arn:aws:states:::eks:…` resources go to. It is created with the service. Without
    /// it, machines with such resources are refused.
    pub native_activity: Option<String>,
    /// Tokens and generated names follow from it. Services with different seeds do not know each other's tokens.
    pub seed: u64,
    /// The wall clock at the moment the service is made; from there on it follows tokio's clock.
    pub start: Timestamp,
}

/// How `GetActivityTask` says that there is no task. Clients have to cope with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmptyPoll {
    /// `{}`.
    #[default]
    Absent,
    /// `{"taskToken": null}`.
    Null,
    /// `{"taskToken": ""}`.
    EmptyString,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            poll_hold: Duration::from_mins(1),
            empty_poll: EmptyPoll::default(),
            native_activity: None,
            seed: 0,
            start: Timestamp::from_second(START_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

impl Config {
    pub(super) fn arn(&self, kind: &str, name: &str) -> String {
        format!("arn:aws:states:{}:{}:{kind}:{name}", self.region, self.account)
    }

    pub(super) fn default_role(&self) -> String {
        format!("arn:aws:iam::{}:role/sandbox", self.account)
    }
}
