//! The SDK's clients and their time-outs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_config::{Region, SdkConfig, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig};
use aws_sdk_sfn::{Client, config::timeout::TimeoutConfig};
use runjob_core::arn::{ActivityArn, Source};

use crate::aws_credentials;

/// `GetActivityTask` is held for up to 60 s; the documentation asks for a client time-out of at least 65 s.
pub(crate) const POLL_ATTEMPT: Duration = Duration::from_secs(75);
/// Everything else answers at once.
const CONTROL_ATTEMPT: Duration = Duration::from_secs(10);

/// The clients for the activities that this worker serves.
#[derive(Debug, Clone)]
pub struct Clients {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    activities: Vec<ActivityArn>,
    /// The accounts, with their regions, whose tokens are ours to use.
    accounts: BTreeSet<(String, String)>,
    regions: BTreeMap<String, Pair>,
}

#[derive(Debug)]
struct Pair {
    poll: Client,
    control: Client,
    proven: AtomicBool,
    polls_fail: AtomicBool,
}

/// Whether trouble has just begun or was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The call before went well.
    New,
    /// It did not.
    Known,
}

/// A token's activity is none of this worker's account and regions: it must not be touched.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0} belongs to an account or region that this worker does not serve")]
pub struct NoClient(Source);

impl Clients {
    /// Clients for the regions of `activities`, with credentials and endpoint from `config`.
    pub fn new(config: &SdkConfig, activities: &[ActivityArn]) -> Self {
        Self::of(config, activities.to_vec(), activities.iter().map(|activity| &**activity))
    }

    /// Clients for what polls nothing: a function, whose tokens come with its invocations.
    pub fn for_function(config: &SdkConfig, function: &Source) -> Self {
        Self::of(config, Vec::new(), [function])
    }

    fn of<'a>(config: &SdkConfig, activities: Vec<ActivityArn>, sources: impl IntoIterator<Item = &'a Source>) -> Self {
        let (mut accounts, mut regions) = (BTreeSet::new(), BTreeMap::new());
        for source in sources {
            accounts.insert((source.account().to_owned(), source.region().to_owned()));
            regions.entry(source.region().to_owned()).or_insert_with(|| Pair::new(config, source.region()));
        }
        Self { inner: Arc::new(Inner { activities, accounts, regions }) }
    }

    /// The regions whose tokens are ours to use.
    pub fn regions(&self) -> impl Iterator<Item = &str> {
        self.inner.regions.keys().map(String::as_str)
    }

    /// The activities that this worker polls.
    pub fn activities(&self) -> &[ActivityArn] {
        &self.inner.activities
    }

    pub(super) fn poll(&self, activity: &ActivityArn) -> Result<&Client, NoClient> {
        self.pair(activity).map(|pair| &pair.poll)
    }

    pub(super) fn control(&self, source: &Source) -> Result<&Client, NoClient> {
        self.pair(source).map(|pair| &pair.control)
    }

    /// Whether a token of that activity is this worker's to use.
    pub fn serve(&self, source: &Source) -> bool {
        self.pair(source).is_ok()
    }

    /// The service behind that activity's region has taken a token for its own: with a heartbeat, or an answer. A poll proves
    /// nothing: elsewhere there may be an activity of the same name.
    pub(super) fn prove(&self, source: &Source) {
        if let Ok(pair) = self.pair(source) {
            pair.proven.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it ever has. If not, an invalid token says more about this process than about the task: it may have been led to a
    /// wrong account, region or endpoint.
    pub fn is_proven(&self, source: &Source) -> bool {
        self.pair(source).is_ok_and(|pair| pair.proven.load(Ordering::Relaxed))
    }

    /// A poll was taken.
    pub(super) fn poll_went_well(&self, activity: &ActivityArn) {
        if let Ok(pair) = self.pair(activity) {
            pair.polls_fail.store(false, Ordering::Relaxed);
        }
    }

    /// A poll went wrong.
    pub fn poll_failed(&self, activity: &ActivityArn) -> Trouble {
        let known = self.pair(activity).is_ok_and(|pair| pair.polls_fail.swap(true, Ordering::Relaxed));
        if known { Trouble::Known } else { Trouble::New }
    }

    /// The regions in which the latest poll went wrong.
    pub fn polls_fail(&self) -> Vec<&str> {
        let failing = self.inner.regions.iter().filter(|(_, pair)| pair.polls_fail.load(Ordering::Relaxed));
        failing.map(|(region, _)| region.as_str()).collect()
    }

    fn pair(&self, source: &Source) -> Result<&Pair, NoClient> {
        let place = self.inner.accounts.contains(&(source.account().to_owned(), source.region().to_owned()));
        let known = place.then(|| self.inner.regions.get(source.region())).flatten();
        known.ok_or_else(|| NoClient(source.clone()))
    }
}

impl Pair {
    fn new(config: &SdkConfig, region: &str) -> Self {
        // Keys in a file have no end, and the SDK would keep them for a quarter of an hour.
        let provider = config.credentials_provider().map(aws_credentials::for_a_while);
        let build = |attempt: Duration, protection: StalledStreamProtectionConfig| {
            let mut builder = aws_sdk_sfn::config::Builder::from(config);
            builder.set_credentials_provider(provider.clone());
            let config = builder
                .region(Region::new(region.to_owned()))
                .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(attempt).build())
                // One policy for retries, this project's own: a poll that is repeated inside the SDK would outlive a drain.
                .retry_config(RetryConfig::disabled())
                .stalled_stream_protection(protection)
                .build();
            Client::from_conf(config)
        };
        Self {
            // While an answer is awaited for a minute, the protection wakes up every few milliseconds.
            poll: build(POLL_ATTEMPT, StalledStreamProtectionConfig::disabled()),
            control: build(CONTROL_ATTEMPT, StalledStreamProtectionConfig::enabled().build()),
            proven: AtomicBool::new(false),
            polls_fail: AtomicBool::new(false),
        }
    }
}
