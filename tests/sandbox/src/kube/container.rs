//! One container of a pod: image, start, end, and start again.

use std::{io, pin::pin, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{sync::watch, time::Instant};

use super::{
    environment,
    events::Note,
    fields, images,
    kubelet::PodRun,
    log_request::last_words,
    logs::ContainerLog,
    pods::{ContainerView, Ending, Slot, Stage},
    probe::Startup,
    process::{self, until},
    programs::{Container, Programs, Script},
    script,
};

/// The longest pause between two attempts to start or to pull (the kubelet's own).
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What a pod's containers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Run.
    Run,
    /// End: TERM now, KILL at this time.
    Stop(Instant),
    /// KILL.
    Kill,
}

/// How a container's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) reason: String,
    pub(crate) message: Option<String>,
    /// `false` if there never was a process.
    pub(crate) started: bool,
}

impl Exit {
    pub(crate) fn code(code: i32) -> Self {
        let reason = if code == 0 { "Completed" } else { "Error" };
        Self { code, reason: reason.to_owned(), message: None, started: true }
    }

    /// The container runtime's words for a program that does not start.
    pub(crate) fn not_started(error: &io::Error, argv: &[String]) -> Self {
        let program = argv.first().map_or("", String::as_str);
        let why = match error.kind() {
            io::ErrorKind::NotFound if argv.is_empty() => "no command specified".to_owned(),
            io::ErrorKind::NotFound if program.contains('/') => {
                format!("exec: \"{program}\": stat {program}: no such file or directory")
            }
            io::ErrorKind::NotFound => format!("exec: \"{program}\": executable file not found in $PATH"),
            _ => format!("exec: \"{program}\": {error}"),
        };
        let message = format!(
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create \
             failed: unable to start container process: {why}: unknown"
        );
        Self { code: 128, reason: "StartError".to_owned(), message: Some(message), started: false }
    }
}

/// What stands between a container and its start.
enum Obstacle {
    /// The image cannot be had.
    Image,
    /// Something that its configuration names does not exist.
    Configuration(String),
}

/// A container that is ready to start.
struct Ready {
    container: Container,
    program: Program,
}

enum Program {
    Process(Vec<String>, Option<Startup>),
    Script(Script),
}

/// When a container starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Never,
    OnFailure,
    Always,
}

impl Restart {
    /// The policy of a pod.
    pub(crate) fn of(pod: &Value) -> Self {
        match fields::text(pod, "/spec/restartPolicy") {
            "Never" => Self::Never,
            "OnFailure" => Self::OnFailure,
            _ => Self::Always,
        }
    }

    fn applies(self, code: i32) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure => code != 0,
            Self::Always => true,
        }
    }
}

