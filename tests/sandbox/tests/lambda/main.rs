//! The sandbox's Lambda, with a real runtime as a process behind it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that meets an impossible value stops there")]

mod answers;
mod environments;
mod machines;
mod strictness;

use std::{path::Path, sync::Arc, time::Duration};

use runjob_sandbox::lambda::{Bootstrap, Deployed, FunctionError, InvokeError, Lambda};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-central-1";

/// The function under test, which does as it is told. Tests that are not about its time have plenty of it.
fn bootstrap() -> Bootstrap {
    Bootstrap::at(Path::new(env!("CARGO_BIN_EXE_bootstrap-under-test"))).timeout(Duration::from_mins(2))
}

fn deployed(bootstrap: Bootstrap) -> (Arc<Lambda>, Deployed) {
    let lambda = Lambda::new(ACCOUNT, REGION, 7);
    let function = lambda.deploy("f", bootstrap);
    (lambda, function)
}

fn failed(outcome: Result<Value, InvokeError>) -> FunctionError {
    let Err(InvokeError::Function(error)) = outcome else { panic!("{outcome:?}") };
    error
}

/// Where functions wait until they are let go on.
struct Gate {
    listener: TcpListener,
    /// What a function is asked so that it comes here.
    event: Value,
}

impl Gate {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let event = json!({ "do": "wait", "at": listener.local_addr().unwrap().to_string() });
        Self { listener, event }
    }

    /// Waits until a function is here. It goes on when this is dropped.
    async fn arrived(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }
}
