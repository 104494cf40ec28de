//! A process that is frozen for longer than the network remembers its connections.

use std::time::Duration;

use runjob_scenarios::line::Line;
use serde_json::json;

use crate::world::World;

/// Longer than the function takes its connections for good: it judges by the time of day, which nobody can pause for a process.
const FROZEN: Duration = Duration::from_secs(65);

#[tokio::test]
async fn a_process_that_was_frozen_for_a_minute_sends_nothing_over_its_old_connections() {
    let world = World::new().await;
    let line = Line::to(world.sandbox.kube_url().trim_start_matches("http://").to_owned()).await.unwrap();
    world.lead_by(&format!("http://{}", line.address()));
    let call = json!({"Action": "call", "Method": "GET", "Path": "/version"});
    for _ in 0..2 {
        world.invoke(&call).await.unwrap();
    }
    assert_eq!(line.connections(), 1, "what is young is used again");
    tokio::time::sleep(FROZEN).await;
    line.forget();
    world.invoke(&call).await.unwrap();
    assert_eq!((line.connections(), line.lost()), (2, 0));
    assert_eq!(world.function.environments().len(), 1);
}
