//! What may befall requests, by name, and when.

use std::{collections::BTreeMap, fmt, time::Duration};

use runjob_sandbox::memory::{Fate, Outbound, Service, Traffic};
use serde_json::json;

/// Longer than the worker waits for the head of an answer.
const TOO_LONG: Duration = Duration::from_secs(40);
/// Late enough for another worker to have taken over.
const LATE: Duration = Duration::from_secs(25);

/// Something that befalls one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it; `fate` says it precisely")]
pub enum Mishap {
    CrashBefore,
    CrashAfterApply,
    CrashAfterAnswer,
    CrashAndArriveLate,
    NoConnection,
    Refuse,
    Slow,
    TooSlow,
    CutAfterApply,
    CutAndArriveLate,
    Throttled,
    ServerError,
    Unauthorized,
    BodyBreaks,
    StreamEnds,
    Gone,
    GoneInStream,
    Panic,
}

impl Mishap {
    /// The ways in which a worker may die at a request.
    pub const CRASHES: [Self; 4] =
        [Self::CrashBefore, Self::CrashAfterApply, Self::CrashAfterAnswer, Self::CrashAndArriveLate];

    /// Everything else.
    pub const FAULTS: [Self; 14] = [
        Self::NoConnection,
        Self::Refuse,
        Self::Slow,
        Self::TooSlow,
        Self::CutAfterApply,
        Self::CutAndArriveLate,
        Self::Throttled,
        Self::ServerError,
        Self::Unauthorized,
        Self::BodyBreaks,
        Self::StreamEnds,
        Self::Gone,
        Self::GoneInStream,
        Self::Panic,
    ];

    /// Whether the worker dies of it.
    pub fn is_crash(self) -> bool {
        Self::CRASHES.contains(&self)
    }

    /// What befalls this request. `None`: it is nothing that could befall it.
    pub fn fate(self, service: Service, kind: &str) -> Option<Fate> {
        let kubernetes = service == Service::Kubernetes;
        let watch = kind == "watch jobs";
        let reads = ["get ", "list ", "watch "].iter().any(|verb| kind.starts_with(verb));
        let streams = watch || kind == "get pods/log";
        Some(match self {
            Self::CrashBefore => Fate::CrashBefore,
            Self::CrashAfterApply => Fate::CrashAfterApply,
            Self::CrashAfterAnswer => Fate::CrashAfterAnswer,
            // Of a read that nobody waits for nothing comes, whenever it arrives.
            Self::CrashAndArriveLate | Self::CutAfterApply | Self::CutAndArriveLate if reads => return None,
            Self::CrashAndArriveLate => Fate::CrashAndArriveLate(LATE),
            // The SDK tells no difference between this and a cut.
            Self::NoConnection if !kubernetes => return None,
            Self::NoConnection => Fate::NoConnection,
            Self::Refuse => Fate::Refuse,
            Self::Slow => Fate::Delay(Duration::from_secs(3)),
            Self::TooSlow => Fate::Delay(TOO_LONG),
            Self::CutAfterApply => Fate::CutAfterApply,
            Self::CutAndArriveLate => Fate::CutAndArriveLate(LATE),
            Self::Throttled if kubernetes => refusal(429, Some(5), "TooManyRequests"),
            Self::Throttled => exception(400, "ThrottlingException"),
            Self::ServerError if kubernetes => refusal(500, None, "InternalError"),
            // Nobody tells one error of a server from another.
            Self::ServerError => exception(503, "ServiceUnavailable"),
            Self::Unauthorized if kubernetes => refusal(401, None, "Unauthorized"),
            Self::Unauthorized => exception(400, "ExpiredTokenException"),
            // To a short answer that is the same as a cut.
            Self::BodyBreaks if !streams => return None,
            Self::BodyBreaks => Fate::BreakAfter(Duration::ZERO),
            Self::StreamEnds if watch => Fate::EndAfter(Duration::from_secs(1)),
            Self::Gone if watch => refusal(410, None, "Expired"),
            Self::GoneInStream if watch => {
                let event = json!({"type": "ERROR", "object": status(410, "Expired")});
                Fate::Answer { status: 200, retry_after: None, body: format!("{event}\n") }
            }
            Self::StreamEnds | Self::Gone | Self::GoneInStream => return None,
            Self::Panic => Fate::Panic,
        })
    }
}

fn status(code: u16, reason: &str) -> serde_json::Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "a mishap", "reason": reason, "code": code})
}

fn refusal(code: u16, retry_after: Option<u64>, reason: &str) -> Fate {
    Fate::Answer { status: code, retry_after, body: status(code, reason).to_string() }
}

fn exception(status: u16, name: &str) -> Fate {
    Fate::Answer { status, retry_after: None, body: json!({"__type": name, "message": "a mishap"}).to_string() }
}

/// Which requests of a run meet a mishap, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mishaps(BTreeMap<usize, Mishap>);

impl Mishaps {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// These.
    pub fn at(mishaps: impl IntoIterator<Item = (usize, Mishap)>) -> Self {
        Self(mishaps.into_iter().collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any of them is of that sort.
    pub fn any(&self, sort: impl Fn(Mishap) -> bool) -> bool {
        self.0.values().any(|mishap| sort(*mishap))
    }

    /// How long after its request something of it may still arrive, and must do no harm.
    pub fn latest_arrival(&self) -> Duration {
        let late = self.any(|mishap| matches!(mishap, Mishap::CrashAndArriveLate | Mishap::CutAndArriveLate));
        if late { LATE } else { Duration::ZERO }
    }

    /// The mishap of a request.
    pub fn of(&self, number: usize) -> Option<Mishap> {
        self.0.get(&number).copied()
    }
}

impl fmt::Display for Mishaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no mishap");
        }
        let all: Vec<String> =
            self.0.iter().map(|(number, mishap)| format!("{mishap:?} at request {number}")).collect();
        f.write_str(&all.join(", "))
    }
}

impl Traffic for Mishaps {
    fn fate(&self, request: &Outbound<'_>) -> Fate {
        let mishap = self.of(request.number);
        mishap.and_then(|mishap| mishap.fate(request.service, request.kind)).unwrap_or(Fate::Pass)
    }
}
