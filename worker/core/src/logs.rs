//! The logs of a Job's pods: collected within a bound, rendered in the native shape.

use std::{collections::VecDeque, iter};

use serde_json::Value;

use crate::{
    budget::{ByteBudget, escaped_len, fair_shares, head_within, tail_within},
    json,
    log_options::LogFormat,
};

/// What the line that names a cut takes at most, after escaping.
const CUT_MARK: usize = 64;

/// The longest line at the end of a log that is looked at as a whole, to see whose it is.
const LAST_LINE: usize = 1024;

/// The logs of a Job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logs {
    /// The logs that were read, or could not be.
    pub pods: Vec<PodLogs>,
    /// How many more pods there are, whose logs were not read.
    pub omitted: usize,
    /// How many pods have ended and are gone, and their logs with them.
    pub missing: usize,
    /// Why the pods could not even be listed: the error's name and its cause.
    pub unlisted: Option<(String, String)>,
}

/// The logs of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLogs {
    /// The pod's name.
    pub pod: String,
    /// The logs of its containers.
    pub containers: Vec<ContainerLogs>,
}

/// The logs of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerLogs {
    /// The container's name.
    pub container: String,
    /// The log of its last run.
    pub log: ContainerLog,
    /// The log of the run before, where that is the one that failed.
    pub previous: Option<ContainerLog>,
}

/// The log of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerLog {
    /// It was read.
    Read(LogText),
    /// It could not be read.
    Unreadable {
        /// The error's name: `EKS.404`.
        error: String,
        /// Its cause.
        cause: String,
    },
}

/// The text of a log, possibly with a gap in the middle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogText {
    head: String,
    cut: u64,
    tail: String,
}

/// Takes in a log of any size and keeps its beginning and its end.
#[derive(Debug)]
pub struct LogBuffer {
    half: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
    /// The last bytes so far: whose they are is seen only when nothing follows.
    last: VecDeque<u8>,
}

impl LogBuffer {
    /// A buffer that keeps `limit` bytes: the first and the last half of that.
    pub fn new(limit: usize) -> Self {
        Self { half: limit / 2, head: Vec::new(), tail: VecDeque::new(), dropped: 0, last: VecDeque::new() }
    }

    /// Takes in the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.last.extend(bytes);
        let settled = self.last.len().saturating_sub(LAST_LINE);
        let settled: Vec<u8> = self.last.drain(..settled).collect();
        self.keep(&settled);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(self.half.saturating_sub(self.head.len())));
        self.head.extend(first);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(self.half);
        self.tail.drain(..excess);
        self.dropped += excess as u64;
    }

    /// The log as text. Bytes that are no UTF-8 become U+FFFD.
    pub fn finish(mut self) -> LogText {
        let mut last = Vec::from(std::mem::take(&mut self.last));
        last.truncate(last.len() - kubelet_error(&last));
        self.keep(&last);
        let (mut head, mut tail) = (self.head, Vec::from(self.tail));
        if self.dropped == 0 {
            head.append(&mut tail);
            return LogText { head: String::from_utf8_lossy(&head).into_owned(), cut: 0, tail: String::new() };
        }
        // The gap may have opened in the middle of a character: its remains belong to the gap.
        let whole = head.len() - unfinished_character(&head);
        let continued = tail.iter().take(3).take_while(|byte| **byte & 0b1100_0000 == 0b1000_0000).count();
        let cut = self.dropped + (head.len() - whole) as u64 + continued as u64;
        head.truncate(whole);
        tail.drain(..continued);
        LogText {
            head: String::from_utf8_lossy(&head).into_owned(),
            cut,
            tail: String::from_utf8_lossy(&tail).into_owned(),
        }
    }
}

