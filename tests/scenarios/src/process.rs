//! The worker as a process of its own.

use std::{path::PathBuf, process::ExitStatus, process::Stdio, time::Duration};

use anyhow::Context;
use runjob_sandbox::sandbox::Sandbox;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

/// A worker that runs as a process. Killed when it is dropped.
pub struct WorkerProcess {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    kubeconfig: PathBuf,
}

impl WorkerProcess {
    /// Starts `program`, the worker's binary, against a sandbox.
    pub fn start(program: &str, sandbox: &Sandbox, flags: &[&str]) -> anyhow::Result<Self> {
        // The port makes the name: each sandbox has one of its own.
        let port = sandbox.kube_url().rsplit(':').next().unwrap_or_default().to_owned();
        let kubeconfig = std::env::temp_dir().join(format!("runjob-scenario-{}-{port}", std::process::id()));
        std::fs::write(&kubeconfig, sandbox.kubeconfig()).context("unable to write a kubeconfig")?;
        let mut child = Command::new(program)
            .args(["worker", "--activity-arn", sandbox.activity(), "--admin-addr", "127.0.0.1:0"])
            .args(flags)
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .envs(sandbox.aws_environment())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("unable to start {program}"))?;
        let log = BufReader::new(child.stderr.take().context("the worker has no stderr")?).lines();
        Ok(Self { child, log, kubeconfig })
    }

    /// `kill -9`.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("unable to kill the worker")
    }

    /// SIGTERM.
    pub async fn terminate(&self) -> anyhow::Result<()> {
        let pid = self.child.id().context("the worker has ended already")?.to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().await?;
        anyhow::ensure!(status.success(), "unable to send SIGTERM");
        Ok(())
    }

    /// Waits until a line of its log contains `words`.
    pub async fn says(&mut self, words: &str) -> anyhow::Result<()> {
        let said = async {
            while let Some(line) = self.log.next_line().await? {
                if line.contains(words) {
                    return Ok(());
                }
            }
            anyhow::bail!("the worker ended without saying {words}")
        };
        tokio::time::timeout(Duration::from_mins(1), said).await.with_context(|| format!("nobody says {words}"))?
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(Duration::from_mins(2), self.child.wait());
        ended.await.context("the worker does not end")?.context("unable to wait for the worker")
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}
