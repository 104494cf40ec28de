//! The state machine of the AWS article that introduced `eks:runJob`, as it stands there.

use serde_json::json;

use crate::client::{Client, json_of};

const DEFINITION: &str = include_str!("article.asl.json");
const DIGITS: &str = "3.14159265358979323846264338327950288419716939937510582097494";

#[tokio::test(start_paused = true)]
async fn the_articles_machine_runs_as_it_stands_there_and_keeps_every_digit() {
    let client = Client::new();
    let machine = client.service().create_state_machine("article", DEFINITION).unwrap();
    let input = json!({ "cluster": { "name": "EKSCluster", "ca": "LS0t", "endpoint": "https://example.invalid" } });
    let execution = client.service().start_execution(&machine, None, &input.to_string()).unwrap();

    let job = client.next_task().await;
    let parameters = json_of(&job.input);
    assert_eq!(parameters["ClusterName"], "EKSCluster");
    assert_eq!(parameters["CertificateAuthority"], "LS0t");
    assert_eq!(parameters["Endpoint"], "https://example.invalid");
    assert_eq!(parameters["LogOptions"], json!({ "RetrieveLogs": true }));
    assert_eq!(parameters["Job"], json_of(DEFINITION)["States"]["Run a job on EKS"]["Parameters"]["Job"]);
    assert_eq!(parameters.as_object().unwrap().len(), 5, "nothing is added: {parameters}");
    let output = format!(
        r#"{{"metadata":{{"name":"my-eks-job"}},"status":{{"succeeded":1}},
            "logs":{{"pods":{{"pi2000-on-eks-x":{{"containers":{{"pi-2000":{{"log":{{"pi":{DIGITS}}}}}}}}}}}}}}}"#
    );
    client.succeed(&job.token, &output).await.unwrap();

    let call = client.next_task().await;
    assert_eq!(
        json_of(&call.input),
        json!({
            "ClusterName": "EKSCluster",
            "CertificateAuthority": "LS0t",
            "Endpoint": "https://example.invalid",
            "Method": "DELETE",
            "Path": "/apis/batch/v1/namespaces/default/jobs/my-eks-job"
        })
    );
    let deletion =
        client.service().history(&execution).into_iter().find(|event| {
            event.event.type_name() == "TaskStateEntered" && event.event.details()["name"] == "Delete Node"
        });
    let state = json_of(deletion.unwrap().event.details()["input"].as_str().unwrap());
    assert_eq!(state["RunJobResult"]["status"], json!({ "succeeded": 1 }));
    assert_eq!(state["RunJobResult"]["logs"].to_string(), format!("[{DIGITS}]"));
    assert_eq!(state["cluster"], input["cluster"]);
    client.succeed(&call.token, r#"{"StatusCode":200,"StatusText":"OK"}"#).await.unwrap();

    let execution = client.finished(&execution).await;
    assert_eq!(execution.status.name(), "SUCCEEDED");
    assert_eq!(execution.output.unwrap(), r#"{"StatusCode":200,"StatusText":"OK"}"#);
    assert_eq!(client.service().invariant_violations(), Vec::<String>::new());
}
