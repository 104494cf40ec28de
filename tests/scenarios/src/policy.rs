//! What a cluster's admission policies do to the Jobs of a scenario's namespace.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{api::Api, patience::eventually};

/// A policy.
#[derive(Debug, Clone, Copy)]
pub enum Policy {
    /// Jobs without a `ttlSecondsAfterFinished` get this one when they are created.
    GivesTtl(u32),
    /// A longer `ttlSecondsAfterFinished` is refused, in creations and changes.
    LimitsTtl(u32),
}

impl Policy {
    /// Puts the policy into force, waits until it acts, and gives the paths of its objects.
    pub(crate) async fn enact(self, kube: &Api, namespace: &str, patience: Duration) -> anyhow::Result<Vec<String>> {
        let (kind, version, spec, binding) = match self {
            Self::GivesTtl(seconds) => {
                ("mutatingadmissionpolicies", "v1beta1", gives(namespace, seconds), json!({"policyName": namespace}))
            }
            Self::LimitsTtl(seconds) => (
                "validatingadmissionpolicies",
                "v1",
                limits(namespace, seconds),
                json!({"policyName": namespace, "validationActions": ["Deny"]}),
            ),
        };
        let group = format!("/apis/admissionregistration.k8s.io/{version}");
        let mut paths = Vec::new();
        for (resource, spec) in [(kind.to_owned(), spec), (bindings(kind), binding)] {
            let path = format!("{group}/{resource}");
            kube.create_at(&path, &json!({"metadata": {"name": namespace}, "spec": spec})).await?;
            paths.push(format!("{path}/{namespace}"));
        }
        eventually(patience, "the policy acts", async || Ok(self.acts(kube, namespace).await.then_some(()))).await?;
        Ok(paths)
    }

    /// Whether a Job that nobody keeps meets it.
    async fn acts(self, kube: &Api, namespace: &str) -> bool {
        let ttl = match self {
            Self::GivesTtl(_) => None,
            Self::LimitsTtl(seconds) => Some(seconds + 1),
        };
        let pods = json!({"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]});
        let probe = json!({
            "metadata": {"name": "probe"},
            "spec": {"ttlSecondsAfterFinished": ttl, "template": {"spec": pods}},
        });
        let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All");
        match (self, kube.create_at(&path, &probe).await) {
            (Self::GivesTtl(seconds), Ok(job)) => job.pointer("/spec/ttlSecondsAfterFinished") == Some(&json!(seconds)),
            (Self::LimitsTtl(_), outcome) => outcome.is_err(),
            (Self::GivesTtl(_), Err(_)) => false,
        }
    }
}

/// `mutatingadmissionpolicies` are bound by `mutatingadmissionpolicybindings`.
fn bindings(kind: &str) -> String {
    kind.replace("policies", "policybindings")
}

fn rules(namespace: &str, operations: &[&str]) -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "resourceRules": [{"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"], "operations": operations}],
    })
}

fn gives(namespace: &str, seconds: u32) -> Value {
    json!({
        "matchConstraints": rules(namespace, &["CREATE"]),
        "matchConditions": [{"name": "has-none", "expression": "!has(object.spec.ttlSecondsAfterFinished)"}],
        "reinvocationPolicy": "Never",
        "mutations": [{
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": format!("Object{{spec: Object.spec{{ttlSecondsAfterFinished: {seconds}}}}}")},
        }],
    })
}

fn limits(namespace: &str, seconds: u32) -> Value {
    let expression =
        format!("!has(object.spec.ttlSecondsAfterFinished) || object.spec.ttlSecondsAfterFinished <= {seconds}");
    json!({
        "matchConstraints": rules(namespace, &["CREATE", "UPDATE"]),
        "validations": [{"expression": expression, "message": "ttlSecondsAfterFinished is too long"}],
    })
}
