//! The startup probe of a container: its command (`exec`), as a process beside the container's own. Scripts have none.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{sync::watch, time::sleep};

use super::{Shared, container::Order, fields, logs::ContainerLog, process, programs::Container};

/// A startup probe.
pub(crate) struct Startup {
    command: Vec<String>,
    first: Duration,
    period: Duration,
    attempts: i64,
}

impl Startup {
    /// That of a container's manifest, if it has one that runs a command.
    pub(crate) fn of(spec: &Value) -> Option<Self> {
        let command = fields::texts(spec, "/startupProbe/exec/command");
        let number =
            |field: &str, default: i64| fields::integer(spec, &format!("/startupProbe/{field}")).unwrap_or(default);
        let seconds = |number: i64| Duration::from_secs(u64::try_from(number).unwrap_or_default());
        (!command.is_empty()).then(|| Self {
            command,
            first: seconds(number("initialDelaySeconds", 0)),
            period: seconds(number("periodSeconds", 10).max(1)),
            attempts: number("failureThreshold", 3).max(1),
        })
    }

    /// Tries until it has passed (true), or failed too often (false).
    pub(crate) async fn passes(&self, shared: &Arc<Shared>, container: &Container) -> bool {
        sleep(self.first).await;
        for _ in 0..self.attempts {
            sleep(self.period).await;
            let (_orders, mut receiver) = watch::channel(Order::Run);
            let output = ContainerLog::default();
            let exit = process::run(shared, container, &self.command, &output, &mut receiver, || {}).await;
            if exit.code == 0 {
                return true;
            }
        }
        false
    }
}
