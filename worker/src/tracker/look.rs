//! Looking at the pods of a Job that does not get going. A healthy Job is never looked at.

use runjob_core::{
    diagnosis::stuck::{self, Symptom},
    event::EventView,
    job::JobView,
    pod::PodView,
};
use tokio::sync::Semaphore;
use tracing::debug;

use super::{
    effects::Effects,
    foremost::{Foremost, Rank},
};

/// The most Jobs that are looked at at a time: after a restart all that are pending are due at once.
const MAX_LOOKS: usize = 8;
/// The most pods of one Job that are looked at: those that may still get going, first the youngest.
const MAX_LOOKED_AT: usize = 1000;

/// What a look has shown.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    pub(super) pods: Vec<PodView>,
    /// How many there were.
    pub(super) listed: usize,
    pub(super) events: Vec<EventView>,
    pub(super) symptom: Option<Symptom>,
}

/// The most lists of one object's Events at a time: each reads all Events of its namespace.
const MAX_EVENT_LISTS: usize = 4;

/// How many Jobs are looked at at a time.
pub(super) struct Looks {
    jobs: Semaphore,
    event_lists: Semaphore,
}

impl Default for Looks {
    fn default() -> Self {
        Self { jobs: Semaphore::new(MAX_LOOKS), event_lists: Semaphore::new(MAX_EVENT_LISTS) }
    }
}

impl Effects {
    /// Lists the pods and, only where these do not say themselves what is wrong, Events. `None`: the API is away, or says no.
    pub(super) async fn look(&self, view: &JobView) -> Option<Looked> {
        // Closed only when the worker ends.
        let _permit = self.looks.jobs.acquire().await.ok();
        let mut foremost = Foremost::of(MAX_LOOKED_AT, Rank::Unfinished);
        if let Err(error) = self.cluster.pods(view, |pod| foremost.take(pod)).await {
            debug!(%error, "unable to look at the pods of a Job that does not get going");
            return None;
        }
        let (pods, listed) = foremost.finish();
        let needed = stuck::in_need_of_events(view, &pods);
        let events = self.cluster.warnings_about(&view.key.namespace, &needed).await;
        let symptom = stuck::symptom(view, &pods, &events);
        debug!(pods = listed, events = events.len(), symptom = ?symptom.as_ref().map(|it| it.diagnosis.code), "looked at the pods");
        Some(Looked { pods, listed, events, symptom })
    }

    /// The Events of these objects, as far as they can be had: for one diagnosis, which is not made again.
    pub(super) async fn events(&self, view: &JobView, uids: &[String]) -> Vec<EventView> {
        if let Some(known) = self.cluster.known_warnings_about(&view.key.namespace, uids) {
            return known;
        }
        let mut events = Vec::new();
        // Closed only when the worker ends.
        let _permit = self.looks.event_lists.acquire().await.ok();
        for uid in uids {
            match self.cluster.events_of(&view.key.namespace, uid).await {
                Ok(found) => events.extend(found.iter().map(EventView::of)),
                Err(error) => debug!(%error, "unable to list Events; the diagnosis does without them"),
            }
        }
        events
    }
}
