//! What it means that the Kubernetes API did not create a Job. The status number alone does not say: 409 has several
//! meanings, and one kind of 403 passes by itself.

use std::time::Duration;

use serde_json::Value;

use crate::answer::ApiAnswer;

/// How long a passing trouble may last before the Job exists. The task heartbeats meanwhile.
pub const PATIENCE: Duration = Duration::from_mins(15);

/// How long an answer of 401 may last: an outage of the authentication service looks like one.
pub const AUTHENTICATION_PATIENCE: Duration = Duration::from_secs(90);

/// Whether an answer of that status to a read is worth asking again: throttled, or an error of the server.
pub fn read_may_pass(status: u16) -> bool {
    matches!(status, 429 | 500..=599)
}

/// Whether an answer of that status says that the API is in trouble, whatever was asked: it throttles, is overloaded, or knows
/// nobody. Other errors may come of the Job itself, of its namespace, of a webhook.
pub fn meets_everybody(status: u16) -> bool {
    matches!(status, 401 | 408 | 429 | 502..=504)
}

/// Why a create was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is an object of that name. It may be ours: the answer to an earlier create may have been lost.
    NameTaken,
    /// There is an object of that name, and it is on its way out.
    BeingDeleted,
    /// It may pass: an overload, a server error, an update conflict on a quota, an exceeded quota.
    Passing,
    /// Authentication failed, or was not available.
    Unauthenticated,
    /// It will not pass.
    Final,
}

impl Refusal {
    /// What the answer to a create means. `None`: it is no refusal.
    pub fn of(answer: &ApiAnswer) -> Option<Self> {
        let text = |field: &str| answer.body.get(field).and_then(Value::as_str).unwrap_or_default();
        let refusal = match answer.status {
            200..=299 => return None,
            401 => Self::Unauthenticated,
            403 if text("message").contains("exceeded quota") => Self::Passing,
            409 if text("message").contains("object is being deleted") => Self::BeingDeleted,
            409 if text("reason") == "AlreadyExists" => Self::NameTaken,
            409 if concerns_quota(&answer.body) => Self::Passing,
            408 | 429 | 500..=599 => Self::Passing,
            _ => Self::Final,
        };
        Some(refusal)
    }

    /// How long it is worth waiting for it to pass. `None`: not at all.
    pub fn patience(self) -> Option<Duration> {
        match self {
            Self::Passing | Self::BeingDeleted => Some(PATIENCE),
            Self::Unauthenticated => Some(AUTHENTICATION_PATIENCE),
            Self::NameTaken | Self::Final => None,
        }
    }
}

/// The quota admission plugin updates the `ResourceQuota` object; a conflict there has nothing to do with the Job.
fn concerns_quota(status: &Value) -> bool {
    status.pointer("/details/kind").and_then(Value::as_str) == Some("resourcequotas")
        || status.get("message").and_then(Value::as_str).is_some_and(|message| message.contains("resourcequotas"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(status: u16, body: &Value) -> Option<Refusal> {
        Refusal::of(&ApiAnswer::new(status, "", body.to_string().as_bytes()))
    }

    #[test]
    fn the_same_number_means_different_things() {
        let taken = json!({"reason": "AlreadyExists", "message": "jobs.batch \"x\" already exists"});
        let leaving = json!({"reason": "AlreadyExists",
            "message": "object is being deleted: jobs.batch \"x\" already exists"});
        let quota = json!({"reason": "Conflict", "details": {"name": "q", "kind": "resourcequotas"},
            "message": "Operation cannot be fulfilled on resourcequotas \"q\": the object has been modified"});
        let exceeded = json!({"reason": "Forbidden", "message": "jobs.batch \"x\" is forbidden: exceeded quota: q"});
        let forbidden = json!({"reason": "Forbidden", "message": "User cannot create resource \"jobs\""});
        let cases = [
            (201, json!({}), None),
            (409, taken, Some(Refusal::NameTaken)),
            (409, leaving, Some(Refusal::BeingDeleted)),
            (409, quota, Some(Refusal::Passing)),
            (409, json!({"reason": "Conflict"}), Some(Refusal::Final)),
            (403, exceeded, Some(Refusal::Passing)),
            (403, forbidden, Some(Refusal::Final)),
            (401, json!({}), Some(Refusal::Unauthenticated)),
            (404, json!({}), Some(Refusal::Final)),
            (422, json!({}), Some(Refusal::Final)),
            (429, json!({}), Some(Refusal::Passing)),
            (503, json!("no JSON"), Some(Refusal::Passing)),
        ];
        for (status, body, expected) in cases {
            assert_eq!(refusal(status, &body), expected, "{status} {body}");
        }
    }
}
