//! A worker whose way to AWS leads through a proxy.

use std::time::Duration;

use runjob_scenarios::{
    process::{Surroundings, WorkerProcess},
    world::World,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpListener,
    time::timeout,
};

#[tokio::test]
async fn aws_is_asked_through_the_proxy_and_what_no_proxy_names_is_not() {
    let world = World::empty().await.unwrap();
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let mut surroundings = Surroundings::of(&world.sandbox);
    surroundings.environment.retain(|(name, _)| *name != "AWS_ENDPOINT_URL");
    surroundings.environment.extend([
        ("HTTPS_PROXY", url.clone()),
        ("HTTP_PROXY", url),
        ("NO_PROXY", "127.0.0.1".to_owned()),
    ]);
    let _worker = WorkerProcess::start(env!("CARGO_BIN_EXE_runjob-under-test"), &surroundings, &[]).unwrap();
    let (asked, _) = timeout(Duration::from_mins(1), proxy.accept()).await.unwrap().unwrap();
    let mut line = String::new();
    BufReader::new(asked).read_line(&mut line).await.unwrap();
    assert_eq!(line, "CONNECT states.us-east-1.amazonaws.com:443 HTTP/1.1\r\n");
    // It asks for no task before it has listed the Jobs.
    assert!(!world.sandbox.kube.recorder().of("list jobs").is_empty());
}
