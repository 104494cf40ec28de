//! The worker as a process of its own.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::Context;
use runjob_sandbox::sandbox::Sandbox;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStderr, Command},
    sync::watch,
};

/// The shortest that a Lease may be held for: workers are killed here, and the next has to wait for that.
const LEASE: &str = "1s";
/// How many workers this process has started: each has a file of its own.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// What a process can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// It ends at once, and cannot help it.
    Kill,
    /// It is asked to end.
    Terminate,
    /// It is frozen: as on a machine that is suspended, it does not notice.
    Stop,
    /// It goes on, as if nothing had happened.
    Continue,
}

/// A worker that runs as a process. Killed when it is dropped.
pub struct WorkerProcess {
    child: Child,
    log: watch::Receiver<String>,
    /// It goes with it.
    file: PathBuf,
}

/// What a worker is led to.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Its activity.
    pub activity: String,
    /// The text of the file that leads it to Kubernetes.
    pub kubernetes: File,
    /// Where its AWS client finds Step Functions.
    pub environment: Vec<(&'static str, String)>,
}

/// A file that leads a worker to Kubernetes.
#[derive(Debug, Clone)]
pub enum File {
    /// `--kubeconfig`.
    Kubeconfig(String),
    /// `--clusters`.
    Clusters(String),
}

impl Surroundings {
    /// Both services of a sandbox.
    pub fn of(sandbox: &Sandbox) -> Self {
        Self {
            activity: sandbox.activity().to_owned(),
            kubernetes: File::Kubeconfig(sandbox.kubeconfig()),
            environment: sandbox.aws_environment().into(),
        }
    }
}

impl WorkerProcess {
    /// Starts `program`, the worker's binary.
    pub fn start(program: impl AsRef<Path>, surroundings: &Surroundings, flags: &[&str]) -> anyhow::Result<Self> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("runjob-scenario-{}-worker-{number}", std::process::id());
        let file = std::env::temp_dir().join(name);
        let (flag, text) = match &surroundings.kubernetes {
            File::Kubeconfig(text) => ("--kubeconfig", text),
            File::Clusters(text) => ("--clusters", text),
        };
        std::fs::write(&file, text).with_context(|| format!("unable to write the file of {flag}"))?;
        let mut child = Command::new(program.as_ref())
            .args(["worker", "--activity-arn", &surroundings.activity, "--admin-addr", "127.0.0.1:0"])
            .args(flags)
            .arg(flag)
            .arg(&file)
            // A scenario's own flag goes before.
            .env("RUNJOB_LEASE_DURATION", LEASE)
            .envs(surroundings.environment.iter().cloned())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("unable to start {}", program.as_ref().display()))?;
        let stderr = child.stderr.take().context("the worker has no stderr")?;
        let (written, log) = watch::channel(String::new());
        tokio::spawn(keep(stderr, written));
        Ok(Self { child, log, file })
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("unable to kill the worker")
    }

    /// SIGTERM.
    pub async fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::Terminate).await
    }

    /// Sends it a signal.
    pub async fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let name = match signal {
            Signal::Kill => "-KILL",
            Signal::Terminate => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let pid = self.child.id().context("the worker has ended already")?.to_string();
        let status = Command::new("kill").args([name, &pid]).status().await?;
        anyhow::ensure!(status.success(), "unable to send {signal:?} to the worker");
        Ok(())
    }

    /// By which name it holds the Lease. It says so at its start.
    pub fn identity(&self) -> Option<String> {
        let log = self.log.borrow();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find_map(|line| Some(line.get("identity")?.as_str()?.to_owned()))
    }

    /// What it takes of the machine's memory, in KiB.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most that it has taken so far.
    pub fn peak_kib(&self) -> anyhow::Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let pid = self.child.id().context("the worker has ended already")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("unable to look at the worker")?;
        let resident = status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
        resident.context("no word of its memory")?.trim().parse().context("its memory is no number")
    }

    /// Waits until its log contains `words`.
    pub async fn says(&self, words: &str) -> anyhow::Result<()> {
        let mut log = self.log.clone();
        let said = log.wait_for(|log| log.contains(words));
        let said = tokio::time::timeout(Duration::from_mins(1), said).await;
        said.with_context(|| format!("nobody says {words}"))?
            .with_context(|| format!("the worker ended without saying {words}"))?;
        Ok(())
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(Duration::from_mins(2), self.child.wait());
        ended.await.context("the worker does not end")?.context("unable to wait for the worker")
    }
}

async fn keep(stderr: ChildStderr, log: watch::Sender<String>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.send_modify(|log| {
            log.push_str(&line);
            log.push('\n');
        });
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
