//! The ARNs that tasks come from: of an activity that is polled, or of the Lambda function that a state machine invokes.

use std::{fmt, ops::Deref, str::FromStr};

/// Where a task's token came from: `arn:PARTITION:states:REGION:ACCOUNT:activity:NAME`, or
/// `arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME`, with a version or alias or without. Whatever it is, the token is one of
/// Step Functions in that region and account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    text: String,
    region: String,
    account: String,
}

/// An activity that is polled.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActivityArn(Source);

/// The text is no such ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotASource {
    /// Neither an activity's nor a function's.
    #[error("\"{0}\" is no ARN of an activity or of a Lambda function")]
    OfNothing(String),
    /// Not an activity's.
    #[error("\"{0}\" is no activity ARN: expected arn:PARTITION:states:REGION:ACCOUNT:activity:NAME")]
    OfNoActivity(String),
}

impl Source {
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

impl FromStr for Source {
    type Err = NotASource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let (region, account) = match parts.as_slice() {
            ["arn", _, "states", region, account, "activity", _]
            | ["arn", _, "lambda", region, account, "function", _]
            | ["arn", _, "lambda", region, account, "function", _, _] => (*region, *account),
            _ => return Err(NotASource::OfNothing(text.to_owned())),
        };
        if parts.iter().any(|part| part.is_empty()) {
            return Err(NotASource::OfNothing(text.to_owned()));
        }
        Ok(Self { text: text.to_owned(), region: region.to_owned(), account: account.to_owned() })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Deref for ActivityArn {
    type Target = Source;

    fn deref(&self) -> &Source {
        &self.0
    }
}

impl FromStr for ActivityArn {
    type Err = NotASource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_activity = text.split(':').nth(2) == Some("states");
        let source = text.parse().ok().filter(|_| is_activity);
        source.map(Self).ok_or_else(|| NotASource::OfNoActivity(text.to_owned()))
    }
}

impl fmt::Display for ActivityArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
    fn a_function_is_a_source_too() {
        for text in [
            "arn:aws:lambda:eu-west-1:123456789012:function:jobs",
            "arn:aws:lambda:eu-west-1:123456789012:function:jobs:live",
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!((source.region(), source.account(), source.as_str()), ("eu-west-1", "123456789012", text));
            assert!(text.parse::<ActivityArn>().is_err(), "{text}");
        }
    }

    #[test]
    fn another_kind_of_arn_is_refused() {
        for text in [
            "",
            "jobs",
            "arn:aws:states:us-east-1:1:stateMachine:x",
            "arn:aws:states::1:activity:x",
            "arn:aws:lambda:r:1:layer:x",
        ] {
            assert!(text.parse::<ActivityArn>().is_err(), "{text}");
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }
}
