//! The pods of a Job.

use http::Method;
use runjob_core::{job::JobView, pod::PodView};

use super::{
    Cluster, ListError,
    exchange::{Ask, escape},
};

impl Cluster {
    /// Lists the pods that the Job's selector finds and keeps those that this very Job owns: an earlier Job of the same name
    /// may have left some behind.
    pub async fn pods(&self, view: &JobView) -> Result<Vec<PodView>, ListError> {
        let (namespace, selector) = (escape(&view.key.namespace), escape(&view.selector));
        let uri = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}");
        let ask = Ask::new(format!("list the pods of the Job {}", view.key), Method::GET, uri);
        let mut pods = Vec::new();
        self.list(ask, |pod| {
            let pod = PodView::of(pod);
            if pod.owners.contains(&view.uid) {
                pods.push(pod);
            }
        })
        .await?;
        Ok(pods)
    }
}
