//! How regularly tasks were kept alive, as the service has seen it.

use std::{collections::BTreeMap, time::Duration};

use runjob_sandbox::memory::{Journal, Line};
use serde_json::Value;

/// The longest time that any task was left alone between two accepted calls, and the number of accepted heartbeats.
pub(crate) fn longest_gap(journal: &Journal) -> (Duration, usize) {
    let mut last: BTreeMap<String, Duration> = BTreeMap::new();
    let (mut longest, mut beats) = (Duration::ZERO, 0);
    for line in journal.all() {
        let Some((token, at)) = accepted(&line) else { continue };
        beats += usize::from(line.kind == "SendTaskHeartbeat");
        if let Some(before) = last.insert(token, at) {
            longest = longest.max(at.saturating_sub(before));
        }
    }
    (longest, beats)
}

/// The token of a heartbeat or an answer that was accepted, and when.
fn accepted(line: &Line) -> Option<(String, Duration)> {
    let (at, status) = line.answered?;
    let of_a_task = line.kind.starts_with("SendTask") && status.is_success();
    let body: Value = serde_json::from_slice(&line.body).ok().filter(|_| of_a_task)?;
    Some((body.get("taskToken")?.as_str()?.to_owned(), at))
}
