//! Builders for the tests of this crate.

use serde_json::{Value, json};

use crate::{
    job::JobView,
    ledger::{self, Options, Stamp},
    names::JobKey,
    owner::{OwnerKey, SpecHash},
    request::Answer,
    token::TaskToken,
    waiter::{InvocationId, Waiter},
};

pub(crate) fn a_task(token: &str) -> Waiter {
    let source = "arn:aws:states:us-east-1:123456789012:activity:jobs".parse().unwrap();
    Waiter::Task { token: TaskToken::new(token).unwrap(), source }
}

pub(crate) fn an_invocation() -> Waiter {
    let id = InvocationId::new("6bc28136-xmpl-4365-b021-0ce6b2e64ab0").unwrap();
    Waiter::Invocation { id, until: "2026-11-24T12:15:00Z".parse().unwrap() }
}

pub(crate) fn a_stamp() -> Stamp {
    Stamp {
        answer: Answer::WhenFinished,
        owner: OwnerKey::of_task(&TaskToken::new("AAAAtoken").unwrap()),
        waiter: a_task("AAAAtoken"),
        object: Some(JobKey { namespace: "default".to_owned(), name: "x".to_owned() }),
        uid: None,
        spec_hash: SpecHash::of(&json!({})),
        options: Options::default(),
        ttl: None,
        kept_until: None,
    }
}

pub(crate) struct JobBuilder(Value);

/// A Job as the API server sends it, stamped with [`a_stamp`].
pub(crate) fn a_job() -> JobBuilder {
    JobBuilder(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"namespace": "default", "name": "x", "uid": "u-1", "resourceVersion": "7"},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}},
        "status": {},
    }))
    .stamped(&a_stamp())
}

impl JobBuilder {
    pub(crate) fn stamped(mut self, stamp: &Stamp) -> Self {
        ledger::write(stamp, &"g".parse().unwrap(), &mut self.0);
        self
    }

    pub(crate) fn unstamped(mut self) -> Self {
        let metadata = self.0["metadata"].as_object_mut().unwrap();
        metadata.shift_remove("annotations");
        metadata.shift_remove("labels");
        self
    }

    pub(crate) fn status(mut self, status: Value) -> Self {
        self.0["status"] = status;
        self
    }

    pub(crate) fn condition(mut self, kind: &str, status: &str, reason: &str) -> Self {
        let condition =
            json!({"type": kind, "status": status, "reason": reason, "message": format!("because {reason}")});
        let conditions = &mut self.0["status"]["conditions"];
        if conditions.is_null() {
            *conditions = json!([]);
        }
        conditions.as_array_mut().unwrap().push(condition);
        self
    }

    pub(crate) fn complete(self) -> Self {
        self.condition("Complete", "True", "CompletionsReached")
    }

    pub(crate) fn failed(self, reason: &str) -> Self {
        self.condition("Failed", "True", reason)
    }

    pub(crate) fn deleting(mut self) -> Self {
        self.0["metadata"]["deletionTimestamp"] = json!("2026-11-23T07:24:56Z");
        self
    }

    pub(crate) fn value(&self) -> Value {
        self.0.clone()
    }

    pub(crate) fn view(&self) -> JobView {
        JobView::of(&self.0).unwrap()
    }
}

/// A text of JSON documents inside of documents, each of them that many levels deep: `serde_json` alone would read each with a
/// limit of depth of its own.
pub(crate) fn documents_in_documents(count: usize, levels: usize) -> String {
    let (open, close) = ("[".repeat(levels), "]".repeat(levels));
    (0..count).fold("1".to_owned(), |inner, _| {
        let escaped = inner.replace('\\', "\\u005c").replace('"', "\\u0022");
        format!("{open}{{\"$serde_json::private::RawValue\":\"{escaped}\"}}{close}")
    })
}
