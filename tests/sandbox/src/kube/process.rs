//! A container as a local process.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    process::{Child, Command},
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Shared,
    container::{Exit, Order},
    logs::ContainerLog,
    programs::Container,
};
use crate::reaper::Signal;

/// How long to wait for the last output when something outside of the process group still holds the pipe.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// A running process group. Dropped, it is killed, and its directory is removed.
struct Group {
    shared: Arc<Shared>,
    child: Child,
    id: u32,
    output: pipe::Receiver,
    directory: PathBuf,
}

/// Runs a container to its end.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    container: &Container,
    argv: &[String],
    log: &ContainerLog,
    orders: &mut watch::Receiver<Order>,
    started: impl FnOnce(),
) -> Exit {
    match Group::start(shared, container, argv) {
        Ok(group) => {
            started();
            group.run(log, orders).await
        }
        Err(error) => Exit::not_started(&error, argv),
    }
}

impl Group {
    fn start(shared: &Arc<Shared>, container: &Container, argv: &[String]) -> io::Result<Self> {
        let (program, arguments) =
            argv.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no command"))?;
        let directory = shared.new_directory();
        std::fs::create_dir_all(&directory)?;
        let (reader, writer) = io::pipe()?;
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &directory)
            .env("HOSTNAME", &container.pod)
            .envs(container.env.iter().map(|(key, value)| (key, value)))
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .kill_on_drop(true);
        let spawned = shared.reaper.spawn(&mut command);
        // The command holds the pipe's writing end, and with it the end of the output.
        drop(command);
        let (child, id) = spawned.inspect_err(|_| {
            let _ = std::fs::remove_dir_all(&directory);
        })?;
        shared.running.fetch_add(1, Ordering::SeqCst);
        shared.news.send_replace(());
        Ok(Self { shared: shared.clone(), child, id, output, directory })
    }

    async fn run(mut self, log: &ContainerLog, orders: &mut watch::Receiver<Order>) -> Exit {
        let mut buffer = Vec::with_capacity(64 * 1024);
        let mut exited: Option<ExitStatus> = None;
        let mut output_ended = false;
        let mut asked_to_end = false;
        // KILL while it runs, the end of patience with the pipe afterwards.
        let mut limit: Option<Instant> = None;
        orders.mark_changed();
        while exited.is_none() || !output_ended {
            tokio::select! {
                biased;
                order = next(orders), if exited.is_none() => match order {
                    Order::Run => {}
                    Order::Stop(at) => {
                        if !std::mem::replace(&mut asked_to_end, true) {
                            self.shared.reaper.signal(self.id, Signal::Term);
                        }
                        limit = Some(at);
                    }
                    Order::Kill => self.shared.reaper.signal(self.id, Signal::Kill),
                },
                read = self.output.read_buf(&mut buffer), if !output_ended => {
                    output_ended = !matches!(read, Ok(1..));
                    log.append(&buffer, self.shared.now());
                    self.shared.news.send_replace(());
                    buffer.clear();
                },
                status = self.child.wait(), if exited.is_none() => {
                    exited = Some(status.unwrap_or_default());
                    // With its first process a container ends as a whole.
                    self.shared.reaper.signal(self.id, Signal::Kill);
                    limit = Some(Instant::now() + LAST_OUTPUT);
                },
                () = until(limit) => {
                    if exited.is_some() {
                        break;
                    }
                    self.shared.reaper.signal(self.id, Signal::Kill);
                    limit = None;
                },
            }
        }
        Exit::code(exit_code(exited.unwrap_or_default()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.shared.reaper.bury(self.id);
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
        self.shared.news.send_replace(());
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The next order.
pub(crate) async fn next(orders: &mut watch::Receiver<Order>) -> Order {
    match orders.changed().await {
        Ok(()) => *orders.borrow_and_update(),
        // Nobody is left to give one.
        Err(_) => std::future::pending().await,
    }
}

/// Sleeps until then, or for ever.
pub(crate) async fn until(limit: Option<Instant>) {
    match limit {
        Some(limit) => sleep_until(limit).await,
        None => std::future::pending().await,
    }
}

/// As a shell counts: 128 and the signal's number for a death by signal.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}
