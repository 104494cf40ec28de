//! Where a scenario is played: a namespace, an activity, and a worker of its own, on any backend.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use runjob_sandbox::{
    access::{KubernetesAccess, StepFunctionsAccess},
    front::Front,
    kube::{Config as KubeConfig, Kubernetes},
    serve::{Served, serve},
    sfn::{self, StepFunctions},
};
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::{
    api::Api,
    backend::Backend,
    deployment::{Code, Deployment},
    execution::role_of,
    line::Line,
    load,
    patience::eventually,
    play::Run,
    policy::Policy,
    process::{File, Signal, Surroundings},
    rights,
    scenario::{Clusters, Home, Rights, Scenario},
    workers::Workers,
};

/// The path of Leases in a namespace.
const LEASES: &str = "coordination.k8s.io/v1/leases";
/// The activity that native `eks:` resources lead to on the sandbox.
const ACTIVITY: &str = "runjob";

/// A stage that is set.
pub(crate) struct Stage {
    pub(crate) backend: Backend,
    /// How long anything is waited for.
    pub(crate) patience: Duration,
    /// What it is called, unlike any other.
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) activity: String,
    pub(crate) kube: Api,
    pub(crate) step_functions: aws_sdk_sfn::Client,
    pub(crate) line: Line,
    /// A directory of this machine that its containers may see.
    pub(crate) scratch: PathBuf,
    /// Tokens that were seen on Jobs: a secret of the worker's.
    pub(crate) tokens: BTreeSet<String>,
    /// Invocations of the function that were seen on Jobs.
    pub(crate) invocations: BTreeSet<String>,
    pub(crate) workers: Workers,
    function: Option<Deployment>,
    /// The objects of the whole cluster that are there for this scenario, by path.
    clusterwide: Vec<String>,
    sandbox: Services,
}

/// What of the sandbox is on stage. Dropped, it is gone.
#[derive(Default)]
struct Services {
    step_functions: Option<(Front<StepFunctions>, Served)>,
    kubernetes: Option<(Front<Kubernetes>, Served)>,
}

/// How to get to a Kubernetes API.
struct Access {
    config: kube::Config,
    /// The file with its certificate authority, if it has one.
    authority: Option<String>,
}

