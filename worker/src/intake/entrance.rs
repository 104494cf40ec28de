//! Which cluster a task is for, and how it gets in there.
//!
//! A poll has a permit of each cluster that has room. What it brings is for one of them, as a rule, and starts at once; the other
//! permits are given back. A task for a cluster that has no room waits for some, heartbeated. Of those there are few in each cluster:
//! one that is full lets no more be polled then, whatever they are for; for one that is away, further ones fail at once, so that the
//! others need not wait for it.

use std::{sync::Arc, time::Duration};

use futures::{
    FutureExt,
    future::{join_all, select_all},
};
use runjob_core::{failure::TaskFailure, refusal::PATIENCE};
use tokio::time::timeout;

use super::Intake;
use crate::{
    heartbeat::Hold,
    permits::{Permit, UNINVITED, Uninvited},
    site::Site,
};

/// How long the first polls wait for the first lists of all clusters. After that, those of one are enough.
const FIRST_LISTS: Duration = Duration::from_secs(30);

/// The permits of a poll, one of each cluster that has room.
pub(super) type Permits = Vec<(Arc<Site>, Permit)>;

/// With what a task comes to its cluster.
pub(super) enum Entry {
    /// With the poll's own permit.
    Invited(Permit),
    /// The poll had none of that cluster.
    Uninvited(Uninvited),
    /// Too many wait there already.
    TurnedAway,
}

/// What came of a task before it has a permit.
pub(super) enum Waited {
    /// It has one.
    Admitted(Permit),
    /// It will not get one in time.
    Failed(TaskFailure),
    /// Nobody waits for it any more.
    NobodyWaits,
}

impl Intake {
    /// Waits until it is known how many Jobs there are: in one cluster at least, and in all of them unless one is away.
    pub(super) async fn listed(&self) {
        let sites: Vec<_> = self.sites.all().collect();
        if let [only] = sites.as_slice() {
            return only.pulse.listed().await;
        }
        // The permits of a cluster come only after its lists.
        let _all = timeout(FIRST_LISTS, join_all(sites.iter().map(|site| site.pulse.listed()))).await;
    }

    /// Waits for the permits of a poll.
    pub(super) async fn permits(&self) -> Permits {
        for site in self.sites.all() {
            site.passable().await;
        }
        let permit = |site: &Arc<Site>| {
            let site = site.clone();
            Box::pin(async move {
                let permit = site.room().await;
                (site, permit)
            })
        };
        let (first, _, others) = select_all(self.sites.all().map(permit)).await;
        let mut permits = vec![first];
        permits.extend(others.into_iter().filter_map(FutureExt::now_or_never));
        permits
    }

    /// Waits until a task may be started in its cluster.
    pub(super) async fn enter(&self, site: &Site, entry: Entry, hold: &Hold) -> Waited {
        let uninvited = match entry {
            Entry::Invited(permit) => return Waited::Admitted(permit),
            Entry::TurnedAway => {
                let wait = format!("{UNINVITED} tasks wait for it already");
                return Waited::Failed(site.unreachable(&wait));
            }
            Entry::Uninvited(uninvited) => uninvited,
        };
        // On a drain, it is started now or never. The next worker counts it.
        let admitted = async {
            let listed = self.drain.run_until_cancelled(timeout(PATIENCE, site.pulse.listed())).await;
            match listed {
                Some(Err(_)) => Waited::Failed(site.unreachable("its Jobs could not be listed for 15 minutes")),
                Some(Ok(())) | None => Waited::Admitted(uninvited.admitted(self.drain.cancelled()).await),
            }
        };
        tokio::select! {
            biased;
            () = hold.gone() => Waited::NobodyWaits,
            admitted = admitted => admitted,
        }
    }
}

/// With what a task comes to that cluster, of the permits that its poll has.
pub(super) fn entry(site: &Arc<Site>, permits: Permits) -> Entry {
    match permits.into_iter().find(|(other, _)| Arc::ptr_eq(site, other)) {
        Some((_, mut permit)) => {
            permit.use_up();
            Entry::Invited(permit)
        }
        None if site.is_away() && site.permits.is_crowded() => Entry::TurnedAway,
        None => Entry::Uninvited(site.permits.uninvited()),
    }
}