/// Runs one container until it is over for good. The exit code of its last run; `None` if it never ran.
pub(crate) async fn run(pod: &PodRun, slot: Slot, restart: Restart, mut orders: watch::Receiver<Order>) -> Option<i32> {
    let config = pod.shared.config.clone();
    let mut pull_pause = config.image_pull_backoff;
    // The first restart comes at once, the next ones after ever longer pauses.
    let mut restart_pause = Duration::ZERO;
    loop {
        let ready = match prepare(pod, slot) {
            Ok(ready) => ready,
            Err(obstacle) => {
                hindered(pod, slot, &obstacle);
                if told_to_stop(&mut orders, pull_pause).await {
                    return None;
                }
                still_hindered(pod, slot, &obstacle);
                if told_to_stop(&mut orders, pull_pause).await {
                    return None;
                }
                pull_pause = (pull_pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        if *orders.borrow() != Order::Run {
            return None;
        }
        let exit = start(pod, slot, ready, &mut orders).await;
        if *orders.borrow() != Order::Run || !restart.applies(exit.code) {
            return Some(exit.code);
        }
        if !restart_pause.is_zero() {
            let name = pod.view().container(slot).map(|view| view.name.clone()).unwrap_or_default();
            let message = format!("back-off {}s restarting failed container={name}", restart_pause.as_secs());
            pod.note(&Note::warning("BackOff", format!("Back-off restarting failed container {name}")));
            back_off(pod, slot, &message);
            if told_to_stop(&mut orders, restart_pause).await {
                return Some(exit.code);
            }
        }
        restart_pause = (restart_pause * 2).max(config.container_restart_backoff).min(LONGEST_PAUSE);
    }
}

/// Waits so long, or until the pod is told to end.
async fn told_to_stop(orders: &mut watch::Receiver<Order>, pause: Duration) -> bool {
    let end = Instant::now() + pause;
    tokio::select! {
        biased;
        _ = orders.wait_for(|order| *order != Order::Run) => true,
        () = until(Some(end)) => false,
    }
}

fn prepare(pod: &PodRun, slot: Slot) -> Result<Ready, Obstacle> {
    let (object, spec, restarts) = pod.container(slot).ok_or(Obstacle::Image)?;
    let image = fields::text(&spec, "/image").to_owned();
    let env = environment::resolve(&pod.shared.state(), &object, &spec).map_err(Obstacle::Configuration)?;
    let resolved = |list: &str| -> Vec<String> {
        fields::texts(&spec, list).iter().map(|word| environment::expand(word, &env)).collect()
    };
    let container = Container {
        namespace: fields::namespace(&object).to_owned(),
        pod: fields::name(&object).to_owned(),
        job: fields::controller(&object).map(|owner| fields::text(owner, "/name").to_owned()).unwrap_or_default(),
        name: fields::text(&spec, "/name").to_owned(),
        image,
        command: resolved("/command"),
        args: resolved("/args"),
        env,
        restarts,
    };
    match &pod.shared.config.programs {
        Programs::Scripted(script) => {
            let script = script(&container).ok_or(Obstacle::Image)?;
            Ok(Ready { container, program: Program::Script(script) })
        }
        Programs::Local => {
            let image = images::find(&container.image).ok_or(Obstacle::Image)?;
            let mut argv: Vec<String> = container.command.iter().chain(&container.args).cloned().collect();
            if argv.is_empty() {
                argv = image.default.iter().map(|word| (*word).to_owned()).collect();
            }
            Ok(Ready { container, program: Program::Process(argv, Startup::of(&spec)) })
        }
    }
}

async fn start(pod: &PodRun, slot: Slot, ready: Ready, orders: &mut watch::Receiver<Order>) -> Exit {
    let Ready { container, program } = ready;
    let probed = matches!(&program, Program::Process(_, Some(_)));
    let Container { name, image, .. } = &container;
    pod.note(&Note::normal("Pulled", format!("Container image \"{image}\" already present on machine")));
    pod.note(&Note::normal("Created", format!("Created container: {name}")));
    let log = pod.shared.logs.open(&pod.uid, name);
    let started = pod.shared.state().clock.seconds();
    let id = format!("sandbox://{}", pod.shared.state().generator.uid());
    let running = || {
        pod.change(slot, |view| {
            begin(view, &id);
            view.stage = Stage::Running { since: started.clone() };
            view.started = !probed;
        });
        pod.note(&Note::normal("Started", format!("Started container {name}")));
    };
    let mut exit = match program {
        Program::Process(argv, None) => process::run(&pod.shared, &container, &argv, &log, orders, running).await,
        Program::Process(argv, Some(startup)) => {
            // What the pod is told, and what a failing probe orders.
            let (own, mut own_orders) = watch::channel(Order::Run);
            let run = process::run(&pod.shared, &container, &argv, &log, &mut own_orders, running);
            let probing = probe(pod, slot, &container, &startup, &own);
            relayed(run, probing, orders, &own).await
        }
        Program::Script(script) => {
            running();
            script::run(&pod.shared, script, &log, orders).await
        }
    };
    log.end();
    end(pod, slot, &log, &mut exit, started, &id);
    exit
}

/// A container's run, with orders of its own.
async fn relayed(
    run: impl Future<Output = Exit>,
    probing: impl Future<Output = ()>,
    orders: &mut watch::Receiver<Order>,
    own: &watch::Sender<Order>,
) -> Exit {
    let (mut run, mut probing) = (pin!(run), pin!(probing));
    let mut is_probing = true;
    orders.mark_changed();
    loop {
        tokio::select! {
            biased;
            exit = &mut run => return exit,
            order = process::next(orders) => if order != Order::Run { own.send_replace(order); },
            () = &mut probing, if is_probing => is_probing = false,
        }
    }
}

/// The container has started once its probe passes. Where it fails too often, the container is to end.
async fn probe(pod: &PodRun, slot: Slot, container: &Container, startup: &Startup, own: &watch::Sender<Order>) {
    if startup.passes(&pod.shared, container).await {
        pod.change(slot, |view| view.started = true);
        return;
    }
    let name = &container.name;
    pod.note(&Note::warning("Unhealthy", "Startup probe failed: "));
    pod.note(&Note::normal("Killing", format!("Container {name} failed startup probe, will be restarted")));
    own.send_replace(Order::Stop(Instant::now() + pod.grace()));
}

fn end(pod: &PodRun, slot: Slot, log: &Arc<ContainerLog>, exit: &mut Exit, started: String, id: &str) {
    if !exit.started {
        let message = format!("Error: {}", exit.message.as_deref().unwrap_or_default());
        pod.note(&Note::warning("Failed", message));
    }
    let falls_back = pod
        .container(slot)
        .is_some_and(|(_, spec, _)| fields::text(&spec, "/terminationMessagePolicy") == "FallbackToLogsOnError");
    if exit.code != 0 && exit.message.is_none() && falls_back {
        exit.message = Some(last_words(log)).filter(|words| !words.is_empty());
    }
    let started = if exit.started { started } else { "1970-01-01T00:00:00Z".to_owned() };
    let ending = Ending {
        code: exit.code,
        reason: exit.reason.clone(),
        message: exit.message.clone(),
        started,
        finished: pod.shared.state().clock.seconds(),
        id: id.to_owned(),
    };
    pod.change(slot, |view| {
        if !exit.started {
            begin(view, id);
        }
        view.stage = Stage::Terminated(ending);
    });
}

/// The next run begins: how the last one ended is history now.
fn begin(view: &mut ContainerView, id: &str) {
    if let Stage::Terminated(ending) = &view.stage {
        view.last = Some(ending.clone());
    }
    if !view.id.is_empty() {
        view.restarts += 1;
    }
    id.clone_into(&mut view.id);
}

fn back_off(pod: &PodRun, slot: Slot, message: &str) {
    pod.change(slot, |view| {
        if let Stage::Terminated(ending) = &view.stage {
            view.last = Some(ending.clone());
        }
        view.stage = Stage::waiting("CrashLoopBackOff", Some(message.to_owned()));
    });
}

fn hindered(pod: &PodRun, slot: Slot, obstacle: &Obstacle) {
    let image = pod.view().container(slot).map(|view| view.image.clone()).unwrap_or_default();
    match obstacle {
        Obstacle::Image => {
            let why = not_found(&image);
            pod.note(&Note::normal("Pulling", format!("Pulling image \"{image}\"")));
            pod.note(&Note::warning("Failed", format!("Failed to pull image \"{image}\": {why}")));
            pod.note(&Note::warning("Failed", "Error: ErrImagePull"));
            pod.change(slot, |view| view.stage = Stage::waiting("ErrImagePull", Some(why)));
        }
        Obstacle::Configuration(missing) => {
            pod.note(&Note::warning("Failed", format!("Error: {missing}")));
            let message = missing.clone();
            pod.change(slot, |view| view.stage = Stage::waiting("CreateContainerConfigError", Some(message)));
        }
    }
}

fn still_hindered(pod: &PodRun, slot: Slot, obstacle: &Obstacle) {
    if matches!(obstacle, Obstacle::Configuration(_)) {
        return;
    }
    let image = pod.view().container(slot).map(|view| view.image.clone()).unwrap_or_default();
    pod.note(&Note::normal("BackOff", format!("Back-off pulling image \"{image}\"")));
    pod.note(&Note::warning("Failed", "Error: ImagePullBackOff"));
    // The kubelet says between two attempts, too, what went wrong with the last one.
    let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {}", not_found(&image));
    pod.change(slot, |view| view.stage = Stage::waiting("ImagePullBackOff", Some(message)));
}

fn not_found(image: &str) -> String {
    format!("failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found")
}
