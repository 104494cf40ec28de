//! Polls over TCP, whose clients can go away.

use bytes::Bytes;
use runjob_sandbox::{serve::serve, sfn::Clocks};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream, task::yield_now};

use crate::client::{ACTIVITY, Client};

fn poll_request() -> Bytes {
    let body = json!({ "activityArn": ACTIVITY }).to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: sandbox\r\nx-amz-target: AWSStepFunctions.GetActivityTask\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    Bytes::from(head + &body)
}

#[tokio::test]
async fn a_connection_that_closes_takes_its_poll_along_and_no_task() {
    let client = Client::new();
    let served = serve(client.front.clone()).await.unwrap();
    let address = served.url();
    let mut connection = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    connection.write_all(&poll_request()).await.unwrap();
    while client.service().waiting_polls("jobs") == 0 {
        yield_now().await;
    }
    drop(connection);
    while client.service().waiting_polls("jobs") == 1 {
        yield_now().await;
    }
    client.service().bare_task("jobs", "1", Clocks::default());
    assert_eq!(client.next_task().await.input, "1");
}
