//! One execution environment at work: the process, its Runtime API, and the invocation it is at.

use std::{
    fs::File,
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    process::{Child, Command},
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Between, Bootstrap, Environment, EnvironmentState, FunctionError, Invocation,
    deployed::{Control, Surroundings},
    locked,
    noted::{Noted, Place},
    runtime_api::{Handout, Outcome, RuntimeApi, Said},
};
use crate::{
    front::Front,
    reaper::Reaper,
    serve::{Served, serve},
};

const KILLED: &str = "signal: killed";

/// Dropped, its process is killed.
pub(super) struct Instance {
    place: Place,
    environments: Noted<Environment>,
    between: Between,
    api: Arc<RuntimeApi>,
    said: mpsc::UnboundedReceiver<Said>,
    started: Instant,
    child: Child,
    group: u32,
    reaper: Arc<Reaper>,
    killed: CancellationToken,
    _served: Served,
}

/// What happens to a process.
enum Happened {
    Said(Said),
    Exited(Option<String>),
    Late,
}

impl Instance {
    /// Starts a process. It is noted even if it cannot be started.
    pub(super) async fn start(
        surroundings: &Surroundings,
        bootstrap: &Bootstrap,
        environments: &Noted<Environment>,
        controls: &Mutex<Vec<Control>>,
    ) -> io::Result<Self> {
        let (tell, said) = mpsc::unbounded_channel();
        let api = RuntimeApi::new(tell);
        let served = serve(Front::new(api.clone())).await?;
        let killed = CancellationToken::new();
        let (place, log) = {
            // Both lists have the same order.
            let mut controls = locked(controls);
            let place = environments.add(Environment {
                number: controls.len(),
                process: None,
                init: None,
                invocations: 0,
                state: EnvironmentState::Starting,
            });
            let log = surroundings.directory.join(format!("{}-{}.log", surroundings.name, place.0));
            controls.push(Control { api: api.clone(), killed: killed.clone(), log: log.clone() });
            (place, log)
        };
        let started = Instant::now();
        let spawned = std::fs::create_dir_all(&surroundings.directory)
            .and_then(|()| File::create(&log))
            .and_then(|log| command(surroundings, bootstrap, &served, log))
            .and_then(|mut command| surroundings.reaper.spawn(&mut command));
        let ended = |error: &io::Error| {
            environments.change(place, |environment| environment.state = EnvironmentState::Ended(error.to_string()));
        };
        let (child, group) = spawned.inspect_err(ended)?;
        environments.change(place, |environment| environment.process = Some(group));
        let (environments, reaper) = (environments.clone(), surroundings.reaper.clone());
        let between = bootstrap.between;
        Ok(Self { place, environments, between, api, said, started, child, group, reaper, killed, _served: served })
    }

    pub(super) fn number(&self) -> usize {
        self.place.0
    }

    /// Waits until the process asks for its first invocation.
    pub(super) async fn ready(&mut self, request_id: &str, limit: Duration) -> Result<(), FunctionError> {
        let due = self.started + limit;
        loop {
            match self.happens(due).await {
                Happened::Said(Said::Ready) => break,
                Happened::Said(Said::InitFailed(error)) => {
                    self.end("it could not start");
                    return Err(error);
                }
                // There is nothing to answer yet, and the Runtime API has said so.
                Happened::Said(Said::Answered(_)) => {}
                Happened::Exited(how) => return Err(self.exited(request_id, how.as_deref())),
                Happened::Late => {
                    self.end("it did not start in time");
                    return Err(FunctionError::timed_out(request_id, limit));
                }
            }
        }
        let init = self.started.elapsed();
        self.environments.change(self.place, |environment| environment.init = Some(init));
        Ok(())
    }

    /// Carries out an invocation, until the process asks for the next one or is no more.
    pub(super) async fn run(&mut self, invocation: &Invocation, timeout: Duration) -> Outcome {
        self.environments.change(self.place, |environment| {
            environment.invocations += 1;
            environment.state = EnvironmentState::Busy;
        });
        if self.between == Between::Frozen {
            self.signal("CONT").await;
        }
        let mut waiting = Some(Box::new(Handout::of(invocation, timeout)));
        let mut answer: Option<Outcome> = None;
        loop {
            // A runtime whose poll was lost asks again.
            waiting = waiting.and_then(|handout| self.api.hand_out(handout).err());
            match self.happens(invocation.deadline).await {
                Happened::Said(Said::Answered(outcome)) => answer = Some(outcome),
                Happened::Said(Said::Ready) => {
                    if let Some(outcome) = answer.take() {
                        return outcome;
                    }
                }
                // Too late for that: the Runtime API has said so.
                Happened::Said(Said::InitFailed(_)) => {}
                Happened::Exited(how) => {
                    let exited = self.exited(&invocation.request_id, how.as_deref());
                    return answer.unwrap_or(Err(exited));
                }
                Happened::Late => {
                    self.end("its time was up");
                    return answer.unwrap_or_else(|| Err(FunctionError::timed_out(&invocation.request_id, timeout)));
                }
            }
        }
    }

