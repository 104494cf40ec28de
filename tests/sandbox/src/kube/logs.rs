//! What containers printed, byte by byte, with the time of each line.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::watch;

use super::clock;

/// The log of one run of a container.
#[derive(Debug, Default)]
pub(crate) struct ContainerLog {
    content: Mutex<Content>,
    grown: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    lines: Vec<Line>,
    ended: bool,
}

/// Where a line starts, and when its first byte arrived.
#[derive(Debug, Clone, Copy)]
struct Line {
    start: usize,
    at: Timestamp,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct From {
    /// Only so many lines at the end.
    pub(crate) tail: Option<usize>,
    /// Only lines that arrived at this time or later.
    pub(crate) since: Option<Timestamp>,
}

/// A piece of a log.
#[derive(Debug)]
pub(crate) struct Piece {
    /// The bytes, with times if asked for.
    pub(crate) bytes: Vec<u8>,
    /// Where the next piece begins.
    pub(crate) next: usize,
    /// Nothing will follow.
    pub(crate) last: bool,
}

impl ContainerLog {
    /// Adds what a container printed.
    pub(crate) fn append(&self, bytes: &[u8], at: Timestamp) {
        let mut content = self.content();
        let mut start = content.bytes.len();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let fresh = content.bytes.last().is_none_or(|byte| *byte == b'\n');
            if fresh {
                content.lines.push(Line { start, at });
            }
            content.bytes.extend_from_slice(line);
            start += line.len();
        }
        drop(content);
        self.grown.send_replace(());
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        self.content().ended = true;
        self.grown.send_replace(());
    }

    /// Everything so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.content().bytes.clone()
    }

    /// Learns of every addition and of the end.
    pub(crate) fn growth(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }

    /// The position where reading begins.
    pub(crate) fn start(&self, from: From) -> usize {
        let content = self.content();
        let tail = from.tail.map_or(0, |tail| content.lines.len().saturating_sub(tail));
        let since = from.since.map_or(0, |since| content.lines.partition_point(|line| line.at < since));
        content.lines.get(tail.max(since)).map_or(content.bytes.len(), |line| line.start)
    }

    /// What there is after `position`.
    pub(crate) fn read(&self, position: usize, timestamps: bool) -> Piece {
        let content = self.content();
        let rest = content.bytes.get(position..).unwrap_or_default();
        let mut bytes = Vec::with_capacity(rest.len());
        if timestamps {
            let mut done = position;
            let first = content.lines.partition_point(|line| line.start < position);
            for line in content.lines.iter().skip(first) {
                bytes.extend_from_slice(content.bytes.get(done..line.start).unwrap_or_default());
                bytes.extend_from_slice(clock::nanoseconds(line.at).as_bytes());
                bytes.push(b' ');
                done = line.start;
            }
            bytes.extend_from_slice(content.bytes.get(done..).unwrap_or_default());
        } else {
            bytes.extend_from_slice(rest);
        }
        Piece { bytes, next: content.bytes.len(), last: content.ended }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The logs of one pod, by container: of the run before and of the present one.
type PodLogs = BTreeMap<String, Vec<Arc<ContainerLog>>>;

/// The logs that the node keeps: of each container's present run and of the one before.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<BTreeMap<String, PodLogs>>);

impl Logs {
    /// Begins the log of a container's next run.
    pub(crate) fn open(&self, pod_uid: &str, container: &str) -> Arc<ContainerLog> {
        let log = Arc::new(ContainerLog::default());
        let mut pods = self.pods();
        let runs = pods.entry(pod_uid.to_owned()).or_default().entry(container.to_owned()).or_default();
        runs.push(log.clone());
        if runs.len() > 2 {
            runs.remove(0);
        }
        log
    }

    /// The log of the present run, or of the last one if there is none at present.
    pub(crate) fn current(&self, pod_uid: &str, container: &str) -> Option<Arc<ContainerLog>> {
        self.pods().get(pod_uid)?.get(container)?.last().cloned()
    }

    /// The log of the run before the present one.
    pub(crate) fn previous(&self, pod_uid: &str, container: &str) -> Option<Arc<ContainerLog>> {
        match self.pods().get(pod_uid)?.get(container)?.as_slice() {
            [before, _] => Some(before.clone()),
            _ => None,
        }
    }

    /// The pod is gone. Who still reads keeps what it reads.
    pub(crate) fn forget(&self, pod_uid: &str) {
        self.pods().remove(pod_uid);
    }

    fn pods(&self) -> MutexGuard<'_, BTreeMap<String, PodLogs>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn text(log: &ContainerLog, from: From, timestamps: bool) -> String {
        String::from_utf8(log.read(log.start(from), timestamps).bytes).unwrap()
    }

    #[test]
    fn lines_that_arrive_in_pieces_are_whole_lines() {
        let log = ContainerLog::default();
        log.append(b"on", at(1));
        log.append(b"e\ntwo\nthr", at(2));
        log.append(b"ee", at(3));
        assert_eq!(text(&log, From::default(), false), "one\ntwo\nthree");
        assert_eq!(text(&log, From { tail: Some(2), since: None }, false), "two\nthree");
        assert_eq!(text(&log, From { tail: Some(0), since: None }, false), "");
        assert_eq!(text(&log, From { tail: None, since: Some(at(2)) }, false), "two\nthree");
        assert_eq!(
            text(&log, From::default(), true),
            "1970-01-01T00:00:01.000000000Z one\n1970-01-01T00:00:02.000000000Z two\n\
             1970-01-01T00:00:02.000000000Z three"
        );
    }

    #[test]
    fn a_reader_in_the_middle_of_a_line_gets_no_time_for_its_rest() {
        let log = ContainerLog::default();
        log.append(b"one", at(1));
        let next = log.read(0, true).next;
        log.append(b" more\ntwo\n", at(2));
        let rest = String::from_utf8(log.read(next, true).bytes).unwrap();
        assert_eq!(rest, " more\n1970-01-01T00:00:02.000000000Z two\n");
    }
}
