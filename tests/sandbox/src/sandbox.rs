//! Both services over HTTP, and the production worker against them.

use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use runjob::{cluster::Cluster, clusters, settings::Settings, worker::Worker};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    access::{KubernetesAccess, StepFunctionsAccess},
    front::Front,
    kube::{self, Kubernetes},
    serve::{Served, serve},
    sfn::{self, StepFunctions},
};

/// The activity that native `eks:` resources are routed to, unless the configuration names another.
const NATIVE_ACTIVITY: &str = "runjob";

/// How the sandbox behaves.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Step Functions.
    pub sfn: sfn::Config,
    /// Kubernetes.
    pub kube: kube::Config,
}

/// Step Functions and Kubernetes, each behind a front and on a port of its own.
pub struct Sandbox {
    /// Step Functions.
    pub sfn: Front<StepFunctions>,
    /// Kubernetes.
    pub kube: Front<Kubernetes>,
    activity: String,
    region: String,
    sfn_served: Served,
    kube_served: Served,
}

/// A worker in this process.
pub struct RunningWorker {
    /// Where its admin endpoint is.
    pub admin_url: String,
    drain: CancellationToken,
    running: AbortOnDropHandle<anyhow::Result<()>>,
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

/// The activity of native resources: what the configuration says, or, from now on, the usual one.
pub(crate) fn native_activity(config: &mut sfn::Config) -> String {
    config.native_activity.get_or_insert_with(|| NATIVE_ACTIVITY.to_owned()).clone()
}

/// What a worker is told that serves that activity, with these flags besides.
pub(crate) fn settings(activity: &str, flags: &[&str]) -> anyhow::Result<Settings> {
    let own = ["runjob", "--activity-arn", activity, "--admin-addr", "127.0.0.1:0"];
    Ok(Flags::try_parse_from(own.iter().chain(flags))?.settings)
}

impl Sandbox {
    /// Starts both services.
    pub async fn start(mut config: Config) -> anyhow::Result<Self> {
        let activity = native_activity(&mut config.sfn);
        let region = config.sfn.region.clone();
        let sfn = Front::new(StepFunctions::new(config.sfn));
        let kube = Front::new(Kubernetes::start(config.kube));
        let activity = sfn.endpoint().create_activity(&activity).context("unable to create the activity")?;
        let (sfn_served, kube_served) = (serve(sfn.clone()).await?, serve(kube.clone()).await?);
        Ok(Self { sfn, kube, activity, region, sfn_served, kube_served })
    }

    /// The ARN of the activity that native `eks:` resources are routed to.
    pub fn activity(&self) -> &str {
        &self.activity
    }

    /// Where Step Functions is.
    pub fn sfn_url(&self) -> String {
        self.sfn_served.url()
    }

    /// Where the Kubernetes API is.
    pub fn kube_url(&self) -> String {
        self.kube_served.url()
    }

    /// A kubeconfig that leads to the Kubernetes API.
    pub fn kubeconfig(&self) -> String {
        let (server, namespace) = (self.kube_url(), "default".to_owned());
        KubernetesAccess { server, authority: None, token: None, namespace }.kubeconfig()
    }

    /// The environment in which an AWS client finds Step Functions here.
    pub fn aws_environment(&self) -> [(&'static str, String); 5] {
        self.sfn_access().environment()
    }

    fn sfn_access(&self) -> StepFunctionsAccess {
        StepFunctionsAccess { url: self.sfn_url(), region: self.region.clone(), key: "sandbox".to_owned() }
    }

    /// Starts a worker in this process, with these flags beside the ones that lead it here.
    pub async fn worker(&self, flags: &[&str]) -> anyhow::Result<RunningWorker> {
        let settings = settings(&self.activity, flags)?;
        let cluster = Cluster::of(::kube::Config::new(self.kube_url().parse()?))?;
        let clusters = clusters::of_flags(&settings.jobs, cluster);
        let worker = Worker::new(settings, self.sfn_access().sdk_config().await, clusters).await?;
        let admin_addr = worker.admin_addr().context("the worker has no admin endpoint")?;
        let admin_url = format!("http://{admin_addr}");
        let drain = CancellationToken::new();
        let running = AbortOnDropHandle::new(tokio::spawn(worker.run(drain.clone())));
        Ok(RunningWorker { admin_url, drain, running })
    }

    /// Step Functions itself.
    pub fn step_functions(&self) -> &Arc<StepFunctions> {
        self.sfn.endpoint()
    }

    /// Kubernetes itself.
    pub fn kubernetes(&self) -> &Arc<Kubernetes> {
        self.kube.endpoint()
    }
}

impl RunningWorker {
    /// Asks the worker to drain, as SIGTERM does.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Waits until the worker has ended.
    pub async fn ended(self) -> anyhow::Result<()> {
        self.running.await.context("the worker has panicked")?
    }
}