    /// Lies down until the next invocation. `false`: the environment is no more.
    pub(super) async fn rest(&mut self) -> bool {
        if self.has_ended() {
            return false;
        }
        if self.between == Between::Frozen {
            self.signal("STOP").await;
        }
        self.environments.change(self.place, |environment| environment.state = EnvironmentState::Idle);
        true
    }

    /// Itself, if its process has not ended meanwhile.
    pub(super) fn usable(mut self) -> Option<Self> {
        let lives = matches!(self.child.try_wait(), Ok(None));
        (lives && !self.killed.is_cancelled()).then_some(self)
    }

    async fn happens(&mut self, due: Instant) -> Happened {
        tokio::select! {
            biased;
            () = self.killed.cancelled() => Happened::Exited(Some(KILLED.to_owned())),
            // The other end is in `self`.
            Some(said) = self.said.recv() => Happened::Said(said),
            status = self.child.wait() => Happened::Exited(how(status.unwrap_or_default())),
            () = sleep_until(due) => Happened::Late,
        }
    }

    fn exited(&self, request_id: &str, how: Option<&str>) -> FunctionError {
        self.end(how.unwrap_or("exit status 0"));
        FunctionError::exited(request_id, how)
    }

    fn end(&self, how: &str) {
        self.reaper.bury(self.group);
        self.environments.change(self.place, |environment| environment.state = EnvironmentState::Ended(how.to_owned()));
    }

    fn has_ended(&self) -> bool {
        let environment = self.environments.all().into_iter().nth(self.place.0);
        environment.is_none_or(|environment| matches!(environment.state, EnvironmentState::Ended(_)))
    }

    /// Returns when the signal was sent. A process that is no more is noticed elsewhere.
    async fn signal(&self, signal: &str) {
        let group = format!("-{}", self.group);
        let _ = Command::new("kill").args(["-s", signal, "--", &group]).stderr(Stdio::null()).status().await;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.end(KILLED);
        }
    }
}

impl Handout {
    fn of(invocation: &Invocation, timeout: Duration) -> Self {
        let deadline = (SystemTime::now() + timeout).duration_since(UNIX_EPOCH).unwrap_or_default();
        let trace = invocation.request_id.replace('-', "");
        let (time, rest) = trace.split_at_checked(8).unwrap_or_default();
        Self {
            request_id: invocation.request_id.clone(),
            function: invocation.function.clone(),
            deadline_ms: deadline.as_millis(),
            trace_id: format!("Root=1-{time}-{rest};Sampled=0"),
            payload: invocation.payload.to_string().into(),
        }
    }
}

/// Nothing of this process's own environment is handed on but where programs are.
fn command(surroundings: &Surroundings, bootstrap: &Bootstrap, served: &Served, log: File) -> io::Result<Command> {
    let Surroundings { name, region, directory, .. } = surroundings;
    let url = served.url();
    let mut command = Command::new(&bootstrap.program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .env("TZ", ":UTC")
        .env("LAMBDA_TASK_ROOT", directory)
        .env("_HANDLER", "bootstrap")
        .env("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023")
        .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        .env("AWS_LAMBDA_RUNTIME_API", url.strip_prefix("http://").unwrap_or(&url))
        .env("AWS_LAMBDA_FUNCTION_NAME", name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", bootstrap.memory.to_string())
        .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}"))
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "sandbox")
        .env("AWS_REGION", region)
        .env("AWS_DEFAULT_REGION", region)
        .envs(&bootstrap.environment)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    Ok(command)
}

/// As AWS words the end of a process. `None`: without a complaint.
fn how(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) | (None, None) => None,
        (Some(code), _) => Some(format!("exit status {code}")),
        (None, Some(6)) => Some("signal: aborted".to_owned()),
        (None, Some(9)) => Some(KILLED.to_owned()),
        (None, Some(11)) => Some("signal: segmentation fault".to_owned()),
        (None, Some(15)) => Some("signal: terminated".to_owned()),
        (None, Some(signal)) => Some(format!("signal: {signal}")),
    }
}
