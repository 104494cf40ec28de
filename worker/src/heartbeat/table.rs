//! The table itself: when each task is due, what its beats have shown, and who has to be told.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use runjob_core::{arn::ActivityArn, owner::OwnerKey, token::TaskToken};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tracing::{debug, warn};

use super::{Command, Lost, Pace, Question, Signals, Verdict};
use crate::{
    metrics::{Metrics, Outcome},
    sfn::{Clients, Gone, SfnError},
};

/// After a heartbeat that did not get through, the next comes sooner than usual: the task may be close to its limit.
const AFTER_TROUBLE: Duration = Duration::from_secs(5);

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
    /// To be answered by the next beat that goes out: one under way may be older than what is asked.
    questions: Vec<Question>,
}

/// A beat that went out, and what came of it.
struct Sent {
    token: TaskToken,
    questions: Vec<Question>,
    result: Result<(), SfnError>,
}

/// The time, and a number that keeps equal times apart.
type Due = (Instant, u64);

/// The table of tasks.
pub(super) struct Table {
    clients: Clients,
    metrics: Arc<Metrics>,
    pace: Pace,
    lost: mpsc::UnboundedSender<Lost>,
    beats: HashMap<TaskToken, Beat>,
    /// Followed tasks that were found to be gone, until the tracker is done with their Jobs. It was proven once; another
    /// heartbeat might not prove it again, since trust went with the entry.
    gone: HashSet<TaskToken>,
    schedule: BTreeMap<Due, TaskToken>,
    number: u64,
    last_sent: Instant,
}

impl Beat {
    fn new(source: ActivityArn, due: Due) -> Self {
        let (hold, questions) = (None, Vec::new());
        Self { source, due, trusted: false, followed: false, in_trouble: false, hold, questions }
    }

    /// Whether anybody cares for the task.
    fn is_wanted(&self) -> bool {
        self.followed || self.hold.is_some() || !self.questions.is_empty()
    }
}

