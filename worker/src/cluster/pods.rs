//! The pods of a Job.

use http::Method;
use runjob_core::{job::JobView, pod::PodView};
use serde_json::Value;

use super::{
    Cluster, Exchanged, Unreachable,
    exchange::{Ask, escape},
};

/// How many pods one list asks for. Most Jobs have fewer, and cost one list.
const PAGE: usize = 500;

/// The pods of a Job could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The API server would not.
    #[error("unable to list the pods")]
    Refused(Exchanged),
    /// There was no answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

impl Cluster {
    /// Lists the pods that the Job's selector finds and keeps those that this very Job owns: an earlier Job of the same name
    /// may have left some behind.
    pub async fn pods(&self, view: &JobView) -> Result<Vec<PodView>, ListError> {
        let (namespace, selector) = (escape(&view.key.namespace), escape(&view.selector));
        let first = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}&limit={PAGE}");
        let mut ask = Ask::new(format!("list the pods of the Job {}", view.key), Method::GET, first.clone());
        let mut pods = Vec::new();
        loop {
            let exchanged = self.exchange(&ask).await?;
            if !exchanged.answer.is_success() {
                return Err(ListError::Refused(exchanged));
            }
            let list = &exchanged.answer.body;
            let items = list.get("items").and_then(Value::as_array);
            pods.extend(items.into_iter().flatten().map(PodView::of).filter(|pod| pod.owners.contains(&view.uid)));
            match list.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(more) if !more.is_empty() => ask.uri = format!("{first}&continue={}", escape(more)),
                _ => return Ok(pods),
            }
        }
    }
}
