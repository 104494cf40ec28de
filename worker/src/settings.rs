//! The flags of `runjob worker`. Each can also be given as an environment variable.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use runjob_core::{
    arn::{ActivityArn, Source},
    clusters::ClusterName,
    lease::LONGEST_DURATION,
    names::{Group, NotAGroup, is_dns_label, is_dns_subdomain},
    request::Strictness,
};

use crate::{
    starter::Admission,
    tracker::{Care, Memory},
};

/// What a worker is told.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The ARN of an activity to poll; repeat it for several.
    #[arg(
        long = "activity-arn",
        env = "RUNJOB_ACTIVITY_ARN",
        value_name = "ARN",
        value_delimiter = ',',
        required = true
    )]
    pub activities: Vec<ActivityArn>,

    /// The most Jobs of the group at a time; beyond that no task is taken.
    #[arg(long, env = "RUNJOB_MAX_IN_FLIGHT", value_name = "JOBS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_in_flight: u32,

    /// Polls held open for each activity.
    #[arg(long, env = "RUNJOB_POLLERS", value_name = "POLLS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub pollers: u16,

    /// How often each task is heartbeated. A state's `HeartbeatSeconds` should be three times as long, or more.
    #[arg(long, env = "RUNJOB_HEARTBEAT_INTERVAL", value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub heartbeat_interval: Duration,

    /// The most heartbeats a second. With more tasks than that allows, the interval grows.
    #[arg(long, env = "RUNJOB_HEARTBEAT_RATE", value_name = "RATE", default_value = "100/s", value_parser = rate)]
    pub heartbeat_rate: u32,

    /// Where `/live`, `/ready` and `/metrics` are served: `[::]` is every address, those of IPv4 too. Port 0 takes a free one; the log says
    /// which.
    #[arg(long, env = "RUNJOB_ADMIN_ADDR", value_name = "ADDRESS", default_value = "[::]:8080")]
    pub admin_addr: SocketAddr,

    /// What it is told of Jobs and of its cluster.
    #[command(flatten)]
    pub jobs: JobSettings,
}

/// What a worker and a function are told alike.
#[derive(Debug, Clone, Args)]
pub struct JobSettings {
    /// The workers that share Jobs: those of one group, in one cluster. [default: from account and region]
    #[arg(long, env = "RUNJOB_GROUP")]
    pub group: Option<Group>,

    /// A namespace to run Jobs in; repeat it for several. [default: every namespace that RBAC allows]
    #[arg(long = "namespace", env = "RUNJOB_NAMESPACE", value_name = "NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,

    /// A service account that pods may run as; repeat it for several. [default: every service account of the namespace]
    #[arg(
        long = "allow-service-account",
        env = "RUNJOB_ALLOW_SERVICE_ACCOUNT",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = service_account
    )]
    pub allow_service_accounts: Vec<String>,

    /// How long one of several workers acts for the group without renewing its Lease, before another takes over.
    #[arg(long, env = "RUNJOB_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,

    /// The namespace of the Lease that the workers of a group share. [default: the worker's own]
    #[arg(long, env = "RUNJOB_LEASE_NAMESPACE", value_name = "NAMESPACE", value_parser = namespace)]
    pub lease_namespace: Option<String>,

    /// How long a Job with an `IdempotencyKey` is kept for the next attempt once its task is gone.
    #[arg(long, env = "RUNJOB_REATTACH_GRACE", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub reattach_grace: Duration,

    /// The most pods of one Job whose logs are read.
    #[arg(long, env = "RUNJOB_MAX_LOG_PODS", value_name = "PODS", default_value_t = 100)]
    pub max_log_pods: usize,

    /// The longest that a Job may be stuck (no image, no node, no pod at all) before its task fails. [default: by what is wrong, from
    /// 15 seconds for an image's impossible name to 15 minutes for a node that is still to come]
    #[arg(long, env = "RUNJOB_STUCK_GRACE", value_name = "DURATION", value_parser = duration)]
    pub stuck_grace: Option<Duration>,

    /// A kubeconfig. [default: `KUBECONFIG`, `~/.kube/config`, or the service account of the pod]
    #[arg(long, env = "RUNJOB_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// A context of the kubeconfig. [default: its current one]
    #[arg(long, env = "RUNJOB_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,

    /// The name of this cluster. Tasks that name another one in `ClusterName` are refused. [default: any name will do]
    #[arg(long, env = "RUNJOB_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<ClusterName>,

    /// A file of several clusters, by name, each with its namespaces and limits; tasks choose by `ClusterName`. [default: one cluster]
    #[arg(
        long,
        env = "RUNJOB_CLUSTERS",
        value_name = "FILE",
        conflicts_with_all = ["kubeconfig", "context", "cluster_name", "namespaces", "allow_service_accounts"]
    )]
    pub clusters: Option<PathBuf>,

    /// One error name for all failures of Jobs. The cause still tells them apart. [default: `Job.…`, by reason]
    #[arg(long, env = "RUNJOB_JOB_FAILED_ERROR", value_name = "NAME", value_parser = error_name)]
    pub job_failed_error: Option<String>,

    /// Unknown fields of a task's input are a warning, not an error.
    #[arg(long, env = "RUNJOB_LENIENT")]
    pub lenient: bool,

    /// How log lines look. [default: text on a terminal, otherwise json]
    #[arg(long, env = "RUNJOB_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// No group was given, and there is none to be derived.
