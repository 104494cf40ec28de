//! The table itself: when each task is due, what its beats have shown, and who has to be told.

use std::{
    collections::{BTreeMap, HashMap},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use runjob_core::{
    arn::ActivityArn, brake::Brake, lease::Role, owner::OwnerKey, progress::Moment, tempo::Tempo, token::TaskToken,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{debug, error, warn};

use super::{Command, Lost, Pace, Question, Signals, Trust, Verdict};
use crate::{
    clock::Clock,
    metrics::{Metrics, Outcome},
    sfn::{Clients, Gone, SfnError},
};

/// After a heartbeat that did not get through, the next comes sooner than usual: the task may be close to its limit.
const AFTER_TROUBLE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Beat {
    source: ActivityArn,
    state: State,
    /// LocalStack calls every token of a state without `HeartbeatSeconds` invalid, so this may never come.
    trust: Trust,
    followed: bool,
    /// Whether it was found to be gone before, and doubted: the brake has counted it already.
    counted: bool,
    in_trouble: bool,
    hold: Option<Signals>,
    /// To be answered by the next beat that goes out: one under way may be older than what is asked.
    questions: Vec<Question>,
}

/// What a task's next beat is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its time.
    Due(Due),
    /// The answer to the one before.
    UnderWay,
    /// Another worker beats it.
    Resting,
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
    tempo: Tempo,
    clock: Clock,
    lost: mpsc::UnboundedSender<Lost>,
    /// In order: those that are begun together are begun in an order that can be told.
    beats: BTreeMap<TaskToken, Beat>,
    /// Followed tasks that were found to be gone, until the tracker is done with their Jobs. It was proven once; another
    /// heartbeat might not prove it again, unless it is known whether the token was ever accepted.
    gone: HashMap<TaskToken, Trust>,
    schedule: BTreeMap<Due, TaskToken>,
    number: u64,
    last_sent: Instant,
    /// Whether the tasks of watched Jobs are this worker's to beat.
    role: Role,
    brake: Brake,
    pulled: watch::Sender<Option<Moment>>,
    /// How many tasks this process has seen alive, and not gone since.
    alive: usize,
}

impl Beat {
    fn new(source: ActivityArn) -> Self {
        Self {
            source,
            state: State::Resting,
            trust: Trust::Unproven,
            followed: false,
            counted: false,
            in_trouble: false,
            hold: None,
            questions: Vec::new(),
        }
    }

    /// Whether anybody cares for the task.
    fn is_known(&self) -> bool {
        self.followed || self.is_own()
    }

    /// Whether it is this worker's to beat, whatever its role.
    fn is_own(&self) -> bool {
        self.hold.is_some() || !self.questions.is_empty()
    }
}

impl Table {
    pub(super) fn new(
        clients: Clients,
        metrics: Arc<Metrics>,
        pace: Pace,
        clock: Clock,
        lost: mpsc::UnboundedSender<Lost>,
        pulled: watch::Sender<Option<Moment>>,
    ) -> Self {
        Self {
            clients,
            metrics,
            pace,
            tempo: Tempo::new(pace.rate),
            clock,
            lost,
            beats: BTreeMap::new(),
            gone: HashMap::new(),
            schedule: BTreeMap::new(),
            number: 0,
            last_sent: Instant::now(),
            role: Role::Following,
            brake: Brake::default(),
            pulled,
            alive: 0,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>, mut role: watch::Receiver<Role>) {
        let mut sent: JoinSet<Sent> = JoinSet::new();
        loop {
            let next = self.next_slot();
            // Commands are short, and answers come no faster than beats go out: neither keeps the beats from going out.
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Some(Ok(sent)) = sent.join_next() => self.answered(sent),
                Ok(()) = role.changed() => self.take_role(*role.borrow_and_update()),
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    if let Some((_, token)) = self.schedule.pop_first()
                        && let Some(beat) = self.beats.get_mut(&token)
                    {
                        let (clients, source) = (self.clients.clone(), beat.source.clone());
                        let questions = std::mem::take(&mut beat.questions);
                        beat.state = State::UnderWay;
                        self.last_sent = Instant::now();
                        sent.spawn(async move {
                            // A task whose beat panicked must not be left without beats.
                            let beat = AssertUnwindSafe(clients.heartbeat(&source, &token)).catch_unwind().await;
                            let result = beat.unwrap_or_else(|_| Err(SfnError::Passing("the heartbeat panicked".to_owned())));
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
        Some((*due).max(self.last_sent + self.tempo.gap(self.clock.now())))
    }

    /// A worker that takes over beats everything at once: nobody may have for a while.
    fn take_role(&mut self, role: Role) {
        let before = std::mem::replace(&mut self.role, role);
        if before.beats() == role.beats() {
            return;
        }
        let tokens: Vec<TaskToken> = self.beats.keys().cloned().collect();
        for token in tokens {
            match self.beats.get(&token).map(|beat| beat.state) {
                Some(State::Resting) if role.beats() => self.plan(&token, Duration::ZERO),
                Some(State::Due(_)) if !role.beats() => self.put_to_rest(&token),
                _ => {}
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Hold { token, source, signals } => {
                self.remove(&token);
                self.beats.insert(token.clone(), Beat { hold: Some(signals), ..Beat::new(source) });
                let interval = self.interval();
                self.plan(&token, interval);
            }
            Command::Release(token) => {
                if let Some(beat) = self.beats.get_mut(&token) {
                    beat.hold = None;
                    self.put_to_rest(&token);
                }
            }
            Command::Follow { token, source } => self.follow(token, source),
            Command::Ask { token, source, question } => self.ask(&token, source, question),
            Command::Reconsider { token, source } => {
                if let Some(trust) = self.gone.remove(&token) {
                    self.alive += usize::from(trust == Trust::Proven);
                    let beat = Beat { trust, followed: true, counted: true, ..Beat::new(source) };
                    self.beats.insert(token.clone(), beat);
                    self.plan(&token, Duration::ZERO);
                }
            }
            Command::Stop(token) => {
                self.gone.remove(&token);
                self.remove(&token);
            }
        }
    }

    fn follow(&mut self, token: TaskToken, source: ActivityArn) {
        if let Some(trust) = self.gone.get(&token) {
            self.lose(token, *trust);
        } else if let Some(beat) = self.beats.get_mut(&token) {
            beat.followed = true;
            if let Some(signals) = &beat.hold {
                signals.followed.cancel();
            }
        } else {
            self.beats.insert(token.clone(), Beat { followed: true, ..Beat::new(source) });
            if self.role.beats() {
                // Polled by another process, or by this one before it was restarted: it may be close to its limit.
                self.plan(&token, Duration::ZERO);
            }
        }
    }

    fn ask(&mut self, token: &TaskToken, source: ActivityArn, question: Question) {
        if self.gone.contains_key(token) {
            reply(vec![question], Verdict::Gone);
            return;
        }
        let beat = self.beats.entry(token.clone()).or_insert_with(|| Beat::new(source));
        beat.questions.push(question);
        // If a beat is under way, the next one follows its answer.
        if beat.state != State::UnderWay {
            self.plan(token, Duration::ZERO);
        }
    }

    fn answered(&mut self, sent: Sent) {
        let Sent { token, mut questions, result } = sent;
        let interval = self.interval();
        let Some(beat) = self.beats.get_mut(&token) else { return };
        let (outcome, verdict, pause) = match result {
            Ok(()) => {
                self.alive += usize::from(beat.trust == Trust::Unproven);
                beat.trust = Trust::Proven;
                beat.in_trouble = false;
                (Outcome::Accepted, Verdict::Alive, interval)
            }
            Err(SfnError::Gone(Gone::InvalidToken)) if beat.trust == Trust::Unproven => {
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
                let (followed, trust, counted) = (beat.followed, beat.trust, beat.counted);
                questions.append(&mut beat.questions);
                self.remove(&token);
                if followed {
                    if !counted {
                        self.count_death();
                    }
                    self.gone.insert(token.clone(), trust);
                    self.lose(token, trust);
                }
                reply(questions, Verdict::Gone);
                return;
            }
            Err(SfnError::Throttled(reason)) => {
                if self.tempo.throttled(self.clock.now()) {
                    warn!(reason, "heartbeats are throttled: they are sent more slowly for a while");
                }
                (Outcome::Throttled, Verdict::Unknown, interval.min(AFTER_TROUBLE))
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
        self.put_to_rest(&token);
    }

    /// Tells the tracker that nobody waits for a task any more.
    fn lose(&self, token: TaskToken, trust: Trust) {
        // Nobody listens any more only when the worker ends.
        let _ = self.lost.send(Lost { token, trust });
    }

    fn count_death(&mut self) {
        let now = self.clock.now();
        let before = self.brake.holds(now);
        self.brake.died(self.alive, now);
        let until = self.brake.holds(now);
        if before.is_none() && until.is_some() {
            error!(
                alive = self.alive,
                "suspiciously many tasks have died at once: for the next ten minutes no Job is deleted because its task is gone. \
                 Were they stopped on purpose, or is this the wrong account, region or endpoint?"
            );
            self.metrics.braked.inc();
        }
        self.pulled.send_replace(until);
    }

    /// Plans the next beat of a task, instead of the one that was planned, if one was.
    fn plan(&mut self, token: &TaskToken, after: Duration) {
        self.number += 1;
        let due = (Instant::now() + after, self.number);
        if let Some(beat) = self.beats.get_mut(token) {
            let before = std::mem::replace(&mut beat.state, State::Due(due));
            self.unschedule(before);
            self.schedule.insert(due, token.clone());
        }
    }

    /// Lets go of a task that nobody cares for, and beats none that is not this worker's to beat.
    fn put_to_rest(&mut self, token: &TaskToken) {
        let Some(beat) = self.beats.get_mut(token) else { return };
        if !beat.is_known() {
            self.remove(token);
        } else if !beat.is_own() && !self.role.beats() && beat.state != State::UnderWay {
            let before = std::mem::replace(&mut beat.state, State::Resting);
            self.unschedule(before);
        }
    }

    fn unschedule(&mut self, state: State) {
        if let State::Due(due) = state {
            self.schedule.remove(&due);
        }
    }

    fn remove(&mut self, token: &TaskToken) {
        if let Some(beat) = self.beats.remove(token) {
            self.alive -= usize::from(beat.trust == Trust::Proven);
            self.unschedule(beat.state);
            if let Some(signals) = beat.hold {
                signals.gone.cancel();
            }
        }
    }

    /// The interval that the rate allows with so many tasks.
    fn interval(&self) -> Duration {
        let tasks = if self.role.beats() { self.beats.len() } else { self.schedule.len() };
        let tasks = u32::try_from(tasks).unwrap_or(u32::MAX);
        let interval = self.pace.interval.max(self.tempo.gap(self.clock.now()) * tasks);
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