/// How many bytes at the end are not the container's: when a container is removed while its log is followed, the kubelet
/// ends the log with the error that it met (seen on Kubernetes 1.34), on a line of its own that does not end.
fn kubelet_error(log: &[u8]) -> usize {
    let last = log.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_error = last.starts_with(b"rpc error: code = NotFound desc = an error occurred when try to find container");
    if is_error { last.len() } else { 0 }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished_character(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(4);
    let end = bytes.get(start..).unwrap_or_default();
    (0..end.len())
        .find(|at| match std::str::from_utf8(end.get(*at..).unwrap_or_default()) {
            Err(error) => error.valid_up_to() == 0 && error.error_len().is_none(),
            Ok(_) => false,
        })
        .map_or(0, |at| end.len() - at)
}

impl From<&str> for LogText {
    fn from(text: &str) -> Self {
        Self { head: text.to_owned(), cut: 0, tail: String::new() }
    }
}

impl LogText {
    /// The text, with a line that names the gap if there is one.
    pub fn text(&self) -> String {
        if self.cut == 0 {
            return format!("{}{}", self.head, self.tail);
        }
        format!("{}\n[runjob: {} bytes cut here]\n{}", self.head, self.cut, self.tail)
    }

    /// Whether there is a gap.
    pub fn is_cut(&self) -> bool {
        self.cut > 0
    }

    /// The same log in at most `room` bytes after escaping, as far as the mark of the cut fits into that.
    #[must_use]
    pub fn within(&self, room: usize) -> Self {
        if escaped_len(&self.text()) <= room {
            return self.clone();
        }
        let room = room.saturating_sub(CUT_MARK);
        let (head, tail) = if self.cut == 0 {
            // One text: what the head takes is not there for the tail.
            let head = head_within(&self.head, room / 2);
            let rest = self.head.get(head.len()..).unwrap_or_default();
            (head, tail_within(rest, room - escaped_len(head)))
        } else {
            let tail_room = (room / 2).max(room.saturating_sub(escaped_len(&self.head)));
            let tail = tail_within(&self.tail, tail_room);
            (head_within(&self.head, room - escaped_len(tail)), tail)
        };
        let all = self.head.len() + self.tail.len();
        let cut = self.cut + (all - head.len() - tail.len()) as u64;
        Self { head: head.to_owned(), cut, tail: tail.to_owned() }
    }

    /// The same log, cut until it takes no more than its share of an answer.
    fn cut_to(&self, share: usize) -> Self {
        // Two bytes for the quotes.
        self.within(share.saturating_sub(2))
    }

    /// The native rule: a whole log that is one JSON document becomes that JSON. A log with a gap never does. `None`: it stays text.
    fn document(&self, format: LogFormat) -> Option<String> {
        if format == LogFormat::Raw || self.is_cut() {
            return None;
        }
        let document = json::read(&self.text()).ok()?;
        Some(document.to_string())
    }
}

/// What a log is in an answer. Worked out once: a log that is parsed takes many times its own size meanwhile, and its time.
#[derive(Debug)]
struct Whole<'l> {
    log: &'l ContainerLog,
    /// The document that it is, as JSON text.
    document: Option<String>,
    /// What it takes in an answer if nothing is cut.
    size: usize,
}

impl<'l> Whole<'l> {
    fn of(log: &'l ContainerLog, format: LogFormat) -> Self {
        let ContainerLog::Read(text) = log else { return Self { log, document: None, size: 0 } };
        let document = text.document(format);
        // Two bytes for the quotes.
        let size = document.as_ref().map_or_else(|| escaped_len(&text.text()) + 2, String::len);
        Self { log, document, size }
    }

    /// Whether it needs no more than its share. One that is shorter than the mark of a cut needs none: cutting it would gain nothing.
    fn fits(&self, share: usize) -> bool {
        self.size <= share.max(CUT_MARK)
    }

    /// How much of an answer it can do with.
    fn wants(&self) -> usize {
        if self.size > CUT_MARK { self.size } else { 0 }
    }

    /// The fields that it is in an answer, as JSON text without the braces.
    fn fields(&self, share: usize) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        match (self.log, &self.document) {
            (ContainerLog::Unreadable { error, cause }, _) => {
                format!("\"error\":{},\"cause\":{}", quoted(error), quoted(cause))
            }
            (ContainerLog::Read(text), Some(document)) if !text.is_cut() && self.fits(share) => {
                format!("\"log\":{document}")
            }
            (ContainerLog::Read(text), _) => {
                let fits = !text.is_cut() && self.fits(share);
                let text = if fits { text.clone() } else { text.cut_to(share) };
                let truncated = if text.is_cut() { ",\"truncated\":true" } else { "" };
                format!("\"log\":{}{truncated}", quoted(&text.text()))
            }
        }
    }
}

/// All logs of a Job, as they are in an answer.
#[derive(Debug)]
pub(crate) struct Rendering<'l> {
    logs: &'l Logs,
    wholes: Vec<Whole<'l>>,
}

impl<'l> Rendering<'l> {
    pub(crate) fn of(logs: &'l Logs, format: LogFormat) -> Self {
        Self { logs, wholes: logs.each().map(|log| Whole::of(log, format)).collect() }
    }

    /// How many pods there are.
    pub(crate) fn pods(&self) -> usize {
        self.logs.pods.len()
    }