#[derive(Debug, thiserror::Error)]
pub enum NoGroup {
    /// One name cannot be derived from several.
    #[error("the activities are of several accounts or regions: name the group with --group")]
    Ambiguous,
    /// What was derived cannot be a label's value.
    #[error(transparent)]
    Unusable(#[from] NotAGroup),
}

impl Settings {
    /// The group: as given, or from account and region.
    pub fn group(&self) -> Result<Group, NoGroup> {
        self.jobs.group(self.activities.iter().map(|activity| &**activity))
    }
}

impl JobSettings {
    /// The group of whoever serves these: as given, or from account and region.
    pub fn group<'a>(&self, sources: impl IntoIterator<Item = &'a Source>) -> Result<Group, NoGroup> {
        if let Some(group) = &self.group {
            return Ok(group.clone());
        }
        let mut origins = sources.into_iter().map(|source| (source.account(), source.region()));
        let Some((account, region)) = origins.next() else { return Err(NoGroup::Ambiguous) };
        if origins.any(|other| other != (account, region)) {
            return Err(NoGroup::Ambiguous);
        }
        Ok(Group::of_account(account, region)?)
    }

    /// How Jobs are looked after.
    pub fn care(&self, memory: Memory) -> Care {
        Care {
            memory,
            max_log_pods: self.max_log_pods,
            stuck_grace: self.stuck_grace,
            reattach_grace: self.reattach_grace,
            lease_duration: self.lease_duration,
        }
    }

    /// What requests may ask for.
    pub fn admission(&self) -> Admission {
        let (namespaces, service_accounts) = (self.namespaces.clone(), self.allow_service_accounts.clone());
        Admission { namespaces, service_accounts }
    }

    /// What becomes of fields that are not known.
    pub fn strictness(&self) -> Strictness {
        if self.lenient { Strictness::Lenient } else { Strictness::Strict }
    }
}

/// A duration as flags have it: `20s`, `2m`. None of them may be zero.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "expected a duration such as 20s or 2m".to_owned())?;
    Duration::try_from(span).ok().filter(|span| !span.is_zero()).ok_or_else(|| "expected more than zero".to_owned())
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    let fits = (Duration::from_secs(1)..=LONGEST_DURATION).contains(&duration);
    if fits { Ok(duration) } else { Err("expected 1s to 1h".to_owned()) }
}

/// A rate as flags have it: `100/s`.
pub fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse().ok();
    number.filter(|rate| *rate > 0).ok_or_else(|| "expected a rate such as 100/s".to_owned())
}

fn namespace(text: &str) -> Result<String, String> {
    if is_dns_label(text) { Ok(text.to_owned()) } else { Err("expected a namespace's name: a DNS label".to_owned()) }
}

fn service_account(text: &str) -> Result<String, String> {
    let expected = || "expected a service account's name: lower-case letters, digits, '-' and '.'".to_owned();
    if is_dns_subdomain(text) { Ok(text.to_owned()) } else { Err(expected()) }
}

fn error_name(text: &str) -> Result<String, String> {
    let fits = (1..=256).contains(&text.chars().count()) && !text.starts_with("States.");
    if fits { Ok(text.to_owned()) } else { Err("expected 1 to 256 characters, not beginning with States.".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn settings(flags: &[&str]) -> Result<Settings, clap::Error> {
        let arn = "--activity-arn=arn:aws:states:eu-west-1:123456789012:activity:a";
        Line::try_parse_from(["x", arn].iter().chain(flags)).map(|line| line.settings)
    }

    #[test]
    fn the_group_comes_from_account_and_region() {
        assert_eq!(settings(&[]).unwrap().group().unwrap().as_str(), "123456789012.eu-west-1");
        assert_eq!(settings(&["--group=mine"]).unwrap().group().unwrap().as_str(), "mine");
        let two = settings(&["--activity-arn=arn:aws:states:us-east-1:123456789012:activity:a"]).unwrap();
        assert!(matches!(two.group(), Err(NoGroup::Ambiguous)));
    }

    #[test]
    fn durations_and_rates_have_units() {
        let settings = settings(&["--heartbeat-interval=1500ms", "--heartbeat-rate=7/s"]).unwrap();
        assert_eq!((settings.heartbeat_interval, settings.heartbeat_rate), (Duration::from_millis(1500), 7));
    }

    #[test]
    fn a_file_of_clusters_leaves_nothing_to_the_flags_of_one() {
        assert!(settings(&["--clusters=x", "--max-in-flight=5"]).is_ok());
        for flag in ["--kubeconfig=x", "--context=x", "--cluster-name=x", "--namespace=x", "--allow-service-account=x"]
        {
            let error = settings(&["--clusters=x", flag]).err().unwrap();
            assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict, "{flag}");
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for flag in [
            "--heartbeat-interval=0s",
            "--heartbeat-rate=0/s",
            "--reattach-grace=0s",
            "--lease-duration=999ms",
            "--pollers=0",
            "--max-in-flight=0",
            "--namespace=Bad_NS",
            "--allow-service-account=",
            "--allow-service-account=a,B",
            "--job-failed-error=States.X",
            "--cluster-name=a b",
        ] {
            assert!(settings(&[flag]).is_err(), "{flag}");
        }
    }
}
