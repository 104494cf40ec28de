//! A Job that was created, and that the watch does not show. Events of a watch may be lost with its connection: a Job that is deleted,
//! or loses its label, before the next list was never there for it, and its task would be kept alive for ever.

use std::time::Duration;

use runjob_core::{job::JobView, ledger::Entry, names::Group};
use tracing::warn;

use crate::{
    cluster::{Lookup, WatchedJob},
    site::Site,
};

/// How long the watch may take before somebody looks for the Job. As a rule it takes milliseconds.
const UNSEEN: Duration = Duration::from_mins(1);

/// Looks for a Job now and then, and tells the tracker if the watch cannot show it. Never ends.
pub(super) async fn point_out(site: &Site, job: WatchedJob, group: &Group) {
    let Ok(view) = &job.view else { return std::future::pending().await };
    loop {
        tokio::time::sleep(UNSEEN).await;
        let is_missed = match site.cluster().look_up(&view.key).await {
            Lookup::Found(found, _) => !is_watched(&found, view, group),
            Lookup::Absent(_) => true,
            // While nobody knows, the watch may just be away.
            Lookup::Denied(_) | Lookup::Unavailable(_) => false,
        };
        if is_missed {
            warn!("the watch does not show the Job; the tracker looks for it");
            site.has_not_seen(job.clone()).await;
        }
    }
}

/// Whether the watch will show that object as this very Job.
fn is_watched(found: &JobView, created: &JobView, group: &Group) -> bool {
    let has_task = matches!(found.entry, Entry::Open(_));
    has_task && found.uid == created.uid && found.group.as_deref() == Some(group.as_str())
}
