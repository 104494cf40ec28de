//! What the API server was asked, by its audit log.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
};

use serde_json::Value;

use crate::bed::{ACCOUNT, cluster_directory};

/// What Kubernetes' own components are told, and why.
const EXPLAINED: [(&str, &str); 3] = [
    ("serviceaccount \"nobody\" not found", "the controller makes pods for the Job that is to have none"),
    (
        "because it is being terminated",
        "the controllers, and the kubelet, put objects into each namespace until it is gone",
    ),
    ("no relationship found between node", "the kubelet asks for a pod of its node once more when that was deleted"),
];

/// The log, from a moment on.
pub(crate) struct Audit {
    from: u64,
}

/// One request.
pub(crate) struct Asked {
    pub(crate) user: String,
    pub(crate) verb: String,
    /// Of a resource: `jobs.batch`, `pods/log`. Otherwise the path.
    pub(crate) what: String,
    pub(crate) namespace: String,
    pub(crate) status: u64,
    /// What the server has said to it.
    pub(crate) message: String,
}

fn log() -> File {
    let path = cluster_directory().join("audit.log");
    File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Audit {
    pub(crate) fn begin() -> Self {
        Self { from: log().metadata().unwrap().len() }
    }

    /// The requests since then.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let mut log = log();
        log.seek(SeekFrom::Start(self.from)).unwrap();
        let lines = BufReader::new(log).lines().map(Result::unwrap);
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        events.map(|event| asked(&event)).collect()
    }

    /// The requests of the worker's account.
    pub(crate) fn of_the_worker(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.user == ACCOUNT).collect()
    }

    /// Whatever was forbidden is explained. The worker is forbidden nothing.
    pub(crate) fn assert_explained(&self) {
        let forbidden = self.asked().into_iter().filter(|asked| asked.status == 403);
        let is_explained = |asked: &Asked| {
            asked.user != ACCOUNT && EXPLAINED.iter().any(|(words, _why)| asked.message.contains(words))
        };
        let unexplained: BTreeSet<_> = forbidden
            .filter(|asked| !is_explained(asked))
            .map(|asked| format!("{}: {}", asked.user, asked.message))
            .collect();
        assert!(unexplained.is_empty(), "{unexplained:#?}");
    }
}

fn asked(event: &Value) -> Asked {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (resource, group, part) =
        (text("/objectRef/resource"), text("/objectRef/apiGroup"), text("/objectRef/subresource"));
    let mut what = resource;
    if !group.is_empty() {
        what = format!("{what}.{group}");
    }
    if !part.is_empty() {
        what = format!("{what}/{part}");
    }
    Asked {
        user: text("/user/username"),
        verb: text("/verb"),
        what: if what.is_empty() { text("/requestURI") } else { what },
        namespace: text("/objectRef/namespace"),
        status: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
        message: text("/responseStatus/message"),
    }
}
