//! Keeping tasks alive, and learning that they are not.
//!
//! One table for all tasks of a cluster, whoever cares for them: intake from the poll on, the tracker from the first sight of the Job
//! on. A task at rest is an entry and a due time. Beats are spread under a rate: the quota of `SendTaskHeartbeat` is shared
//! by everything in the account, and so the rate by all clusters.
//!
//! A task that this worker has polled is beaten by it until its own watch has shown the Job; from then on whoever acts for the group
//! beats it, and one that takes over beats all of them at once, under the rate.

mod budget;
mod table;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use runjob_core::{arn::Source, lease::Role, progress::Moment, token::TaskToken};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::budget::Budget;
use self::table::Table;
use crate::{clock::Clock, metrics::Metrics, sfn::Clients};

/// Where tasks are handed in.
#[derive(Debug, Clone)]
pub struct Heartbeats {
    commands: mpsc::UnboundedSender<Command>,
    brake: watch::Receiver<Option<Moment>>,
    /// How many holds there were.
    holds: Arc<AtomicU64>,
}

/// A task with a watched Job that nobody waits for any more.
#[derive(Debug)]
pub struct Lost {
    /// Its token.
    pub token: TaskToken,
    /// Whether this process has seen it alive.
    pub trust: Trust,
}

/// Whether this process has seen the service accept a heartbeat for a token. Without that, what the service says of it may say more
/// about this process than about the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It has.
    Proven,
    /// It has not, or not yet.
    Unproven,
}

/// What a heartbeat has shown of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Somebody waits for it.
    Alive,
    /// Nobody does any more.
    Gone,
    /// Its token is invalid, and this process has never seen it accepted: that proves nothing.
    Unproven,
    /// There was no answer that says. The next may.
    Unknown,
}

/// Keeps a task alive from its poll until the tracker has taken it over.
#[derive(Debug)]
#[must_use = "the task is not heartbeated any more once this is dropped"]
pub struct Hold {
    signals: Signals,
    held: Option<Held>,
}

/// What is to be released.
#[derive(Debug)]
struct Held {
    token: TaskToken,
    number: u64,
    commands: mpsc::UnboundedSender<Command>,
}

/// What whoever holds a task is told.
#[derive(Debug, Clone, Default)]
struct Signals {
    gone: CancellationToken,
    followed: CancellationToken,
}

/// How heartbeats are paced.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The least time between two beats of a task.
    pub interval: Duration,
    /// The most beats a second.
    pub rate: u32,
}

#[derive(Debug)]
enum Command {
    Hold { token: TaskToken, source: Source, number: u64, signals: Signals },
    Release { token: TaskToken, number: u64 },
    Follow { token: TaskToken, source: Source },
    Ask { token: TaskToken, source: Source, question: Question },
    Known(oneshot::Sender<Vec<TaskToken>>),
    AskAll(oneshot::Sender<Vec<oneshot::Receiver<Verdict>>>),
    Reconsider { token: TaskToken, source: Source },
    Stop(TaskToken),
}

/// Whoever wants to know of a task.
type Question = oneshot::Sender<Verdict>;

impl Heartbeats {
    /// The handle, and the table's loop to be spawned. All tables that have the same `budget` keep within it together. Lost tasks that the tracker follows are told to `lost`.
    pub fn new(
        clients: Clients,
        metrics: Arc<Metrics>,
        budget: &Budget,
        clock: Clock,
        role: watch::Receiver<Role>,
        lost: mpsc::UnboundedSender<Lost>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (commands, received) = mpsc::unbounded_channel();
        let (pulled, brake) = watch::channel(None);
        let table = Table::new(clients, metrics, budget, clock, lost, pulled);
        (Self { commands, brake, holds: Arc::default() }, table.run(received, role))
    }

    /// Keeps a task alive that was polled just now.
    pub fn hold(&self, token: &TaskToken, source: &Source) -> Hold {
        let (signals, number) = (Signals::default(), self.holds.fetch_add(1, Ordering::Relaxed));
        self.tell(Command::Hold { token: token.clone(), source: source.clone(), number, signals: signals.clone() });
        Hold { signals, held: Some(Held { token: token.clone(), number, commands: self.commands.clone() }) }
    }

    /// Keeps a task alive whose Job is watched, as long as that is this worker's to do, until [`Heartbeats::stop`].
    pub fn follow(&self, token: &TaskToken, source: &Source) {
        self.tell(Command::Follow { token: token.clone(), source: source.clone() });
    }

    /// Asks whether somebody waits for a task, by a heartbeat of its own, whether the task is followed or not. If it is, the
    /// tracker is told what comes of it, as of any other heartbeat.
    pub async fn ask(&self, token: &TaskToken, source: &Source) -> Verdict {
        let (question, verdict) = oneshot::channel();
        self.tell(Command::Ask { token: token.clone(), source: source.clone(), question });
        // The table dropped the question: the task was answered in the meantime.
        verdict.await.unwrap_or(Verdict::Unknown)
    }

    /// Asks for every task that is followed now, under the rate. Says how many of them there was no answer for.
    pub async fn ask_all(&self) -> usize {
        let (sender, asked) = oneshot::channel();
        self.tell(Command::AskAll(sender));
        let verdicts = join_all(asked.await.unwrap_or_default()).await;
        verdicts.into_iter().filter(|verdict| matches!(verdict, Ok(Verdict::Unknown))).count()
    }

    /// The tokens of all tasks that this process knows, for keeping them out of what is shown.
    pub async fn known(&self) -> Vec<TaskToken> {
        let (sender, known) = oneshot::channel();
        self.tell(Command::Known(sender));
        known.await.unwrap_or_default()
    }

    /// Asks once more for a followed task that was found to be gone, as if it were alive. If it is not, the tracker is told so again.
    pub fn reconsider(&self, token: &TaskToken, source: &Source) {
        self.tell(Command::Reconsider { token: token.clone(), source: source.clone() });
    }

    /// Until when no Job is to be deleted because its task is gone, if too many tasks have died at once.
    pub fn deletions_stopped(&self, now: Moment) -> Option<Moment> {
        (*self.brake.borrow()).filter(|until| now < *until)
    }

    /// The task is answered.
    pub fn stop(&self, token: &TaskToken) {
        self.tell(Command::Stop(token.clone()));
    }

    fn tell(&self, command: Command) {
        // The table lives as long as any handle; after that there is nothing to tell.
        let _ = self.commands.send(command);
    }
}

impl Hold {
    /// On nothing: for whoever waits in this very process. It is never gone.
    pub fn on_nothing() -> Self {
        Self { signals: Signals::default(), held: None }
    }

    /// Waits until the task is gone: answered, or not waiting any more.
    pub async fn gone(&self) {
        self.signals.gone.cancelled().await;
    }

    /// Whether the task is known to be gone.
    pub fn is_gone(&self) -> bool {
        self.signals.gone.is_cancelled()
    }

    /// Waits until the tracker has seen the task's Job.
    pub async fn followed(&self) {
        self.signals.followed.cancelled().await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(Held { token, number, commands }) = self.held.take() {
            let _ = commands.send(Command::Release { token, number });
        }
    }
}
