//! What the tests stand on: the cluster and its roles as they were brought up, and a Step Functions of each test's own.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Method, Request};
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use runjob_sandbox::{
    lambda::{Bootstrap, Deployed},
    sfn::{Execution, StepFunctions},
};
use runjob_scenarios::{
    article,
    machines::Machines,
    process::{File, Surroundings, WorkerProcess},
};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard},
    time::timeout,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(5);
/// What a function has, if nothing else is said: more than what takes 90 seconds, twice.
const TIME: Duration = Duration::from_mins(4);
/// So long the API server remembers whose a token is, and a moment.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(11);
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const PODS: &str = "/api/v1/namespaces/default/pods";
/// The name of the article's Job.
const OF_THE_ARTICLE: &str = "my-eks-job";

/// What takes STS away holds it to write, all others to read.
pub(crate) static STS: RwLock<()> = RwLock::const_new(());
/// The article's Job has one name for all who run it.
static ARTICLE: Mutex<()> = Mutex::const_new(());

/// AWS credentials.
pub(crate) struct Credentials(Vec<(&'static str, String)>);

/// What keeps others from the article's Job, and STS where it is.
pub(crate) struct Held {
    _article: MutexGuard<'static, ()>,
    _sts: RwLockReadGuard<'static, ()>,
}

/// A test's own.
pub(crate) struct Bed {
    /// Its group, and what its Jobs' names begin with.
    pub(crate) id: String,
    /// What `eks up` says.
    known: BTreeMap<String, String>,
    machines: Machines,
    kube: Client,
}

impl Bed {
    /// Finds what was brought up.
    pub(crate) async fn new() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let id = format!("eks-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let file = directory("RUNJOB_EKS_DIR", "/var/tmp/runjob-eks").join("env");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("tests/cluster/eks up: {error}"));
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let known: BTreeMap<_, _> = lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let here = Ipv4Addr::LOCALHOST.into();
        let machines = Machines::serve(here, &known["AWS_REGION"], "runjob").await.unwrap();
        let admin = directory("RUNJOB_CLUSTER_DIR", "/var/tmp/runjob-cluster").join("admin.kubeconfig");
        let admin = Kubeconfig::read_from(admin).unwrap();
        let admin = kube::Config::from_custom_kubeconfig(admin, &KubeConfigOptions::default()).await.unwrap();
        Self { id, known, machines, kube: Client::try_from(admin).unwrap() }
    }

    /// The same for the article's workflow, for which there is room as long as the first is held.
    pub(crate) async fn for_the_article() -> (Held, Self) {
        // Whoever waits for its turn keeps nobody from taking STS away.
        let article = ARTICLE.lock().await;
        let held = Held { _sts: STS.read().await, _article: article };
        let bed = Self::new().await;
        bed.clear_the_article().await;
        (held, bed)
    }

    /// The credentials of a role.
    pub(crate) fn role(&self, name: &str) -> Credentials {
        let of = |part: &str| self.known[&format!("RUNJOB_EKS_{name}_{part}")].clone();
        Credentials(vec![
            ("AWS_ACCESS_KEY_ID", of("ACCESS_KEY_ID")),
            ("AWS_SECRET_ACCESS_KEY", of("SECRET_ACCESS_KEY")),
            ("AWS_SESSION_TOKEN", of("SESSION_TOKEN")),
        ])
    }

    /// Credentials of this test's own, whose role it may change.
    pub(crate) async fn own_role(&self, role: &str) -> Credentials {
        let (key, secret) = (format!("AKIA{}", self.id.replace('-', "").to_uppercase()), "of-nobody-else");
        self.control(&format!("credentials?access_key_id={key}&secret_access_key={secret}&role={role}")).await;
        Credentials(vec![("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret.to_owned())])
    }

    /// Asks the stand-in for AWS for something.
    pub(crate) async fn control(&self, what: &str) {
        self.of_aws(Method::POST, &format!("/{what}")).await;
    }

    /// How often STS was asked in vain so far.
    async fn refusals(&self) -> u64 {
        let state: Value = serde_json::from_str(&self.of_aws(Method::GET, "").await).unwrap();
        state["sts"]["refused"].as_u64().unwrap()
    }

    async fn of_aws(&self, method: Method, what: &str) -> String {
        let url = &self.known["RUNJOB_EKS_CONTROL"];
        let (base, path) = url.split_at(url.rfind('/').unwrap());
        let client = Client::try_from(kube::Config::new(base.parse().unwrap())).unwrap();
        let request = Request::builder().method(method).uri(format!("{path}{what}")).body(Vec::new()).unwrap();
        client.request_text(request).await.unwrap()
    }

    fn environment(&self, credentials: &Credentials) -> Vec<(&'static str, String)> {
        let mut environment = BTreeMap::from(self.machines.access().environment());
        for endpoint in ["AWS_ENDPOINT_URL_EKS", "AWS_ENDPOINT_URL_STS"] {
            environment.insert(endpoint, self.known[endpoint].clone());
        }
        // All that it ever says: no secret may be in it.
        environment.insert("RUNJOB_LOG", "debug".to_owned());
        environment.extend(credentials.0.iter().cloned());
        environment.into_iter().collect()
    }

    /// What a file says of the cluster: this, beside its region.
    fn clusters(&self, eks: &Value) -> String {
        let mut eks = eks.clone();
        eks["region"] = json!(self.known["AWS_REGION"]);
        json!({self.cluster(): {"eks": eks, "namespaces": ["default"]}}).to_string()
    }

    /// Where such a file would be.
    fn file(&self) -> PathBuf {
        std::env::temp_dir().join(format!("{}-clusters.json", self.id))
    }

    /// Where the cluster is, and who vouches for it.
    fn place(&self) -> [&str; 2] {
        ["ENDPOINT", "CA"].map(|part| self.known[&format!("RUNJOB_EKS_CLUSTER_{part}")].as_str())
    }

    /// What says where the cluster is without asking EKS.
    pub(crate) fn location(&self) -> Value {
        let [endpoint, ca] = self.place();
        json!({"endpoint": endpoint, "certificateAuthority": ca})
    }

    /// The same with the authority of another cluster.
    pub(crate) fn location_of_another_authority(&self) -> Value {
        let mut location = self.location();
        location["certificateAuthority"] = elsewhere()["ca"].clone();
        location
    }

    /// What says that a role is to be assumed.
    pub(crate) fn assuming(&self, role: &str) -> Value {
        json!({"role": self.known[&format!("RUNJOB_EKS_{role}_ROLE_ARN")]})
    }

    /// A worker of the test's group, which is told of the cluster by its name alone.
    pub(crate) fn worker(&self, credentials: &Credentials) -> WorkerProcess {
        self.worker_with(credentials, &json!({}))
    }

    /// The same, which is told this of the cluster besides.
    pub(crate) fn worker_with(&self, credentials: &Credentials, eks: &Value) -> WorkerProcess {
        let surroundings = Surroundings {
            activity: self.machines.activity().to_owned(),
            kubernetes: File::Clusters(self.clusters(eks)),
            environment: self.environment(credentials),
        };
        let flags = ["--group", &self.id, "--heartbeat-interval", "1s", "--pollers", "4"];
        WorkerProcess::start(env!("CARGO_BIN_EXE_runjob-under-test"), &surroundings, &flags).unwrap()
    }

    /// Waits until a worker polls: it knows the Jobs of the cluster then.
    pub(crate) async fn polled(&self, worker: &WorkerProcess) {
        let polled = async {
            while self.service().waiting_polls(self.machines.activity()) == 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, polled).await.unwrap_or_else(|_| panic!("it does not poll:\n{}", worker.log()));
    }

    /// A function that is told of no cluster.
    pub(crate) fn function(&self, credentials: &Credentials) -> Deployed {
        self.function_with(credentials, &[])
    }

    /// The same with these settings.
    pub(crate) fn function_with(&self, credentials: &Credentials, settings: &[(&'static str, &str)]) -> Deployed {
        self.function_within(TIME, credentials, settings)
    }

    fn function_within(
        &self,
        time: Duration,
        credentials: &Credentials,
        settings: &[(&'static str, &str)],
    ) -> Deployed {
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let bootstrap = Bootstrap::at(env!("CARGO_BIN_EXE_function-under-test"))
            .envs(self.environment(credentials))
            .env("RUNJOB_GROUP", &self.id)
            .envs(settings)
            .timeout(time);
        self.service().lambda().deploy("runjob", bootstrap)
    }

    /// A function with a file that says this of the cluster.
    pub(crate) fn function_of_file(&self, credentials: &Credentials, eks: &Value) -> Deployed {
        self.function_of_file_within(TIME, credentials, eks)
    }

    /// The same with so much time for an invocation.
    pub(crate) fn function_of_file_within(&self, time: Duration, credentials: &Credentials, eks: &Value) -> Deployed {
        std::fs::write(self.file(), self.clusters(eks)).unwrap();
        self.function_within(time, credentials, &[("RUNJOB_CLUSTERS", self.file().to_str().unwrap())])
    }

    /// Lets the function sweep again and again, as a schedule does, until the execution has ended.
    pub(crate) async fn swept(&self, execution: &str) -> Value {
        let sweeps = async {
            loop {
                let swept = self.service().lambda().invoke("runjob", &json!({"Action": "sweep"})).await;
                swept.unwrap_or_else(|error| panic!("{error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            output = self.output(execution) => output,
            () = sweeps => Value::Null,
        }
    }

    pub(crate) fn service(&self) -> &Arc<StepFunctions> {
        self.machines.service()
    }

    /// The name that EKS has for the cluster.
    pub(crate) fn cluster(&self) -> &str {
        &self.known["RUNJOB_EKS_CLUSTER"]
    }

    /// The name of a Job of this test.
    pub(crate) fn job_name(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }

    /// Starts a machine.
    pub(crate) fn start(&self, definition: &str, input: &Value) -> String {
        self.machines.start(definition, &input.to_string()).unwrap()
    }

    /// Starts a machine with one state of these fields.
    pub(crate) fn start_state(&self, state: &Value) -> String {
        self.machines.start_state(state).unwrap()
    }

    /// The output of an execution that has to succeed.
    pub(crate) async fn output(&self, execution: &str) -> Value {
        self.machines.output(execution).await.unwrap()
    }

    /// The error and the cause of an execution that has to fail.
    pub(crate) async fn failure(&self, execution: &str) -> (String, Value) {
        self.machines.failure(execution).await.unwrap()
    }

    /// The article's input, for this cluster: what it says of the way there is so.
    pub(crate) fn input(&self) -> Value {
        let [endpoint, ca] = self.place();
        json!({"cluster": {"name": self.cluster(), "ca": ca, "endpoint": endpoint}})
    }

    /// Makes room for the article's Job, and removes what it has left.
    async fn clear_the_article(&self) {
        self.delete(&format!("{JOBS}/{OF_THE_ARTICLE}")).await;
        self.ask(Method::DELETE, &format!("{PODS}?labelSelector=job-name%3D{OF_THE_ARTICLE}")).await.unwrap();
    }

    /// Removes all that the article's workflow has made.
    pub(crate) async fn clear_with_the_article(&self) {
        self.clear_the_article().await;
        self.clear().await;
    }

    /// Takes STS away for a minute. `start` starts an execution of such a Job: some of them end before it, within, and after it, and others
    /// begin within. Gives how they ended.
    pub(crate) async fn outage(&self, start: impl Fn(&str, &str) -> String) -> Vec<Execution> {
        let lasting =
            [5, 20, 40, 70].map(|seconds| (format!("for-{seconds}"), format!("sleep {seconds}; echo finished")));
        let mut executions: Vec<String> = lasting.iter().map(|(name, script)| start(name, script)).collect();
        for (name, _) in &lasting {
            self.runs(&self.job_name(name)).await;
        }
        let refused = self.refusals().await;
        self.control("sts?away=60s").await;
        for number in 0..6 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            executions.push(start(&format!("within-{number}"), "echo finished"));
        }
        let mut ended = Vec::new();
        for execution in executions {
            ended.push(self.machines.ended(&execution).await.unwrap());
        }
        assert!(self.refusals().await > refused, "nobody has noticed the outage");
        ended
    }

    /// Whether the Job of that name is there.
    pub(crate) async fn has_job(&self, name: &str) -> bool {
        match self.ask(Method::GET, &format!("{JOBS}/{name}")).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) if status.code == 404 => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until the Job of that name runs.
    async fn runs(&self, name: &str) {
        let runs = async {
            let is_ready = |job: &str| serde_json::from_str::<Value>(job).unwrap()["status"]["ready"] == json!(1);
            while !self.ask(Method::GET, &format!("{JOBS}/{name}")).await.is_ok_and(|job| is_ready(&job)) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, runs).await.unwrap_or_else(|_| panic!("{name} does not run"));
    }

    /// Removes what the test has made.
    pub(crate) async fn clear(&self) {
        let _there_may_be_none = std::fs::remove_file(self.file());
        for place in [JOBS, LEASES] {
            let list: Value = serde_json::from_str(&self.ask(Method::GET, place).await.unwrap()).unwrap();
            let names = list["items"].as_array().unwrap().iter().filter_map(|one| one["metadata"]["name"].as_str());
            for name in names.filter(|name| name.contains(&self.id)) {
                self.delete(&format!("{place}/{name}")).await;
            }
        }
    }

    async fn delete(&self, place: &str) {
        match self.ask(Method::DELETE, &format!("{place}?propagationPolicy=Background")).await {
            Err(error) if !matches!(&error, kube::Error::Api(status) if status.code == 404) => panic!("{error}"),
            _ => {}
        }
    }

    async fn ask(&self, method: Method, path: &str) -> Result<String, kube::Error> {
        self.kube.request_text(Request::builder().method(method).uri(path).body(Vec::new()).unwrap()).await
    }
}

/// What no log may show is not in this one.
pub(crate) fn assert_discreet(log: &str, credentials: &Credentials) {
    assert!(!log.contains("k8s-aws-v1."), "a token was logged");
    for (name, value) in &credentials.0 {
        assert!(*name == "AWS_ACCESS_KEY_ID" || !log.contains(value), "{name} was logged");
    }
    assert!(!log.contains("panicked"), "{log}");
}

/// The article's own cluster, which is not this one.
pub(crate) fn elsewhere() -> Value {
    let mut input: Value = serde_json::from_str(article::INPUT).unwrap();
    input["cluster"].take()
}

fn directory(variable: &str, otherwise: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| otherwise.into(), PathBuf::from)
}