    /// How many bytes each log of the first `keep` pods can do with, in the order of [`Rendering::text`].
    pub(crate) fn sizes(&self, keep: usize) -> Vec<usize> {
        let kept = self.logs.pods.iter().take(keep).flat_map(|pod| &pod.containers);
        let kept = kept.map(|container| 1 + usize::from(container.previous.is_some())).sum();
        self.wholes.iter().take(kept).map(Whole::wants).collect()
    }

    /// The native shape as JSON text, each log of the first `keep` pods within its share, the other pods counted as omitted:
    /// `pods.<pod>.containers.<container>` = `{"log": …}` or `{"error": …, "cause": …}`; a `previous` beside it has the same shape.
    pub(crate) fn text(&self, keep: usize, shares: &[usize]) -> String {
        let mut wholes = self.wholes.iter().zip(shares);
        let mut next = || wholes.next().map(|(whole, share)| whole.fields(*share)).unwrap_or_default();
        let pods = self.logs.pods.iter().take(keep).map(|pod| {
            let containers = pod.containers.iter().map(|container| {
                let last = next();
                let previous = container.previous.as_ref().map(|_| format!(",\"previous\":{{{}}}", next()));
                (container.container.as_str(), format!("{{{last}{}}}", previous.unwrap_or_default()))
            });
            (pod.pod.as_str(), format!("{{\"containers\":{}}}", object(containers)))
        });
        let mut fields = vec![format!("\"pods\":{}", object(pods))];
        let omitted = self.logs.omitted + self.pods().saturating_sub(keep);
        for (name, count) in [("omitted", omitted), ("missing", self.logs.missing)] {
            if count > 0 {
                fields.push(format!("\"{name}\":{count}"));
            }
        }
        if let Some((error, cause)) = &self.logs.unlisted {
            fields.push(format!("\"error\":{},\"cause\":{}", Value::from(error.as_str()), Value::from(cause.as_str())));
        }
        format!("{{{}}}", fields.join(","))
    }
}

/// An object of these fields, whose values are JSON texts already.
fn object<'n>(fields: impl Iterator<Item = (&'n str, String)>) -> String {
    let fields: Vec<String> = fields.map(|(name, value)| format!("{}:{value}", Value::from(name))).collect();
    format!("{{{}}}", fields.join(","))
}

impl Logs {
    /// The logs, each cut to its share of a budget: an answer of that budget can carry no more of them.
    #[must_use]
    pub fn within(mut self, format: LogFormat, budget: ByteBudget) -> Self {
        let wholes: Vec<Whole<'_>> = self.each().map(|log| Whole::of(log, format)).collect();
        let wanted: Vec<usize> = wholes.iter().map(Whole::wants).collect();
        let shares = fair_shares(&wanted, budget.0);
        let cuts = wholes.iter().zip(shares).map(|(whole, share)| match whole.log {
            ContainerLog::Read(text) if text.is_cut() || !whole.fits(share) => Some(text.cut_to(share)),
            _ => None,
        });
        let cuts: Vec<Option<LogText>> = cuts.collect();
        for (log, cut) in self.each_mut().zip(cuts) {
            if let Some(cut) = cut {
                *log = ContainerLog::Read(cut);
            }
        }
        self
    }

    /// How many bytes of logs this holds.
    pub fn held(&self) -> usize {
        let size = |log: &ContainerLog| match log {
            ContainerLog::Read(text) => text.head.len() + text.tail.len(),
            ContainerLog::Unreadable { error, cause } => error.len() + cause.len(),
        };
        self.each().map(size).sum()
    }

