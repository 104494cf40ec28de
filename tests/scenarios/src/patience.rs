//! Waiting for what others do. A real cluster and a real Step Functions have no way to say when: they are asked again and again.

use std::time::Duration;

use anyhow::Context;

/// Often enough for a scenario of a second, and next to nothing for an API server.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks until there is an answer. An error may be an outage that belongs to the scenario; the last one is told when patience ends.
pub(crate) async fn eventually<T>(
    patience: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let mut last = anyhow::anyhow!("it did not come");
    let asked = async {
        loop {
            match ask().await {
                Ok(Some(answer)) => return answer,
                Ok(None) => {}
                Err(error) => last = error,
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let answer = tokio::time::timeout(patience, asked).await.ok();
    answer.ok_or(last).with_context(|| format!("waited in vain until {what}"))
}
