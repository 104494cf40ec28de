//! The ARN of an activity: where a task's token came from.

use std::{fmt, str::FromStr};

/// `arn:PARTITION:states:REGION:ACCOUNT:activity:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActivityArn {
    text: String,
    region: String,
    account: String,
}

/// The text is no activity ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is no activity ARN: expected arn:PARTITION:states:REGION:ACCOUNT:activity:NAME")]
pub struct NotAnActivityArn {
    text: String,
}

impl ActivityArn {
    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Its account id.
    pub fn account(&self) -> &str {
        &self.account
    }
}

impl FromStr for ActivityArn {
    type Err = NotAnActivityArn;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["arn", partition, "states", region, account, "activity", name]
                if ![partition, region, account, name].iter().any(|part| part.is_empty()) =>
            {
                Ok(Self { text: text.to_owned(), region: (*region).to_owned(), account: (*account).to_owned() })
            }
            _ => Err(NotAnActivityArn { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for ActivityArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_is_taken_apart() {
        let arn: ActivityArn = "arn:aws-cn:states:cn-north-1:123456789012:activity:jobs".parse().unwrap();
        assert_eq!((arn.region(), arn.account()), ("cn-north-1", "123456789012"));
    }

    #[test]
    fn another_kind_of_arn_is_refused() {
        for text in ["", "jobs", "arn:aws:states:us-east-1:1:stateMachine:x", "arn:aws:states::1:activity:x"] {
            assert!(text.parse::<ActivityArn>().is_err(), "{text}");
        }
    }
}