impl Stage {
    /// Sets the stage for a scenario. `number` tells the scenarios of a run apart.
    pub(crate) async fn set(scenario: &Scenario, run: &Run, number: usize) -> anyhow::Result<Self> {
        let Run { backend, patience, worker, function } = run.clone();
        let mut services = Services::default();
        let access = services.kubernetes(backend).await?;
        let (environment, step_functions) = services.step_functions(backend, number).await?;
        let id = format!("scenario-{}-{number}", std::process::id());
        let scratch = std::env::temp_dir().join(&id);
        std::fs::create_dir_all(&scratch).context("unable to make a directory")?;
        let namespace = if scenario.home == Home::Default { "default".to_owned() } else { id.clone() };
        let kube = Api::new(kube::Client::try_from(access.config.clone())?, &namespace);
        match scenario.home {
            Home::Own => {
                let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
                kube.create_at("/api/v1/namespaces", &object).await?;
            }
            // An earlier run may have been interrupted.
            Home::Default => {
                eventually(patience, "the namespace is empty", async || Ok((empty(&kube).await? == 0).then_some(())))
                    .await?;
            }
        }
        let token = match backend {
            Backend::Sandbox => None,
            Backend::Cluster | Backend::LocalStack => {
                // Without that account there are no pods.
                eventually(patience, "the namespace has its account", async || {
                    Ok(kube.list("serviceaccounts").await?.pop())
                })
                .await?;
                Some(rights::account(&kube, &namespace, &id, scenario.rights).await?)
            }
        };
        let activity = match backend {
            Backend::LocalStack => id.as_str(),
            Backend::Sandbox | Backend::Cluster => ACTIVITY,
        };
        let activity = step_functions.create_activity().name(activity).send().await;
        let activity = activity.context("unable to create the activity")?.activity_arn;
        let url = &access.config.cluster_url;
        let target = format!("{}:{}", url.host().unwrap_or_default(), url.port_u16().context("a URL without a port")?);
        let line = Line::to(target).await?;
        let server = format!("{}://{}", url.scheme_str().unwrap_or("http"), line.address());
        let own = KubernetesAccess { server, authority: access.authority, token, namespace: namespace.clone() };
        let function = match scenario.function {
            None => None,
            Some(timeout) => {
                let kubeconfig = kubeconfigs(&scratch).join("of-function");
                std::fs::create_dir_all(kubeconfigs(&scratch)).context("unable to make a directory")?;
                std::fs::write(&kubeconfig, own.kubeconfig()).context("unable to write a kubeconfig")?;
                let settings = vec![
                    ("RUNJOB_GROUP", id.clone()),
                    ("RUNJOB_NAMESPACE", namespace.clone()),
                    ("RUNJOB_KUBECONFIG", kubeconfig.to_string_lossy().into_owned()),
                    ("RUNJOB_LOG", "debug".to_owned()),
                ];
                let code = Code { program: &function, name: &id, timeout, settings };
                Some(services.function(code, &environment, kubeconfigs(&scratch).join("code"), patience).await?)
            }
        };
        let (kubernetes, scope) = match scenario.clusters {
            Clusters::OwnAndGone => (File::Clusters(own_and_gone(own, &kubeconfigs(&scratch))?), vec![]),
            Clusters::One if scenario.rights == Rights::Everywhere => (File::Kubeconfig(own.kubeconfig()), vec![]),
            Clusters::One => (File::Kubeconfig(own.kubeconfig()), vec!["--namespace", namespace.as_str()]),
        };
        let surroundings = Surroundings { activity: activity.clone(), kubernetes, environment };
        let own = ["--group", &id, "--heartbeat-interval", scenario.heartbeat_interval, "--pollers", "4"];
        let flags = scope.into_iter().chain(own).chain(scenario.flags.iter().copied()).map(str::to_owned).collect();
        Ok(Self {
            backend,
            patience,
            id,
            namespace,
            activity,
            kube,
            step_functions,
            line,
            scratch,
            tokens: BTreeSet::new(),
            invocations: BTreeSet::new(),
            workers: Workers::new(worker, surroundings, flags),
            function,
            clusterwide: Vec::new(),
            sandbox: services,
        })
    }

    /// A machine as this Step Functions takes it. `LocalStack` runs no `eks:` integrations: there, and only there, such a
    /// `Resource` becomes the activity. The sandbox leads them to it by itself.
    pub(crate) fn native_resources_on(&self, definition: &str) -> String {
        if self.backend != Backend::LocalStack {
            return definition.to_owned();
        }
        let natives = ["runJob.sync", "runJob", "call"].map(|name| format!("\"arn:aws:states:::eks:{name}\""));
        let activity = json!(self.activity).to_string();
        natives.iter().fold(definition.to_owned(), |definition, native| definition.replace(native, &activity))
    }

    /// A role of the stage's account.
    pub(crate) fn role(&self) -> String {
        role_of(self.activity.split(':').nth(4).unwrap_or_default())
    }

    /// Puts an admission policy into force for the scenario's namespace.
    pub(crate) async fn enact(&mut self, policy: Policy) -> anyhow::Result<()> {
        self.clusterwide = policy.enact(&self.kube, &self.namespace, self.patience).await?;
        Ok(())
    }

    /// Who holds the workers' Lease, if somebody does.
    pub(crate) async fn holder(&self) -> anyhow::Result<Option<String>> {
        let leases = self.kube.list(LEASES).await?;
        let mut holders = leases.iter().filter_map(|lease| lease.pointer("/spec/holderIdentity")?.as_str());
        Ok(holders.find(|holder| !holder.is_empty()).map(ToOwned::to_owned))
    }

    /// Sends a signal to the worker that holds the Lease, as soon as one does.
    pub(crate) async fn signal_holder(&mut self, signal: Signal) -> anyhow::Result<()> {
        let holder = eventually(self.patience, "a worker holds the Lease", async || self.holder().await).await?;
        self.workers.signal_holder(&holder, signal).await
    }

