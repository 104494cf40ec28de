//! The one who sends signals, and who survives.
//!
//! A small `sh` reads orders from a pipe: process groups to look after, and signals to send to them. When the pipe
//! ends, because the sandbox lets go of it or because its process was killed, the shell kills what is left and removes
//! the containers' directories. So no container outlives the sandbox, and no `unsafe` is needed to signal a process group. What makes a session of its
//! own (`setsid`) escapes.

use std::{
    io::{self, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

const SCRIPT: &str = r#"
groups=
while read -r order group; do
  case $order in
    keep) groups="$groups $group" ;;
    drop)
      kept=
      for one in $groups; do [ "$one" = "$group" ] || kept="$kept $one"; done
      groups=$kept ;;
    term) kill -s TERM "$group" ;;
    kill) kill -s KILL -- "-$group" ;;
  esac
done
for one in $groups; do kill -s KILL -- "-$one"; done
rm -rf -- "$1"
"#;

/// The signals that a container gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// TERM to its first process, as a container runtime sends it: the others learn of it from that one.
    Term,
    /// KILL to all of its processes.
    Kill,
}

/// Looks after process groups.
#[derive(Debug)]
pub(crate) struct Reaper {
    shell: Mutex<Shell>,
    /// Holds the directories of the containers.
    directory: PathBuf,
}

#[derive(Debug)]
enum Shell {
    /// No process was started yet.
    Idle,
    Running(Child, ChildStdin),
    /// Nothing may start any more.
    Closed,
}

impl Reaper {
    /// Looks after nothing yet.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { shell: Mutex::new(Shell::Idle), directory }
    }

    /// Starts a process in a group of its own and looks after it from its first moment on.
    pub(crate) fn spawn(&self, command: &mut tokio::process::Command) -> io::Result<(tokio::process::Child, u32)> {
        let mut shell = self.shell();
        if matches!(*shell, Shell::Idle) {
            *shell = start(&self.directory)?;
        }
        let Shell::Running(_, orders) = &mut *shell else {
            return Err(io::Error::other("the sandbox is shutting down"));
        };
        let child = command.process_group(0).spawn()?;
        let group = child.id().ok_or_else(|| io::Error::other("the process has no id"))?;
        writeln!(orders, "keep {group}")?;
        Ok((child, group))
    }

    /// Sends a signal to a process group.
    pub(crate) fn signal(&self, group: u32, signal: Signal) {
        self.order(
            match signal {
                Signal::Term => "term",
                Signal::Kill => "kill",
            },
            group,
        );
    }

    /// Kills what is left of a group and looks after it no longer.
    pub(crate) fn bury(&self, group: u32) {
        self.signal(group, Signal::Kill);
        self.order("drop", group);
    }

    /// Kills every group. Nothing starts afterwards.
    pub(crate) fn close(&self) {
        let shell = std::mem::replace(&mut *self.shell(), Shell::Closed);
        if let Shell::Running(mut child, orders) = shell {
            drop(orders);
            // It ends as soon as it has sent the last signals.
            let _ = child.wait();
        }
    }

    fn order(&self, order: &str, group: u32) {
        if let Shell::Running(_, orders) = &mut *self.shell() {
            let _ = writeln!(orders, "{order} {group}");
        }
    }

    fn shell(&self) -> MutexGuard<'_, Shell> {
        self.shell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.close();
    }
}

fn start(directory: &Path) -> io::Result<Shell> {
    let mut child = Command::new("sh")
        .args(["-c", SCRIPT, "sh"])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A Ctrl-C at the terminal is not meant for it.
        .process_group(0)
        .spawn()?;
    let orders = child.stdin.take().ok_or_else(|| io::Error::other("the shell has no standard input"))?;
    Ok(Shell::Running(child, orders))
}
