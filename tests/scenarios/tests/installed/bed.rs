//! What the test stands on: the cluster as it was brought up, a Step Functions that its pods can reach, and a shell for the commands of the
//! document.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use runjob_scenarios::{jobs::JobRequest, machines::Machines};
use serde_json::{Value, json};

/// The checkout, in which the document's commands are run.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Who the worker is to the API server.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:runjob:runjob";
/// Where Jobs of this test run, apart from the article's.
pub(crate) const NAMESPACE: &str = "batch";
/// The address of the machine that is the Service `kubernetes` for pods. What listens there, they reach.
const SERVICE: &str = "10.233.0.1";
/// What the document speaks of.
const REGION: &str = "eu-west-1";
const ACTIVITY: &str = "jobs";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct Bed {
    pub(crate) machines: Machines,
    /// A directory with `helm`, `prometheus` and `promtool`.
    tools: PathBuf,
    written: std::cell::RefCell<Vec<PathBuf>>,
}

/// Where the cluster keeps everything.
pub(crate) fn cluster_directory() -> PathBuf {
    std::env::var_os("RUNJOB_CLUSTER_DIR").map_or_else(|| "/var/tmp/runjob-cluster".into(), PathBuf::from)
}

/// Runs a script as the document's reader would, and gives what it prints.
pub(crate) fn shell(script: &str, path: &str) -> String {
    // Of what Cargo tells a test nothing: another Cargo would build everything anew.
    let of_cargo = std::env::vars().map(|(name, _)| name).filter(|name| {
        (name.starts_with("CARGO_") && !["CARGO_HOME", "CARGO_INCREMENTAL"].contains(&name.as_str()))
            || name == "LD_LIBRARY_PATH"
            || name.starts_with("RUST_")
    });
    let mut command = Command::new("bash");
    of_cargo.for_each(|name| {
        command.env_remove(name);
    });
    let done = command
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(ROOT)
        .env("PATH", path)
        .env("KUBECONFIG", cluster_directory().join("admin.kubeconfig"))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{script}\n{printed}{complaint}");
    printed
}

impl Bed {
    /// Finds what was brought up, and gets the tools.
    pub(crate) async fn new() -> Self {
        let address = SERVICE.parse().unwrap();
        let machines = Machines::serve(address, REGION, ACTIVITY).await;
        let machines = machines.unwrap_or_else(|error| panic!("tests/cluster/cluster up: {error}"));
        let tools = shell("infra/tools/get helm prometheus", &std::env::var("PATH").unwrap());
        Self { machines, tools: tools.trim().into(), written: std::cell::RefCell::default() }
    }

    /// Where programs are found: the cluster's own `kubectl`, and the tools.
    pub(crate) fn path(&self) -> String {
        let kubectl = cluster_directory().join("kept/bin");
        format!("{}:{}:{}", kubectl.display(), self.tools.display(), std::env::var("PATH").unwrap())
    }

    /// Where that tool is.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.tools.join(name)
    }

    pub(crate) fn shell(&self, script: &str) -> String {
        shell(script, &self.path())
    }

    pub(crate) fn kubectl(&self, arguments: &str) -> String {
        self.shell(&format!("kubectl {arguments}"))
    }

    /// What `kubectl get` prints as JSON.
    pub(crate) fn get(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.kubectl(&format!("get {arguments} --output json"))).unwrap()
    }

    /// Writes the document's file of values. Step Functions is another one here, and its credentials are nobody's.
    pub(crate) fn write_values(&self, name: &str, text: &str) {
        let variables = self.machines.access().environment().map(|(name, value)| json!({"name": name, "value": value}));
        // AWS_REGION is the chart's own.
        let variables: Vec<_> = variables.into_iter().filter(|variable| variable["name"] != "AWS_REGION").collect();
        let path = PathBuf::from(ROOT).join(name);
        std::fs::write(&path, format!("{text}\nextraEnv: {}\n", Value::from(variables))).unwrap();
        self.written.borrow_mut().push(path);
    }

    /// What the document leaves to a registry.
    pub(crate) fn load_image(&self) {
        self.shell("tests/cluster/cluster load target/runjob.tar");
    }

    /// `helm upgrade` with these flags besides.
    pub(crate) fn upgrade(&self, flags: &str) {
        self.shell(&format!(
            "helm upgrade runjob infra/helm/runjob --namespace runjob --values values.yaml {flags} --wait --timeout 6m"
        ));
    }

    /// The names of the worker's pods that are not about to end.
    pub(crate) fn pods(&self) -> Vec<Value> {
        let pods = self.get("pods --namespace runjob --selector app.kubernetes.io/name=runjob");
        let pods = pods["items"].as_array().unwrap().iter();
        pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect()
    }

    /// What the workers' pods have logged.
    pub(crate) fn logs(&self) -> String {
        self.kubectl("logs --namespace runjob --selector app.kubernetes.io/name=runjob --tail -1")
    }

    /// One of two pods acts.
    pub(crate) async fn one_leads(&self) {
        self.comes_about("one worker leads", async || {
            let leading = self.pods().into_iter().map(|pod| {
                let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
                let metrics = format!("/api/v1/namespaces/runjob/pods/http:{name}:8080/proxy/metrics");
                self.kubectl(&format!("get --raw {metrics}")).lines().filter(|line| *line == "runjob_leading 1").count()
            });
            leading.sum::<usize>() == 1
        })
        .await;
    }

    /// Waits until something is so.
    pub(crate) async fn comes_about(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so().await {
            assert!(Instant::now() < end, "not so in time: {what}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Starts an execution that runs a Job in the test's namespace.
    pub(crate) fn run(&self, job: &JobRequest) -> String {
        let parameters = job.clone().in_namespace(NAMESPACE).parameters();
        let state = json!({
            "Resource": "arn:aws:states:::eks:runJob.sync",
            "HeartbeatSeconds": 60,
            "Parameters": parameters,
        });
        self.machines.start_state(&state).unwrap()
    }

    /// Waits until the Job of that name has a pod that runs.
    pub(crate) async fn runs(&self, name: &str) {
        self.comes_about(&format!("{name} runs"), async || {
            self.get(&format!("jobs --namespace {NAMESPACE}"))["items"]
                .as_array()
                .unwrap()
                .iter()
                .any(|job| job["metadata"]["name"] == name && job["status"]["ready"] == 1)
        })
        .await;
    }

    /// Removes all Jobs.
    pub(crate) fn clear(&self) {
        self.kubectl(&format!("delete jobs --all --namespace {NAMESPACE}"));
        // The article's last state leaves its pods behind, as natively.
        self.kubectl("delete pods --all --namespace default");
    }

    /// The Jobs of the test's namespace.
    pub(crate) fn jobs(&self) -> BTreeSet<String> {
        let jobs = self.get(&format!("jobs --namespace {NAMESPACE}"));
        let jobs = jobs["items"].as_array().unwrap().iter();
        jobs.map(|job| job["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for file in self.written.borrow().iter() {
            let _is_ours = std::fs::remove_file(file);
        }
    }
}
