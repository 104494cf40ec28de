//! A user of the Kubernetes API beside the worker, in raw JSON: the same for the sandbox and for a real server.

use anyhow::Context;
use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};

/// The API of one namespace.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    namespace: String,
}

/// The path of a resource's objects in a namespace: `pods` is of the core, `batch/v1/jobs` of a group.
fn path(namespace: &str, resource: &str) -> String {
    match resource.rsplit_once('/') {
        None => format!("/api/v1/namespaces/{namespace}/{resource}"),
        Some((group, resource)) => format!("/apis/{group}/namespaces/{namespace}/{resource}"),
    }
}

impl Api {
    /// The API of a namespace, which need not exist yet.
    pub(crate) fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// The objects of a resource.
    pub(crate) async fn list(&self, resource: &str) -> anyhow::Result<Vec<Value>> {
        let mut list = self.ask(Method::GET, &path(&self.namespace, resource), None).await?;
        Ok(list.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default())
    }

    /// Creates an object.
    pub(crate) async fn create(&self, resource: &str, object: &Value) -> anyhow::Result<Value> {
        self.create_at(&path(&self.namespace, resource), object).await
    }

    /// Creates an object at a path of any kind.
    pub(crate) async fn create_at(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, Some(("application/json", object))).await
    }

    /// Changes an object by a merge patch.
    pub(crate) async fn merge(&self, resource: &str, name: &str, patch: &Value) -> anyhow::Result<Value> {
        self.merge_at(&format!("{}/{name}", path(&self.namespace, resource)), patch).await
    }

    /// Changes the namespace by a merge patch.
    pub(crate) async fn merge_namespace(&self, patch: &Value) -> anyhow::Result<()> {
        self.merge_at(&format!("/api/v1/namespaces/{}", self.namespace), patch).await.map(drop)
    }

    async fn merge_at(&self, place: &str, patch: &Value) -> anyhow::Result<Value> {
        self.ask(Method::PATCH, place, Some(("application/merge-patch+json", patch))).await
    }

    /// Evicts a pod.
    pub(crate) async fn evict(&self, pod: &str) -> anyhow::Result<()> {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
        self.create_at(&format!("{}/{pod}/eviction", path(&self.namespace, "pods")), &eviction).await.map(drop)
    }

    /// Deletes an object, and what it owns.
    pub(crate) async fn delete(&self, resource: &str, name: &str) -> anyhow::Result<()> {
        self.delete_at(&format!("{}/{name}", path(&self.namespace, resource))).await
    }

    /// Deletes a Job. Without a propagation policy its pods stay.
    pub(crate) async fn delete_job(&self, name: &str, propagation: Option<&str>) -> anyhow::Result<()> {
        let options = match propagation {
            Some(policy) => json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}),
            None => json!({"kind": "DeleteOptions", "apiVersion": "v1"}),
        };
        let path = format!("{}/{name}", path(&self.namespace, "batch/v1/jobs"));
        self.ask(Method::DELETE, &path, Some(("application/json", &options))).await.map(drop)
    }

    /// Deletes an object at a path of any kind, and what it owns.
    pub(crate) async fn delete_at(&self, path: &str) -> anyhow::Result<()> {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
        self.ask(Method::DELETE, path, Some(("application/json", &options))).await.map(drop)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<(&str, &Value)>) -> anyhow::Result<Value> {
        let mut request = Request::builder().method(method.clone()).uri(path);
        let text = body.map(|(content_type, body)| (content_type.to_owned(), body.to_string().into_bytes()));
        if let Some((content_type, _)) = &text {
            request = request.header(http::header::CONTENT_TYPE, content_type);
        }
        let request = request.body(text.map(|(_, text)| text).unwrap_or_default())?;
        self.client.request(request).await.with_context(|| format!("unable to {method} {path}"))
    }
}
