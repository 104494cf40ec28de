//! The worker's account on a real cluster: a ServiceAccount of its own, with the rights that the documentation asks for and no
//! others.

use anyhow::Context;
use serde_json::{Value, json};

use crate::{api::Api, scenario::Rights};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// The rules that `docs/usage.md` asks for.
fn rules(rights: Rights) -> Value {
    let mut on_jobs = vec!["get", "list", "watch", "patch", "delete"];
    if rights != Rights::NoCreate {
        on_jobs.push("create");
    }
    let mut rules = vec![
        json!({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": on_jobs}),
        json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}),
        json!({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}),
        json!({"apiGroups": [""], "resources": ["events"], "verbs": ["create", "list", "patch"]}),
        json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}),
    ];
    if rights == Rights::AndConfigMaps {
        rules.push(json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}));
    }
    if rights == Rights::Everywhere {
        // Kubernetes lets everybody `get` it, and nobody `head`.
        rules.push(json!({"nonResourceURLs": ["/healthz"], "verbs": ["get", "head"]}));
    }
    rules.into()
}

/// Makes the account `id` in a namespace and gives a token of it.
pub(crate) async fn account(kube: &Api, namespace: &str, id: &str, rights: Rights) -> anyhow::Result<String> {
    kube.create("serviceaccounts", &json!({"metadata": {"name": id}})).await?;
    let (role, binding, within) = match rights {
        Rights::Everywhere => ("ClusterRole", "ClusterRoleBinding", RBAC.to_owned()),
        Rights::Documented | Rights::NoCreate | Rights::AndConfigMaps => {
            ("Role", "RoleBinding", format!("{RBAC}/namespaces/{namespace}"))
        }
    };
    let path = |kind: &str| format!("{within}/{}s", kind.to_lowercase());
    kube.create_at(&path(role), &json!({"metadata": {"name": id}, "rules": rules(rights)})).await?;
    let binds = json!({
        "metadata": {"name": id},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": id},
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": id}],
    });
    kube.create_at(&path(binding), &binds).await?;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600}});
    let granted =
        kube.create_at(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/{id}/token"), &request).await?;
    let token = granted.pointer("/status/token").and_then(Value::as_str);
    Ok(token.context("a TokenRequest without a token")?.to_owned())
}

/// Takes back what does not go with the account's namespace. Most of it is not there.
pub(crate) async fn withdraw(kube: &Api, id: &str) -> anyhow::Result<()> {
    let of_default = format!("{RBAC}/namespaces/default");
    for place in [
        format!("{RBAC}/clusterrolebindings/{id}"),
        format!("{RBAC}/clusterroles/{id}"),
        format!("{of_default}/rolebindings/{id}"),
        format!("{of_default}/roles/{id}"),
        format!("/api/v1/namespaces/default/serviceaccounts/{id}"),
    ] {
        match kube.delete_at(&place).await {
            Err(error) if !is_not_found(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 404)
}
