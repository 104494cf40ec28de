//! The table itself: when each task is due, what its beats have shown, and who has to be told.

use std::{
    collections::{BTreeMap, HashMap},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use runjob_core::{arn::Source, brake::Brake, lease::Role, owner::OwnerKey, progress::Moment, token::TaskToken};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{debug, error, warn};

use super::{Budget, Command, Lost, Question, Signals, Trust, Verdict, budget::Tasks};
use crate::{
    clock::Clock,
    metrics::{Metrics, Outcome},
    sfn::{Clients, Gone, SfnError},
};

/// After a heartbeat that did not get through, the next comes sooner than usual: the task may be close to its limit.
const AFTER_TROUBLE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Beat {
    source: Source,
    state: State,
    /// LocalStack calls every token of a state without `HeartbeatSeconds` invalid, so this may never come.
    trust: Trust,
    followed: bool,
    /// Whether it was found to be gone before, and doubted: the brake has counted it already.
    counted: bool,
    in_trouble: bool,
    /// Those who hold the task, by number: a task may be delivered twice.
    holds: Vec<(u64, Signals)>,
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

/// How a task was found to be gone.
#[derive(Debug, Clone, Copy)]
struct Death {
    trust: Trust,
    at: Moment,
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
    budget: Budget,
    /// How many there are, as the budget knows it.
    tasks: Tasks,
    clock: Clock,
    lost: mpsc::UnboundedSender<Lost>,
    /// In order: those that are begun together are begun in an order that can be told.
    beats: BTreeMap<TaskToken, Beat>,
    /// Followed tasks that were found to be gone, until the tracker is done with their Jobs. It was proven once; another
    /// heartbeat might not prove it again, unless it is known whether the token was ever accepted.
    gone: HashMap<TaskToken, Death>,
    schedule: BTreeMap<Due, TaskToken>,
    number: u64,
    /// The slot that is this table's, for the beat that is due first.
    slot: Option<Instant>,
    /// Whether the tasks of watched Jobs are this worker's to beat.
    role: Role,
    brake: Brake,
    pulled: watch::Sender<Option<Moment>>,
    /// How many tasks this process has seen alive, and not gone since.
    alive: usize,
}

impl Beat {
    fn new(source: Source) -> Self {
        Self {
            source,
            state: State::Resting,
            trust: Trust::Unproven,
            followed: false,
            counted: false,
            in_trouble: false,
            holds: Vec::new(),
            questions: Vec::new(),
        }
    }

    /// Whether anybody cares for the task.
    fn is_known(&self) -> bool {
        self.followed || self.is_own()
    }

    /// Whether it is this worker's to beat, whatever its role.
    fn is_own(&self) -> bool {
        !self.holds.is_empty() || !self.questions.is_empty()
    }
}

impl Table {
    pub(super) fn new(
        clients: Clients,
        metrics: Arc<Metrics>,
        budget: &Budget,
        clock: Clock,
        lost: mpsc::UnboundedSender<Lost>,
        pulled: watch::Sender<Option<Moment>>,
    ) -> Self {
        Self {
            clients,
            metrics,
            budget: budget.clone(),
            tasks: budget.tasks(),
            clock,
            lost,
            beats: BTreeMap::new(),
            gone: HashMap::new(),
            schedule: BTreeMap::new(),
            number: 0,
            slot: None,
            role: Role::Following,
            brake: Brake::default(),
            pulled,
            alive: 0,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>, mut role: watch::Receiver<Role>) {
        let mut sent: JoinSet<Sent> = JoinSet::new();
        loop {
            self.count_tasks();
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
                    if self.has_slot()
                        && let Some((_, token)) = self.schedule.pop_first()
                        && let Some(beat) = self.beats.get_mut(&token)
                    {
                        let (clients, source, metrics) = (self.clients.clone(), beat.source.clone(), self.metrics.clone());
                        let questions = std::mem::take(&mut beat.questions);
                        beat.state = State::UnderWay;
                        self.slot = None;
                        sent.spawn(async move {
                            let beat = AssertUnwindSafe(clients.heartbeat(&source, &token)).catch_unwind().await;
                            // A beat that is never answered for would be the task's last.
                            let result = beat.unwrap_or_else(|_| {
                                metrics.panics.inc();
                                Err(SfnError::Passing("the heartbeat panicked".to_owned()))
                            });
                            Sent { token, questions, result }
                        });
                    }
                }
            }
        }
    }

    /// When the next beat is to go out, or its slot to be taken: when it is due, and in a slot.
    fn next_slot(&self) -> Option<Instant> {
        let ((due, _), _) = self.schedule.first_key_value()?;
        Some(self.slot.map_or(*due, |slot| slot.max(*due)))
    }

    /// Whether the beat that is due first may go out now. If not, its slot is taken, and still to come.
    fn has_slot(&mut self) -> bool {
        let Some(((due, _), _)) = self.schedule.first_key_value() else { return false };
        let slot = *self.slot.get_or_insert_with(|| self.budget.slot(*due));
        slot <= Instant::now()
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
            Command::Hold { token, source, number, signals } => {
                let interval = self.budget.planned_interval();
                let beat = self.beats.entry(token.clone()).or_insert_with(|| Beat::new(source));
                if beat.followed {
                    signals.followed.cancel();
                }
                beat.holds.push((number, signals));
                if beat.state == State::Resting {
                    self.plan(&token, interval);
                }
            }
            Command::Release { token, number } => {
                if let Some(beat) = self.beats.get_mut(&token) {
                    beat.holds.retain(|(other, _)| *other != number);
                    self.put_to_rest(&token);
                }
            }
            Command::Follow { token, source } => self.follow(token, source),
            Command::Ask { token, source, question } => self.ask(&token, source, question),
            Command::Known(asked) => {
                // Whoever asked may have given up.
                let _ = asked.send(self.beats.keys().chain(self.gone.keys()).cloned().collect());
            }
            Command::AskAll(asked) => {
                let followed = self.beats.iter().filter(|(_, beat)| beat.followed);
                let followed: Vec<_> = followed.map(|(token, beat)| (token.clone(), beat.source.clone())).collect();
                let ask = |(token, source)| {
                    let (question, verdict) = oneshot::channel();
                    self.ask(&token, source, question);
                    verdict
                };
                // Whoever asked may have given up.
                let _ = asked.send(followed.into_iter().map(ask).collect());
            }
            Command::Reconsider { token, source } => {
                if let Some(death) = self.gone.remove(&token) {
                    self.reconsider(&token, source, death);
                }
            }
            Command::Stop(token) => {
                self.gone.remove(&token);
                self.remove(&token);
            }
        }
    }

    /// A followed task that was found to be gone counts as alive until it was asked for once more.
    fn reconsider(&mut self, token: &TaskToken, source: Source, death: Death) {
        self.alive += usize::from(death.trust == Trust::Proven);
        let beat = Beat { trust: death.trust, followed: true, counted: true, ..Beat::new(source) };
        self.beats.insert(token.clone(), beat);
        self.plan(token, Duration::ZERO);
    }

    fn follow(&mut self, token: TaskToken, source: Source) {
        if let Some(death) = self.gone.get(&token) {
            self.lose(token, death.trust);
        } else if let Some(beat) = self.beats.get_mut(&token) {
            beat.followed = true;
            beat.holds.iter().for_each(|(_, signals)| signals.followed.cancel());
        } else {
            self.beats.insert(token.clone(), Beat { followed: true, ..Beat::new(source) });
            if self.role.beats() {
                // Polled by another process, or by this one before it was restarted: it may be close to its limit.
                self.plan(&token, Duration::ZERO);
            }
        }
    }

    fn ask(&mut self, token: &TaskToken, source: Source, question: Question) {
        match self.gone.get(token).copied() {
            Some(death) if self.brake.doubts(death.at) => {
                self.gone.remove(token);
                self.reconsider(token, source.clone(), death);
            }
            Some(_) => {
                reply(vec![question], Verdict::Gone);
                return;
            }
            None => {}
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
        self.tell_interval();
        let interval = self.budget.planned_interval();
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
                    self.gone.insert(token.clone(), Death { trust, at: self.clock.now() });
                    self.lose(token, trust);
                }
                reply(questions, Verdict::Gone);
                return;
            }
            Err(SfnError::Throttled(reason)) => {
                if self.budget.throttled() {
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
            beat.holds.iter().for_each(|(_, signals)| signals.gone.cancel());
        }
    }

    /// For whoever looks at the metrics.
    fn tell_interval(&self) {
        self.metrics.beating_every(self.budget.interval());
    }

    /// Tells the budget how many tasks this table beats.
    fn count_tasks(&mut self) {
        self.tasks.are(if self.role.beats() { self.beats.len() } else { self.schedule.len() });
    }
}

fn reply(questions: Vec<Question>, verdict: Verdict) {
    for question in questions {
        // Whoever asked may have given up.
        let _ = question.send(verdict);
    }
}
