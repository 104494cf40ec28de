//! The workers of a stage: processes that come and go, one of which holds the Lease.

use std::path::PathBuf;

use anyhow::Context;

use crate::process::{Signal, Surroundings, WorkerProcess};

/// All workers of a scenario.
pub(crate) struct Workers {
    program: PathBuf,
    surroundings: Surroundings,
    /// What each of them is told.
    flags: Vec<String>,
    living: Vec<WorkerProcess>,
    log_of_the_dead: String,
    /// Who held the Lease when its holder was last sent a signal.
    former: Option<String>,
}

impl Workers {
    /// None yet.
    pub(crate) fn new(program: PathBuf, surroundings: Surroundings, flags: Vec<String>) -> Self {
        Self { program, surroundings, flags, living: Vec::new(), log_of_the_dead: String::new(), former: None }
    }

    /// Starts one, with flags of its own beside those of all.
    pub(crate) fn start(&mut self, own: &[&str]) -> anyhow::Result<()> {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).chain(own.iter().copied()).collect();
        self.living.push(WorkerProcess::start(&self.program, &self.surroundings, &flags)?);
        Ok(())
    }

    /// Kills all of them.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        while let Some(worker) = self.living.pop() {
            self.bury(worker).await?;
        }
        Ok(())
    }

    /// Sends a signal to the one that holds the Lease under this name.
    pub(crate) async fn signal_holder(&mut self, holder: &str, signal: Signal) -> anyhow::Result<()> {
        let place = self.living.iter().position(|worker| worker.identity().as_deref() == Some(holder));
        let place =
            place.with_context(|| format!("the Lease is held by {holder}, which is no worker of this stage"))?;
        self.former = Some(holder.to_owned());
        match signal {
            Signal::Kill => {
                let worker = self.living.remove(place);
                self.bury(worker).await
            }
            _ => self.living.get(place).context("it has just gone")?.signal(signal).await,
        }
    }

    /// The Lease is held by somebody now who is no worker.
    pub(crate) fn lost_lease_to(&mut self, holder: &str) {
        self.former = Some(holder.to_owned());
    }

    /// Sends a signal to all of them.
    pub(crate) async fn signal_all(&self, signal: Signal) -> anyhow::Result<()> {
        for worker in &self.living {
            worker.signal(signal).await?;
        }
        Ok(())
    }

    /// Whether the Lease, which is held under this name, is held by another worker than the one that was sent a signal.
    pub(crate) fn is_successor(&self, holder: &str) -> bool {
        self.former.as_deref().is_some_and(|former| former != holder)
            && self.living.iter().any(|worker| worker.identity().as_deref() == Some(holder))
    }

    /// The most memory that one of them has taken.
    pub(crate) fn peak_kib(&self) -> anyhow::Result<u64> {
        let peaks: anyhow::Result<Vec<u64>> = self.living.iter().map(WorkerProcess::peak_kib).collect();
        peaks?.into_iter().max().context("there is no worker")
    }

    /// What all of them so far have logged.
    pub(crate) fn log(&self) -> String {
        let living: String = self.living.iter().map(WorkerProcess::log).collect();
        format!("{}{living}", self.log_of_the_dead)
    }

    async fn bury(&mut self, mut worker: WorkerProcess) -> anyhow::Result<()> {
        worker.kill().await?;
        self.log_of_the_dead.push_str(&worker.log());
        Ok(())
    }
}
