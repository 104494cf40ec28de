//! A defect of the function itself.

use aws_config::SdkConfig;
use bytes::Bytes;
use clap::Parser;
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};
use runjob::{clock::Clock, cluster::Cluster, clusters};
use runjob_core::waiter::InvocationId;
use runjob_lambda::{
    function::{Function, Invocation},
    settings::FunctionSettings,
    sites::Sites,
};
use runjob_scenarios::jobs::a_job;
use serde_json::Value;

/// A function whose cluster makes it panic.
fn panicking() -> Function {
    let clock = Clock::start();
    let service = tower::service_fn(|_| async {
        let answer: Result<http::Response<Full<Bytes>>, _> = Err("a defect".into());
        assert!(answer.is_ok(), "a defect");
        answer
    });
    let cluster = Cluster::over(service, "http://nowhere", clock);
    let settings = FunctionSettings::try_parse_from(["bootstrap"]).unwrap();
    let sites = Sites::known(clusters::of_flags(&settings.jobs, cluster), clock);
    Function::over(settings, SdkConfig::builder().build(), sites, clock)
}

#[tokio::test]
async fn a_panic_is_an_error_of_our_own_name() {
    let invocation = Invocation {
        id: InvocationId::new("a").unwrap(),
        function: "arn:aws:lambda:us-east-1:123456789012:function:runjob".parse().unwrap(),
        deadline: Timestamp::now() + SignedDuration::from_mins(1),
    };
    let failed = panicking().handle(&a_job("x", ":").input(), invocation).await.unwrap_err();
    assert_eq!(failed.error, "RunJob.Internal");
    let cause: Value = serde_json::from_str(&failed.cause).unwrap();
    assert!(cause["message"].as_str().unwrap().contains("please report it"), "{cause}");
}