    /// Writes the Lease as somebody who is no worker, as soon as a worker holds it.
    pub(crate) async fn steal_lease(&mut self) -> anyhow::Result<()> {
        eventually(self.patience, "a worker holds the Lease", async || self.holder().await).await?;
        let thief = "nobody";
        let spec = json!({"holderIdentity": thief, "leaseDurationSeconds": i32::MAX, "leaseTransitions": i32::MAX});
        for lease in self.kube.list(LEASES).await? {
            let name = lease.pointer("/metadata/name").and_then(Value::as_str).context("a Lease has no name")?;
            self.kube.merge(LEASES, name, &json!({"spec": spec})).await?;
        }
        self.workers.lost_lease_to(thief);
        Ok(())
    }

    /// What the sandbox's Step Functions, if it is on stage, found wrong with the worker's answers.
    pub(crate) fn violations(&self) -> Vec<String> {
        let services = &self.sandbox.step_functions;
        services.as_ref().map(|(front, _)| front.endpoint().invariant_violations()).unwrap_or_default()
    }

    /// The Jobs of the namespace.
    pub(crate) async fn jobs(&mut self) -> anyhow::Result<Vec<Value>> {
        let jobs = self.kube.list("batch/v1/jobs").await?;
        let noted = |name: &str| {
            let annotation = |job: &Value| Some(job.pointer("/metadata/annotations")?.get(name)?.as_str()?.to_owned());
            jobs.iter().filter_map(annotation).collect::<Vec<_>>()
        };
        self.tokens.extend(noted("runjob/task-token"));
        self.invocations.extend(noted("runjob/invocation"));
        Ok(jobs)
    }

    /// The requests of this stage's workers so far, by kind.
    pub(crate) fn requests(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        if let Some((front, _)) = &self.sandbox.kubernetes {
            return Ok(front.recorder().counts());
        }
        let log = cluster_directory().join("audit.log");
        let log = std::fs::read_to_string(&log).with_context(|| format!("unable to read {}", log.display()))?;
        Ok(load::of_audit_log(&log, &self.namespace))
    }

    /// The function.
    pub(crate) fn function(&self) -> anyhow::Result<&Deployment> {
        self.function.as_ref().context("there is no function")
    }

    /// What workers and function have logged so far.
    pub(crate) async fn log(&self) -> String {
        let function = match &self.function {
            Some(function) => function.log().await.unwrap_or_else(|error| format!("{error:#}\n")),
            None => String::new(),
        };
        format!("{function}{}", self.workers.log())
    }

    /// Ends the workers and gives back what the scenario has taken.
    pub(crate) async fn clear(&mut self) -> anyhow::Result<()> {
        self.workers.kill().await?;
        if let Some(function) = &self.function {
            function.remove().await?;
        }
        std::fs::remove_dir_all(&self.scratch).context("unable to remove a directory")?;
        // Most have none.
        let _ = std::fs::remove_dir_all(kubeconfigs(&self.scratch));
        if self.backend == Backend::Sandbox {
            return Ok(());
        }
        for path in &self.clusterwide {
            self.kube.delete_at(path).await?;
        }
        rights::withdraw(&self.kube, &self.id).await?;
        if self.namespace == "default" {
            return empty(&self.kube).await.map(drop);
        }
        // Nobody waits for the end of that.
        self.kube.delete_at(&format!("/api/v1/namespaces/{}", self.namespace)).await
    }
}

/// Deletes Jobs, pods and Leases, and says how many there were.
async fn empty(kube: &Api) -> anyhow::Result<usize> {
    let mut found = 0;
    for resource in ["batch/v1/jobs", "pods", LEASES] {
        for object in kube.list(resource).await? {
            found += 1;
            let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            // It may be on its way out already.
            let _ = kube.delete(resource, name).await;
        }
    }
    Ok(found)
}

/// Where kubeconfigs are that a file of clusters refers to: beside the directory that containers may see.
fn kubeconfigs(scratch: &Path) -> PathBuf {
    scratch.with_extension("kubeconfigs")
}

/// A file of two clusters: the backend's, and one that nobody has ever reached.
fn own_and_gone(own: KubernetesAccess, directory: &Path) -> anyhow::Result<String> {
    let gone = KubernetesAccess { server: "https://127.0.0.1:1".to_owned(), ..own.clone() };
    let namespaces = json!([own.namespace]);
    std::fs::create_dir_all(directory).context("unable to make a directory")?;
    let clusters = [("own", own), ("gone", gone)].map(|(name, access)| -> anyhow::Result<_> {
        let file = directory.join(name);
        std::fs::write(&file, access.kubeconfig()).context("unable to write a kubeconfig")?;
        Ok((name.to_owned(), json!({"kubeconfig": file, "namespaces": namespaces})))
    });
    let clusters: Map<String, Value> = clusters.into_iter().collect::<anyhow::Result<_>>()?;
    Ok(Value::from(clusters).to_string())
}

