//! `eks:call`, and requests that are refused.

use serde_json::{Value, json};

use crate::simulation::{
    expected::{Ending, Expected},
    stage::Stage,
    story::Story,
};

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("calls that read", |stage| {
            Box::pin(async move {
                call(stage, "GET", "/api/v1/namespaces/default", Value::Null, Expected::succeeds());
                call(
                    stage,
                    "GET",
                    "/api/v1/namespaces/default/configmaps/nosuch",
                    Value::Null,
                    Expected::fails("EKS.404"),
                );
            })
        }),
        Story::new("a call that writes", |stage| {
            Box::pin(async move {
                let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
                // Sent once: what became of it is not known if its answer is lost.
                let expected = Expected::succeeds().or(Ending::Fails("RunJob.ClusterUnreachable"));
                let expected = ["EKS.500", "EKS.503"].into_iter().map(Ending::Fails).fold(expected, Expected::or);
                call(stage, "POST", "/api/v1/namespaces/default/configmaps", object, expected);
            })
        }),
        Story::new("a request that is refused", |stage| {
            Box::pin(async move {
                stage.task("{\"Jobb\": 1}", None, Expected::fails("RunJob.InvalidParameters"));
            })
        }),
    ]
}

fn call(stage: &Stage, method: &str, path: &str, body: Value, expected: Expected) {
    let mut request = json!({"Action": "call", "Method": method, "Path": path});
    if !body.is_null() {
        request["RequestBody"] = body;
    }
    stage.task(&request.to_string(), None, expected);
}
