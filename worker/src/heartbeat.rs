//! Keeping tasks alive, and learning that they are not.
//!
//! One table for all tasks, whoever cares for them: intake from the poll on, the tracker from the first sight of the Job
//! on. A task at rest is an entry and a due time. Beats are spread under a rate: the quota of `SendTaskHeartbeat` is shared
//! by everything in the account.

use std::{
    collections::{BTreeMap, HashMap, hash_map},
    sync::Arc,
    time::Duration,
};

use runjob_core::{arn::ActivityArn, owner::OwnerKey, token::TaskToken};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    metrics::{Metrics, Outcome},
    sfn::{Clients, Gone, SfnError},
};

/// After a heartbeat that did not get through, the next comes sooner than usual: the task may be close to its limit.
const AFTER_TROUBLE: Duration = Duration::from_secs(5);

/// Where tasks are handed in.
#[derive(Debug, Clone)]
pub struct Heartbeats {
    commands: mpsc::UnboundedSender<Command>,
}

/// A task that nobody waits for any more.
#[derive(Debug)]
pub struct Lost(pub TaskToken);

/// Keeps a task alive from its poll until the tracker has taken it over.
#[derive(Debug)]
#[must_use = "the task is not heartbeated any more once this is dropped"]
pub struct Hold {
    token: TaskToken,
    signals: Signals,
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
    Hold { token: TaskToken, source: ActivityArn, signals: Signals },
    Release(TaskToken),
    Follow { token: TaskToken, source: ActivityArn },
    Stop(TaskToken),
}

#[derive(Debug)]
struct Beat {
    source: ActivityArn,
    due: Due,
    /// Whether this process has seen the service accept a heartbeat for the token. Without that, `InvalidToken` says more
    /// about this process, or about the service, than about the task: LocalStack says it of every task whose state has no
    /// `HeartbeatSeconds`.
    trusted: bool,
    followed: bool,
    in_trouble: bool,
    hold: Option<Signals>,
}

/// The time, and a number that keeps equal times apart.
type Due = (Instant, u64);

/// The table of tasks.
struct Table {
    clients: Clients,
    metrics: Arc<Metrics>,
    pace: Pace,
    lost: mpsc::UnboundedSender<Lost>,
    beats: HashMap<TaskToken, Beat>,
    schedule: BTreeMap<Due, TaskToken>,
    number: u64,
    last_sent: Instant,
}

impl Heartbeats {
    /// The handle, and the table's loop to be spawned. Lost tasks that the tracker follows are told to `lost`.
    pub fn new(
        clients: Clients,
        metrics: Arc<Metrics>,
        pace: Pace,
        lost: mpsc::UnboundedSender<Lost>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (commands, received) = mpsc::unbounded_channel();
        let table = Table {
            clients,
            metrics,
            pace,
            lost,
            beats: HashMap::new(),
            schedule: BTreeMap::new(),
            number: 0,
            last_sent: Instant::now(),
        };
        (Self { commands }, table.run(received))
    }

    /// Keeps a task alive that was polled just now.
    pub fn hold(&self, token: &TaskToken, source: &ActivityArn) -> Hold {
        let signals = Signals::default();
        self.tell(Command::Hold { token: token.clone(), source: source.clone(), signals: signals.clone() });
        Hold { token: token.clone(), signals, commands: self.commands.clone() }
    }

    /// Keeps a task alive whose Job is watched, until [`Heartbeats::stop`].
    pub fn follow(&self, token: &TaskToken, source: &ActivityArn) {
        self.tell(Command::Follow { token: token.clone(), source: source.clone() });
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
    /// Waits until the task is gone: answered, or not waiting any more.
    pub async fn gone(&self) {
        self.signals.gone.cancelled().await;
    }

    /// Waits until the tracker has seen the task's Job.
    pub async fn followed(&self) {
        self.signals.followed.cancelled().await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Release(self.token.clone()));
    }
}

