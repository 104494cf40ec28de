//! The pods of a Job.

use http::Method;
use runjob_core::{job::JobView, pod::PodView};

use super::{
    Cluster, ListError,
    exchange::{Ask, escape},
};

impl Cluster {
    /// Lists the pods that the Job's selector finds and gives those of this very Job to `take`: an earlier Job of the same name may have
    /// left some behind. A Job that was deleted with `propagationPolicy: Orphan` owns none any more; its pods still bear its UID. So few lists at a time, and none while the API is known to be away.
    pub async fn pods(&self, view: &JobView, mut take: impl FnMut(PodView) + Send) -> Result<(), ListError> {
        // Closed only when the worker ends.
        let _turn = self.reading.lists.acquire().await.ok();
        self.reachability().restored().await;
        let (namespace, selector) = (escape(&view.key.namespace), escape(&view.selector));
        let uri = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}");
        let ask = Ask::new(format!("list the pods of the Job {}", view.key), Method::GET, uri);
        self.list(ask, |pod: PodView| {
            if pod.is_of(&view.uid) {
                take(pod);
            }
        })
        .await
    }
}