impl Table {
    pub(super) fn new(clients: Clients, metrics: Arc<Metrics>, pace: Pace, lost: mpsc::UnboundedSender<Lost>) -> Self {
        Self {
            clients,
            metrics,
            pace,
            lost,
            beats: HashMap::new(),
            gone: HashSet::new(),
            schedule: BTreeMap::new(),
            number: 0,
            last_sent: Instant::now(),
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut sent: JoinSet<Sent> = JoinSet::new();
        loop {
            let next = self.next_slot();
            tokio::select! {
                // What is known comes first: it may make the next beat needless, or sooner. None of it takes time, and there is
                // no more of it than there are tasks, so beats are not held up.
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(Ok(sent)) = sent.join_next() => self.answered(sent),
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    if let Some((_, token)) = self.schedule.pop_first()
                        && let Some(beat) = self.beats.get_mut(&token)
                    {
                        let (clients, source) = (self.clients.clone(), beat.source.clone());
                        let questions = std::mem::take(&mut beat.questions);
                        self.last_sent = Instant::now();
                        sent.spawn(async move {
                            let result = clients.heartbeat(&source, &token).await;
                            Sent { token, questions, result }
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
                let interval = self.interval();
                self.insert(token, source, interval, |beat| beat.hold = Some(signals));
            }
            Command::Release(token) => {
                if let Some(beat) = self.beats.get_mut(&token) {
                    beat.hold = None;
                    self.drop_unwanted(&token);
                }
            }
            Command::Follow { token, source } => self.follow(token, source),
            Command::Ask { token, source, question } => self.ask(token, source, question),
            Command::Stop(token) => {
                self.gone.remove(&token);
                self.remove(&token);
            }
        }
    }

    fn follow(&mut self, token: TaskToken, source: ActivityArn) {
        if self.gone.contains(&token) {
            self.lose(token);
        } else if let Some(beat) = self.beats.get_mut(&token) {
            beat.followed = true;
            if let Some(signals) = &beat.hold {
                signals.followed.cancel();
            }
        } else {
            // Polled by another process, or by this one before it was restarted: it may be close to its limit.
            self.insert(token, source, Duration::ZERO, |beat| beat.followed = true);
        }
    }

    fn ask(&mut self, token: TaskToken, source: ActivityArn, question: Question) {
        if self.gone.contains(&token) {
            reply(vec![question], Verdict::Gone);
        } else if let Some(beat) = self.beats.get_mut(&token) {
            beat.questions.push(question);
            // If a beat is under way, the next one follows its answer.
            if self.schedule.contains_key(&beat.due) {
                self.plan(&token, Duration::ZERO);
            }
        } else {
            self.insert(token, source, Duration::ZERO, |beat| beat.questions.push(question));
        }
    }

    fn answered(&mut self, sent: Sent) {
        let Sent { token, mut questions, result } = sent;
        let interval = self.interval();
        let Some(beat) = self.beats.get_mut(&token) else { return };
        let (outcome, verdict, pause) = match result {
            Ok(()) => {
                beat.trusted = true;
                beat.in_trouble = false;
                (Outcome::Accepted, Verdict::Alive, interval)
            }
            Err(SfnError::Gone(Gone::InvalidToken)) if !beat.trusted => {
                // Once per task is enough to know of it.
                if !beat.in_trouble {
                    warn!(
                        owner = OwnerKey::of_task(&token).short(),
                        source = %beat.source,
                        "a task's token is invalid and was never accepted; its Job is left alone: is this the right account, \
                         region and endpoint?"
                    );
                    self.metrics.untrusted_tokens.inc();
                }
                beat.in_trouble = true;
                (Outcome::Refused, Verdict::Unproven, interval)
            }
            Err(SfnError::Gone(_)) => {
                self.metrics.beat(Outcome::Gone);
                let followed = beat.followed;
                questions.append(&mut beat.questions);
                self.remove(&token);
                if followed {
                    self.gone.insert(token.clone());
                    self.lose(token);
                }
                reply(questions, Verdict::Gone);
                return;
            }
            Err(error) => {
                let owner = OwnerKey::of_task(&token);
                // Once per outage and task is enough to know of it.
                if beat.in_trouble {
                    debug!(owner = owner.short(), %error, "unable to send a heartbeat");
                } else {
                    warn!(owner = owner.short(), %error, "unable to send a heartbeat");
                }
                beat.in_trouble = true;
                (Outcome::Error, Verdict::Unknown, interval.min(AFTER_TROUBLE))
            }
        };
        let pause = if beat.questions.is_empty() { pause } else { Duration::ZERO };
        self.metrics.beat(outcome);
        reply(questions, verdict);
        self.plan(&token, pause);
        self.drop_unwanted(&token);
    }

    /// Tells the tracker that nobody waits for a task any more.
    fn lose(&self, token: TaskToken) {
        // Nobody listens any more only when the worker ends.
        let _ = self.lost.send(Lost(token));
    }

    fn insert(&mut self, token: TaskToken, source: ActivityArn, after: Duration, change: impl FnOnce(&mut Beat)) {
        let due = self.due(after);
        let mut beat = Beat::new(source, due);
        change(&mut beat);
        self.schedule.insert(due, token.clone());
        self.beats.insert(token, beat);
    }

    /// Plans the next beat of a task, instead of the one that was planned, if one was.
    fn plan(&mut self, token: &TaskToken, after: Duration) {
        let due = self.due(after);
        if let Some(beat) = self.beats.get_mut(token) {
            self.schedule.remove(&beat.due);
            self.schedule.insert(due, token.clone());
            beat.due = due;
        }
    }

    fn due(&mut self, after: Duration) -> Due {
        self.number += 1;
        (Instant::now() + after, self.number)
    }

    fn drop_unwanted(&mut self, token: &TaskToken) {
        if self.beats.get(token).is_some_and(|beat| !beat.is_wanted()) {
            self.remove(token);
        }
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

fn reply(questions: Vec<Question>, verdict: Verdict) {
    for question in questions {
        // Whoever asked may have given up.
        let _ = question.send(verdict);
    }
}