    /// All logs, in the order of [`Rendering::text`].
    fn each(&self) -> impl Iterator<Item = &ContainerLog> {
        let containers = self.pods.iter().flat_map(|pod| &pod.containers);
        containers.flat_map(|container| iter::once(&container.log).chain(&container.previous))
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut ContainerLog> {
        let containers = self.pods.iter_mut().flat_map(|pod| &mut pod.containers);
        containers.flat_map(|container| iter::once(&mut container.log).chain(&mut container.previous))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::fixtures::documents_in_documents;

    fn kept(limit: usize, pieces: &[&[u8]]) -> LogText {
        let mut buffer = LogBuffer::new(limit);
        for piece in pieces {
            buffer.push(piece);
        }
        buffer.finish()
    }

    /// What a log is in an answer.
    fn shown(text: &str, format: LogFormat) -> Value {
        let log = ContainerLog::Read(text.into());
        let whole = Whole::of(&log, format);
        assert!(whole.fits(whole.wants()));
        let mut fields: Value = serde_json::from_str(&format!("{{{}}}", whole.fields(whole.wants()))).unwrap();
        assert_eq!(fields.as_object().unwrap().len(), 1);
        fields["log"].take()
    }

    fn parsed(text: &str) -> Value {
        shown(text, LogFormat::Parsed)
    }

    #[test]
    fn a_log_that_fits_is_kept_whole() {
        assert_eq!(kept(100, &[b"one\n", b"two\n"]).text(), "one\ntwo\n");
    }

    #[test]
    fn of_a_long_log_the_beginning_and_the_end_are_kept() {
        let text = kept(10, &[b"abcdefghijklm", b"nopqrstuvwxyz"]);
        assert_eq!(text.text(), "abcde\n[runjob: 16 bytes cut here]\nvwxyz");
    }

    #[test]
    fn a_gap_does_not_leave_half_a_character() {
        // Each of these takes two bytes, so both edges of the gap fall into the middle of one.
        let text = kept(6, &["äöüäöü".as_bytes()]);
        assert_eq!(text.text(), "ä\n[runjob: 8 bytes cut here]\nü");
    }

    #[test]
    fn an_error_of_the_kubelet_at_the_end_is_not_the_containers() {
        let error = "rpc error: code = NotFound desc = an error occurred when try to find container \"63\": not found";
        assert_eq!(kept(1000, &[b"bye-now\n", error.as_bytes()]).text(), "bye-now\n");
        assert_eq!(kept(1000, &[error.as_bytes(), b"\n"]).text(), format!("{error}\n"));
        // However little is kept.
        let text = kept(10, &[b"abcdefghijklmnopqrstuvwxyz\n", error.as_bytes()]);
        assert_eq!(text.text(), "abcde\n[runjob: 17 bytes cut here]\nwxyz\n");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(kept(100, &[b"a\xff\xfeb"]).text(), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn a_whole_log_that_is_json_becomes_json() {
        assert_eq!(parsed("{ \"pi\": 3.14 }\n").to_string(), r#"{"pi":3.14}"#);
        assert_eq!(parsed("42\n").to_string(), "42");
        assert_eq!(parsed("{}\n{}\n"), json!("{}\n{}\n"));
        assert_eq!(parsed(""), json!(""));
        assert_eq!(shown("42\n", LogFormat::Raw), json!("42\n"));
    }

    #[test]
    fn a_log_that_would_be_read_as_something_else_stays_text() {
        for text in [documents_in_documents(30, 125), r#"{"$serde_json\u003a:private::Number": "7"}"#.to_owned()] {
            let rendered = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
            let rendered = rendered
                .spawn({
                    let text = text.clone();
                    move || parsed(&text)
                })
                .unwrap()
                .join()
                .unwrap();
            assert_eq!(rendered, json!(text));
        }
    }

    #[test]
    fn a_log_that_could_not_be_read_says_so() {
        let log = ContainerLog::Unreadable { error: "EKS.404".into(), cause: "gone".into() };
        let previous = Some(ContainerLog::Read("before".into()));
        let logs = Logs {
            pods: vec![PodLogs {
                pod: "x-1".into(),
                containers: vec![ContainerLogs { container: "main".into(), log, previous }],
            }],
            omitted: 2,
            missing: 1,
            unlisted: None,
        };
        assert_eq!(
            Rendering::of(&logs, LogFormat::Parsed).text(1, &[0, 8]),
            r#"{"pods":{"x-1":{"containers":{"main":{"error":"EKS.404","cause":"gone","previous":{"log":"before"}}}}},"omitted":2,"missing":1}"#
        );
    }

    proptest! {
        #[test]
        fn a_cut_log_stays_within_its_room(bytes in prop::collection::vec(any::<u8>(), 0..2000), limit in 0_usize..500, room in 0_usize..800) {
            let text = kept(limit, &[&bytes]).within(room);
            prop_assert!(escaped_len(&text.text()) <= room.max(CUT_MARK));
        }

        #[test]
        fn nothing_is_lost_without_being_counted(bytes in "[a-z\n]{0,300}", limit in 0_usize..400, room in 0_usize..400) {
            let text = kept(limit, &[bytes.as_bytes()]).within(room);
            prop_assert_eq!((text.head.len() + text.tail.len()) as u64 + text.cut, bytes.len() as u64);
            prop_assert!(bytes.starts_with(&text.head) && bytes.ends_with(&text.tail));
        }

        #[test]
        fn pieces_do_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..300, limit in 0_usize..200) {
            let (one, two) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(kept(limit, &[one, two]), kept(limit, &[&bytes]));
        }
    }
}
