//! What this machine lacks to run a workflow, said in one line.

use std::fmt;

use runjob_sandbox::kube::{self, Change, Kubernetes};
use serde_json::Value;

/// What perl prints when `bpi(2000)` meets a `Math::BigInt` that is broken under `bignum` (Debian 12's 1.999830).
const BROKEN_BIGNUM: &str = "Can't use an undefined value as an ARRAY reference";

/// Why the workflow cannot end well here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// No local program stands for this image.
    Image(String),
    /// This perl cannot run the article's program.
    Perl,
}

impl Obstacle {
    /// What a change of an object shows.
    pub(crate) fn of(change: &Change, kube: &Kubernetes) -> Option<Self> {
        let pod = &change.object;
        let text = |value: &Value, pointer: &str| {
            value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        if text(pod, "/kind") != "Pod" {
            return None;
        }
        let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
        statuses.into_iter().flatten().find_map(|status| {
            if text(status, "/state/waiting/reason") == "ErrImagePull" {
                return Some(Self::Image(text(status, "/image")));
            }
            let failed =
                status.pointer("/state/terminated/exitCode").and_then(Value::as_i64).is_some_and(|code| code != 0);
            let log = || kube.log(&namespace, &name, &text(status, "/name")).unwrap_or_default();
            (failed && String::from_utf8_lossy(&log()).contains(BROKEN_BIGNUM)).then_some(Self::Perl)
        })
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const INSTEAD: &str = "examples/hello needs nothing but sh: cargo run -p runjob-sandbox -- run \
                               examples/hello/workflow.asl.json examples/hello/input.json";
        match self {
            Self::Image(image) if image == "perl" => write!(f, "this machine has no perl: install it. {INSTEAD}"),
            Self::Image(image) => {
                let known = kube::known_images().join(", ");
                write!(f, "no program of this machine stands for the image {image}; the sandbox knows {known}")
            }
            Self::Perl => write!(
                f,
                "this machine's perl cannot run the article's program, its Math::BigInt is broken: install a newer one (on \
                 Debian: apt-get install libmath-bigint-perl). {INSTEAD}"
            ),
        }
    }
}
