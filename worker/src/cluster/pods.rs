//! The pods of a Job.

use http::Method;
use runjob_core::{job::JobView, pod::PodView};
use serde_json::Value;

use super::{
    Cluster, ListError,
    exchange::{Ask, escape},
};

impl Cluster {
    /// Lists the pods that the Job's selector finds and keeps those of this very Job: an earlier Job of the same name may have left
    /// some behind. A Job that was deleted with `propagationPolicy: Orphan` owns none any more; its pods still bear its UID.
    pub async fn pods(&self, view: &JobView) -> Result<Vec<PodView>, ListError> {
        let (namespace, selector) = (escape(&view.key.namespace), escape(&view.selector));
        let uri = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}");
        let ask = Ask::new(format!("list the pods of the Job {}", view.key), Method::GET, uri);
        let mut pods = Vec::new();
        self.list(ask, |pod| {
            let label = pod.pointer("/metadata/labels/batch.kubernetes.io~1controller-uid").and_then(Value::as_str);
            let pod = PodView::of(pod);
            if pod.owners.contains(&view.uid) || (pod.owners.is_empty() && label == Some(&view.uid)) {
                pods.push(pod);
            }
        })
        .await?;
        Ok(pods)
    }
}
