//! Names that are taken.

use serde_json::json;

use crate::{
    jobs::a_job,
    simulation::{
        expected::{Ending, Expected},
        story::Story,
    },
};

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("a name whose Job nobody waits for any more", |stage| {
            Box::pin(async move {
                let first = stage.run(&a_job("x", "echo first; sleep 600"), Expected::aborted());
                stage.until_running("x").await;
                first.abort();
                stage.run(&a_job("x", "echo second; sleep 3"), Expected::succeeds());
            })
        }),
        Story::new("a name whose Job takes its time to go", |stage| {
            Box::pin(async move {
                let slow = a_job("x", "trap; echo first; sleep 600");
                let first = stage.run(&slow, Expected::aborted());
                stage.until_running("x").await;
                first.abort();
                // By now the Job is on its way out.
                stage.seconds(20).await;
                stage.run(&a_job("x", "echo second; sleep 3"), Expected::succeeds());
            })
        }),
        Story::new("a name whose Job is waited for", |stage| {
            Box::pin(async move {
                stage.run(&a_job("x", "echo first; sleep 30"), Expected::succeeds().or(Ending::Fails("EKS.409")));
                stage.until_running("x").await;
                stage.run(&a_job("x", "echo second"), Expected::fails("EKS.409").or(Ending::Succeeds));
            })
        }),
        Story::new("a name of somebody else's Job", |stage| {
            Box::pin(async move {
                stage.create(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": a_job("x", "sleep 5").job()["spec"]}));
                stage.run(&a_job("x", "echo mine"), Expected::fails("EKS.409"));
            })
        }),
        Story::new("names that are made up", |stage| {
            Box::pin(async move {
                for script in ["echo one; sleep 2", "echo two; sleep 4"] {
                    stage.run(&a_job("", script).generated("report-"), Expected::succeeds());
                }
            })
        }),
    ]
}
