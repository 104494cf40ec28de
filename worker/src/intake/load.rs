//! What the tasks that are being started may take of the memory: an input may have a megabyte.

use crate::room::{Room, Taken};

/// What the inputs of all tasks that were taken and are not handed over to the tracker may take together, in KiB: 32 MiB. Read and
/// planned, an input takes several times its length. Beyond that no task is polled.
const MAX_INPUTS: u32 = 32 * 1024;

/// What they take.
#[derive(Debug)]
pub struct Load {
    inputs: Room,
}

impl Default for Load {
    fn default() -> Self {
        Self { inputs: Room::of(MAX_INPUTS) }
    }
}

impl Load {
    /// Waits until there is room for inputs. What is polled then comes on top, once for each poller.
    pub(super) async fn room(&self) {
        self.inputs.any().await;
    }

    /// Counts an input that has come, until it is dropped.
    pub(super) fn count(&self, input: &str) -> Option<Taken> {
        self.inputs.take_up_to(input.len())
    }
}