impl Table {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut sent: JoinSet<(TaskToken, Result<(), SfnError>)> = JoinSet::new();
        loop {
            let next = self.next_slot();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(Ok((token, result))) = sent.join_next() => self.answered(&token, result),
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    if let Some((_, token)) = self.schedule.pop_first()
                        && let Some(beat) = self.beats.get(&token)
                    {
                        let (clients, source) = (self.clients.clone(), beat.source.clone());
                        self.last_sent = Instant::now();
                        sent.spawn(async move {
                            let result = clients.heartbeat(&source, &token).await;
                            (token, result)
                        });
                    }
                }
            }
        }
    }

    /// When the next beat is to go out: when it is due, but not too soon after the last.
    fn next_slot(&self) -> Option<Instant> {
        let ((due, _), _) = self.schedule.first_key_value()?;
        Some((*due).max(self.last_sent + Duration::from_secs(1) / self.pace.rate))
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Hold { token, source, signals } => {
                self.remove(&token);
                let due = self.plan(&token, self.interval());
                self.beats.insert(
                    token,
                    Beat { source, due, trusted: false, followed: false, in_trouble: false, hold: Some(signals) },
                );
            }
            Command::Release(token) => match self.beats.get_mut(&token) {
                Some(beat) if beat.followed => beat.hold = None,
                Some(_) => self.remove(&token),
                None => {}
            },
            Command::Follow { token, source } => self.follow(token, source),
            Command::Stop(token) => self.remove(&token),
        }
    }

    fn follow(&mut self, token: TaskToken, source: ActivityArn) {
        if let hash_map::Entry::Occupied(mut known) = self.beats.entry(token.clone()) {
            let beat = known.get_mut();
            beat.followed = true;
            if let Some(signals) = &beat.hold {
                signals.followed.cancel();
            }
            return;
        }
        // Polled by another process, or by this one before it was restarted: it may be close to its limit.
        let due = self.plan(&token, Duration::ZERO);
        self.beats.insert(token, Beat { source, due, trusted: false, followed: true, in_trouble: false, hold: None });
    }

    fn answered(&mut self, token: &TaskToken, result: Result<(), SfnError>) {
        let interval = self.interval();
        let Some(beat) = self.beats.get_mut(token) else { return };
        let (outcome, again) = match result {
            Ok(()) => {
                beat.trusted = true;
                beat.in_trouble = false;
                (Outcome::Accepted, Some(interval))
            }
            Err(SfnError::Gone(Gone::InvalidToken)) if !beat.trusted => {
                // Once per task is enough to know of it.
                if !beat.in_trouble {
                    warn!(
                        owner = OwnerKey::of_task(token).short(),
                        source = %beat.source,
                        "a task's token is invalid and was never accepted; its Job is left alone: is this the right account, \
                         region and endpoint?"
                    );
                    self.metrics.untrusted_tokens.inc();
                }
                beat.in_trouble = true;
                (Outcome::Refused, Some(interval))
            }
            Err(SfnError::Gone(_)) => {
                let followed = beat.followed;
                self.remove(token);
                if followed {
                    // Nobody listens any more only when the worker ends.
                    let _ = self.lost.send(Lost(token.clone()));
                }
                (Outcome::Gone, None)
            }
            Err(error) => {
                let owner = OwnerKey::of_task(token);
                // Once per outage and task is enough to know of it.
                if beat.in_trouble {
                    debug!(owner = owner.short(), %error, "unable to send a heartbeat");
                } else {
                    warn!(owner = owner.short(), %error, "unable to send a heartbeat");
                }
                beat.in_trouble = true;
                (Outcome::Error, Some(interval.min(AFTER_TROUBLE)))
            }
        };
        self.metrics.beat(outcome);
        if let Some(pause) = again {
            let due = self.plan(token, pause);
            if let Some(beat) = self.beats.get_mut(token) {
                beat.due = due;
            }
        }
    }

    fn plan(&mut self, token: &TaskToken, after: Duration) -> Due {
        self.number += 1;
        let due = (Instant::now() + after, self.number);
        self.schedule.insert(due, token.clone());
        due
    }

    fn remove(&mut self, token: &TaskToken) {
        if let Some(beat) = self.beats.remove(token) {
            self.schedule.remove(&beat.due);
            if let Some(signals) = beat.hold {
                signals.gone.cancel();
            }
        }
    }

    /// The interval that the rate allows with so many tasks.
    fn interval(&self) -> Duration {
        let tasks = u32::try_from(self.beats.len()).unwrap_or(u32::MAX);
        let interval = self.pace.interval.max(Duration::from_secs(1) * tasks / self.pace.rate);
        self.metrics.beating_every(interval);
        interval
    }
}