impl Services {
    /// Deploys the function. `directory`: where its code may be, on `LocalStack`.
    async fn function(
        &self,
        mut code: Code<'_>,
        environment: &[(&'static str, String)],
        directory: PathBuf,
        patience: Duration,
    ) -> anyhow::Result<Deployment> {
        if let Some((front, _)) = &self.step_functions {
            return Ok(Deployment::on_sandbox(&code, front.endpoint(), environment));
        }
        let of = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        let url = of("AWS_ENDPOINT_URL").context("LocalStack has no URL")?;
        // What LocalStack itself tells functions is a name that needs a name server.
        code.settings.push(("AWS_ENDPOINT_URL_SFN", url.clone()));
        let account = of("AWS_ACCESS_KEY_ID").context("LocalStack has no account")?;
        Deployment::on_localstack(&code, &url, &account, directory, patience).await
    }

    async fn kubernetes(&mut self, backend: Backend) -> anyhow::Result<Access> {
        if backend == Backend::Sandbox {
            // A kubelet takes a moment from a container's end to the word of it.
            let config = KubeConfig { phase_lag: Duration::from_secs(1), ..KubeConfig::quick() };
            let front = Front::new(Kubernetes::start(config));
            let served = serve(front.clone()).await?;
            let config = kube::Config::new(served.url().parse()?);
            self.kubernetes = Some((front, served));
            return Ok(Access { config, authority: None });
        }
        let path = cluster_directory().join("admin.kubeconfig");
        let known = kube::config::Kubeconfig::read_from(&path).with_context(|| {
            format!("unable to read {}: is the cluster up? (tests/cluster/cluster up)", path.display())
        })?;
        let cluster = known.clusters.first().and_then(|named| named.cluster.clone());
        let authority = cluster.and_then(|cluster| cluster.certificate_authority);
        let config = kube::Config::from_custom_kubeconfig(known, &kube::config::KubeConfigOptions::default()).await?;
        Ok(Access { config, authority })
    }

    async fn step_functions(
        &mut self,
        backend: Backend,
        number: usize,
    ) -> anyhow::Result<(Vec<(&'static str, String)>, aws_sdk_sfn::Client)> {
        let url = if backend == Backend::LocalStack {
            std::env::var("RUNJOB_LOCALSTACK_URL").unwrap_or_else(|_| "http://127.0.0.1:26010".to_owned())
        } else {
            let config = sfn::Config { native_activity: Some(ACTIVITY.to_owned()), ..sfn::Config::default() };
            let front = Front::new(StepFunctions::new(config));
            let served = serve(front.clone()).await?;
            let url = served.url();
            self.step_functions = Some((front, served));
            url
        };
        // To LocalStack, twelve digits are an account. Each scenario has its own: while an execution starts, LocalStack fails the
        // polls and heartbeats of its whole account, and loses the tasks that it was about to hand out.
        let access =
            StepFunctionsAccess { url, region: sfn::Config::default().region, key: format!("{:012}", number + 1) };
        let mut environment = Vec::from(access.environment());
        // All that it ever says: no token may be in it.
        environment.push(("RUNJOB_LOG", "debug".to_owned()));
        Ok((environment, aws_sdk_sfn::Client::new(&access.sdk_config().await)))
    }
}

/// Runs `tests/cluster/cluster` with these words.
pub(crate) async fn cluster(words: &[&str]) -> anyhow::Result<()> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../cluster/cluster");
    let output = Command::new(script).args(words).output().await.context("unable to run tests/cluster/cluster")?;
    if !output.status.success() {
        bail!("cluster {} failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn cluster_directory() -> PathBuf {
    std::env::var_os("RUNJOB_CLUSTER_DIR").map_or_else(|| PathBuf::from("/var/tmp/runjob-cluster"), PathBuf::from)
}
