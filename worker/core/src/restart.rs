//! When a container is started again once it has ended: the `restartPolicy` of its pod, or its own with its rules
//! (`restartPolicyRules`, Kubernetes 1.34). A rule restarts what the policy would not, so that `Never` does not mean never.

use serde_json::Value;

/// When a container is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    policy: Policy,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Never,
    OnFailure,
    Always,
}

/// A rule that restarts the container, or all of its pod, after some exit codes: those, or all but those.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    applies_to_listed: bool,
    listed: Vec<i64>,
}

impl Restart {
    /// Of a container's spec, in a pod of that policy.
    pub(crate) fn of(container: &Value, policy_of_pod: &str) -> Self {
        let own = container.get("restartPolicy").and_then(Value::as_str);
        let rules = container.get("restartPolicyRules").and_then(Value::as_array);
        Self {
            policy: match own.unwrap_or(policy_of_pod) {
                "Never" => Policy::Never,
                "OnFailure" => Policy::OnFailure,
                _ => Policy::Always,
            },
            rules: rules.into_iter().flatten().filter_map(Rule::of).collect(),
        }
    }

    /// Whether it is started again after that exit code.
    pub(crate) fn applies(&self, exit_code: i64) -> bool {
        let by_policy = match self.policy {
            Policy::Never => false,
            Policy::OnFailure => exit_code != 0,
            Policy::Always => true,
        };
        by_policy || self.rules.iter().any(|rule| rule.applies(exit_code))
    }
}

impl Rule {
    /// `None`: its action is neither `Restart` nor `RestartAllContainers`.
    fn of(rule: &Value) -> Option<Self> {
        rule.get("action")?.as_str()?.starts_with("Restart").then_some(())?;
        let values = rule.pointer("/exitCodes/values").and_then(Value::as_array);
        Some(Self {
            applies_to_listed: rule.pointer("/exitCodes/operator")?.as_str()? == "In",
            listed: values.into_iter().flatten().filter_map(Value::as_i64).collect(),
        })
    }

    fn applies(&self, exit_code: i64) -> bool {
        self.listed.contains(&exit_code) == self.applies_to_listed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_follows_its_pod_unless_it_has_a_policy_of_its_own() {
        assert!(!Restart::of(&json!({}), "Never").applies(1));
        assert!(Restart::of(&json!({}), "OnFailure").applies(1) && !Restart::of(&json!({}), "OnFailure").applies(0));
        assert!(Restart::of(&json!({"restartPolicy": "Always"}), "Never").applies(0));
        assert!(!Restart::of(&json!({"restartPolicy": "Never"}), "OnFailure").applies(1));
    }

    #[test]
    fn a_rule_restarts_what_the_policy_would_not() {
        let rule = |action: &str, operator: &str| {
            let rule = json!({"action": action, "exitCodes": {"operator": operator, "values": [42]}});
            Restart::of(&json!({"restartPolicy": "Never", "restartPolicyRules": [rule]}), "Never")
        };
        assert!(rule("Restart", "In").applies(42) && !rule("Restart", "In").applies(1));
        assert!(rule("RestartAllContainers", "NotIn").applies(1) && !rule("Restart", "NotIn").applies(42));
        assert!(!rule("Terminate", "In").applies(42));
    }
}
