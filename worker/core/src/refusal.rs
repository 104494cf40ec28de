//! What it means that the Kubernetes API did not do what it was asked for. The status number alone does not say.
//!
//! | answer | what it is | source in kubernetes/kubernetes | passes |
//! |---|---|---|---|
//! | no `Status`, but 413, 414, 431 | a proxy's own, on the way | | yes |
//! | any, "… denied the request" | an admission webhook says no, with a status of its choice | apiserver `webhook/errors/statuserror.go` | no |
//! | 401 | authentication failed, or was not available | apiserver `filters/authentication.go` | for a while |
//! | 403 "exceeded quota", "status unknown for quota" | a ResourceQuota is used up, or not counted yet | apiserver `quota/v1`, `resourcequota/controller.go` | yes |
//! | 403, 404, 422, others below 500 | rights, namespace, the object itself | apimachinery `api/errors` | no |
//! | 409 `AlreadyExists` | the name is taken, or on its way out | apiserver `registry/store.go` | looked into |
//! | 409 on `resourcequotas` | two updates of the quota's counters met | `resourcequota/controller.go` | yes |
//! | 408, 429, 5xx | throttled, overloaded, on its way down | apiserver `filters` | yes |
//! | 429 with the cause `DisruptionBudget` | an eviction that a budget forbids | `registry/core/pod/storage/eviction.go` | no |
//! | 500 "resourceVersion should not be set …" | a mistake in the object | apiserver `registry/generic` | no |
//! | 500 "failed calling webhook", no connection | the webhook is away | apiserver `webhook/mutating/dispatcher.go` | yes |
//! | 500 "failed calling webhook", an invalid response | the webhook answers nonsense | the same, `request/admissionreview.go` | no |
//! | 500 "… operation does not apply" | the webhook's patch does not fit | the same, evanphx/json-patch | no |

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
        let says = |part: &str| text("message").contains(part);
        let refusal = match answer.status {
            200..=299 => return None,
            401 => Self::Unauthenticated,
            413 | 414 | 431 => Self::Final,
            _ if !is_status(answer) => Self::Passing,
            _ if is_permanent(answer) => Self::Final,
            403 if says("exceeded quota") || says("status unknown for quota") => Self::Passing,
            409 if says("object is being deleted") => Self::BeingDeleted,
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

/// How long an answer to a `call` is worth repeating the request. `None`: it is the call's own. What was throttled or not
/// authenticated was not carried out, whatever the method.
pub fn patience_with_call(answer: &ApiAnswer, is_repeatable: bool) -> Option<Duration> {
    match answer.status {
        401 => Some(AUTHENTICATION_PATIENCE),
        _ if is_permanent(answer) => None,
        429 => Some(PATIENCE),
        500..=599 if is_repeatable => Some(PATIENCE),
        _ => None,
    }
}

/// Whether the API server itself has answered: its refusals are a `Status`.
pub fn is_status(answer: &ApiAnswer) -> bool {
    answer.body.get("kind").and_then(Value::as_str) == Some("Status")
}

/// What an answer says that stays the same however often the request is repeated, though its status is one that passes as a rule.
const PERMANENT: [&str; 8] = [
    "denied the request",
    "resourceVersion should not be set on objects to be created",
    "received invalid webhook response",
    "expected webhook response of",
    "couldn't get version/kind; json parse error",
    "invalid character",
    "operation does not apply",
    "webhook attempted patch of invalid type",
];

fn is_permanent(answer: &ApiAnswer) -> bool {
    let causes = answer.body.pointer("/details/causes").and_then(Value::as_array);
    let is_budget = |cause: &Value| cause.get("reason").and_then(Value::as_str) == Some("DisruptionBudget");
    let message = answer.body.get("message").and_then(Value::as_str).unwrap_or_default();
    is_status(answer)
        && (causes.into_iter().flatten().any(is_budget) || PERMANENT.iter().any(|text| message.contains(text)))
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

    fn answer(status: u16, body: &Value) -> ApiAnswer {
        let mut body = body.clone();
        if let Some(body) = body.as_object_mut() {
            body.insert("kind".into(), "Status".into());
        }
        ApiAnswer::new(status, "", body.to_string().as_bytes())
    }

    fn refusal(status: u16, body: &Value) -> Option<Refusal> {
        Refusal::of(&answer(status, body))
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
        let says =
            |text: &str| json!({"reason": "InternalError", "message": format!("Internal error occurred: {text}")});
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
            (403, json!({"message": "status unknown for quota: q, resources: pods"}), Some(Refusal::Passing)),
            (418, json!({}), Some(Refusal::Final)),
            (409, json!("<html>conflict</html>"), Some(Refusal::Passing)),
            (418, json!("<html>teapot</html>"), Some(Refusal::Passing)),
            (404, json!("default backend"), Some(Refusal::Passing)),
            (413, json!("<html>too large</html>"), Some(Refusal::Final)),
            (
                500,
                json!({"message": "resourceVersion should not be set on objects to be created"}),
                Some(Refusal::Final),
            ),
            (
                500,
                says("failed calling webhook \"w\": failed to call webhook: Post \"https://w\": connection refused"),
                Some(Refusal::Passing),
            ),
            (
                500,
                says("failed calling webhook \"w\": failed to call webhook: context deadline exceeded"),
                Some(Refusal::Passing),
            ),
            (
                500,
                says("failed calling webhook \"w\": received invalid webhook response: expected response.uid=x, got y"),
                Some(Refusal::Final),
            ),
            (
                500,
                says("failed calling webhook \"w\": invalid character '<' looking for beginning of value"),
                Some(Refusal::Final),
            ),
            (500, says("add operation does not apply: doc is missing path"), Some(Refusal::Final)),
            (503, json!({"message": "admission webhook \"w\" denied the request: no"}), Some(Refusal::Final)),
            (
                403,
                json!({"message": "admission webhook \"w\" denied the request: exceeded quota"}),
                Some(Refusal::Final),
            ),
        ];
        for (status, body, expected) in cases {
            assert_eq!(refusal(status, &body), expected, "{status} {body}");
        }
    }

    #[test]
    fn an_eviction_that_a_budget_forbids_is_the_calls_own_answer() {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        let forbidden = json!({"reason": "TooManyRequests", "message": message, "details": {"causes": [
            {"reason": "DisruptionBudget", "message": "The disruption budget b needs 1 healthy pods and has 1 currently"}]}});
        assert_eq!(patience_with_call(&answer(429, &forbidden), false), None);
        assert_eq!(patience_with_call(&answer(429, &json!({"reason": "TooManyRequests"})), false), Some(PATIENCE));
        assert_eq!(patience_with_call(&answer(429, &json!("Too many requests")), false), Some(PATIENCE));
        assert_eq!(patience_with_call(&answer(503, &json!({})), false), None);
        assert_eq!(patience_with_call(&answer(503, &json!({})), true), Some(PATIENCE));
    }
}
