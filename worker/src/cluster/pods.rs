//! The pods of a Job.

use http::Method;
use runjob_core::{job::JobView, pod::PodView};
use serde_json::Value;

use super::{
    Cluster, Exchanged, Unreachable,
    jobs::{escape, request},
};

/// The most pods that one list asks for. Logs are read of fewer than that.
const PAGE: usize = 500;

/// The pods of a Job, as far as one page of a list goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodList {
    /// The pods.
    pub pods: Vec<PodView>,
    /// How many more there are.
    pub more: usize,
}

impl Cluster {
    /// Lists the pods that the Job's selector finds and keeps those that this very Job owns: an earlier Job of the same name
    /// may have left some behind.
    pub async fn pods(&self, view: &JobView) -> Result<Result<PodList, Exchanged>, Unreachable> {
        let (namespace, selector) = (escape(&view.key.namespace), escape(&view.selector));
        let uri = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}&limit={PAGE}");
        let operation = format!("list the pods of the Job {}", view.key);
        let exchanged = self.exchange(&operation, request(Method::GET, &uri, None)).await?;
        if !exchanged.answer.is_success() {
            return Ok(Err(exchanged));
        }
        let list = &exchanged.answer.body;
        let items = list.get("items").and_then(Value::as_array);
        let pods = items.into_iter().flatten().map(PodView::of).filter(|pod| pod.owners.contains(&view.uid)).collect();
        let more = list.pointer("/metadata/remainingItemCount").and_then(Value::as_u64).unwrap_or_default();
        Ok(Ok(PodList { pods, more: usize::try_from(more).unwrap_or(usize::MAX) }))
    }
}
