//! Builders for requests.

use std::path::PathBuf;

use serde_json::{Value, json};

/// Holds a Job back until it is opened. The file behind it goes with it.
#[derive(Debug)]
pub struct Gate(PathBuf);

impl Gate {
    /// A closed gate. The label keeps those of one test run apart.
    pub fn closed(label: &str) -> Self {
        Self(std::env::temp_dir().join(format!("runjob-{label}-{}", std::process::id())))
    }

    /// A Job that runs until the gate is open, and then prints `finished`.
    pub fn job(&self, name: &str) -> JobRequest {
        self.job_that(name, "echo finished")
    }

    /// A Job that runs until the gate is open, and then does that.
    pub fn job_that(&self, name: &str, then: &str) -> JobRequest {
        a_job(name, &format!("while [ ! -e {} ]; do sleep 0.05; done; {then}", self.0.display()))
    }

    /// Lets the Job go on.
    pub fn open(&self) -> std::io::Result<()> {
        std::fs::write(&self.0, "")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Stands for the scenario's own directory on the machine.
pub const SCRATCH: &str = "{scratch}";

/// A Job that runs until [`crate::step::Act::OpenGate`], and then prints `finished`.
pub fn a_gated_job(name: &str) -> JobRequest {
    a_job(name, &format!("until [ -e {SCRATCH}/go ]; do sleep 0.1; done; echo finished")).with_scratch()
}

/// A request to run a Job, as a state's `Parameters` would make it.
#[derive(Debug, Clone)]
pub struct JobRequest {
    request: Value,
}

/// A Job of that name which runs a shell script, with its logs in the result.
pub fn a_job(name: &str, script: &str) -> JobRequest {
    JobRequest {
        request: json!({
            "LogOptions": {"RetrieveLogs": true},
            "Job": {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": name},
                "spec": {
                    "backoffLimit": 0,
                    "template": {"spec": {
                        "restartPolicy": "Never",
                        // A shell as process 1 takes no notice of SIGTERM.
                        "terminationGracePeriodSeconds": 5,
                        "containers": [container("main", script)],
                    }},
                },
            },
        }),
    }
}

fn container(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]})
}

impl JobRequest {
    /// Sets a part of the request, by its JSON pointer. The parent must be there.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        if let Some(map) = self.request.pointer_mut(parent).and_then(Value::as_object_mut) {
            map.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Sets a part of the pods' spec.
    #[must_use]
    pub fn with_pod(self, field: &str, value: impl Into<Value>) -> Self {
        self.with(&format!("/Job/spec/template/spec/{field}"), value)
    }

    /// Sets a part of the container `main`.
    #[must_use]
    pub fn with_main(self, field: &str, value: impl Into<Value>) -> Self {
        self.with_pod(&format!("containers/0/{field}"), value)
    }

    /// Sets the namespace, unless the request names one.
    #[must_use]
    pub fn in_namespace(self, namespace: &str) -> Self {
        if self.request.get("Namespace").is_some() { self } else { self.with("/Namespace", namespace) }
    }

    /// Adds an init container.
    #[must_use]
    pub fn and_init_container(self, name: &str, script: &str) -> Self {
        self.with("/Job/spec/template/spec/initContainers", json!([container(name, script)]))
    }

    /// Adds a container.
    #[must_use]
    pub fn and_container(mut self, name: &str, script: &str) -> Self {
        if let Some(list) = self.request.pointer_mut("/Job/spec/template/spec/containers").and_then(Value::as_array_mut)
        {
            list.push(container(name, script));
        }
        self
    }

    /// Lets the Job have a name made from a prefix.
    #[must_use]
    pub fn generated(self, prefix: &str) -> Self {
        self.with("/Job/metadata", json!({ "generateName": prefix }))
    }

    /// Lets all containers see the scenario's own directory on the machine, under the same path as outside. The sandbox's are
    /// local processes, and see it anyway.
    #[must_use]
    pub fn with_scratch(mut self) -> Self {
        let pod = self.request.pointer_mut("/Job/spec/template/spec").and_then(Value::as_object_mut);
        if let Some(pod) = pod {
            let place = json!({"path": SCRATCH, "type": "DirectoryOrCreate"});
            pod.insert("volumes".to_owned(), json!([{"name": "scratch", "hostPath": place}]));
            for container in pod.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten() {
                container["volumeMounts"] = json!([{"name": "scratch", "mountPath": SCRATCH}]);
            }
        }
        self
    }

    /// A state's `Parameters` that make this request.
    pub fn parameters(&self) -> Value {
        self.request.clone()
    }

    /// The input of the task.
    pub fn input(&self) -> String {
        self.request.to_string()
    }

    /// The Job alone, as a user of `kubectl` would create it.
    pub fn job(&self) -> Value {
        self.request.get("Job").cloned().unwrap_or_default()
    }
}
