//! The body of an answer: read and parsed within bounds.
//!
//! What is short is read and parsed on the spot. What is longer shares a room, takes its part of it before it is read on, and is parsed
//! one at a time, apart from the runtime's threads: answers are as long as others make them.

use std::sync::Arc;

use http_body::Body as _;
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::sync::Semaphore;

use crate::{
    room::{Room, Taken},
    workshop::{ON_THE_SPOT, Workshop},
};

/// What the long answers that are being read may take together, in KiB: 8 MiB.
const MAX_LONG: u32 = 8 * 1024;
/// What one of them takes of it at most: an object has 1.5 MiB where Kubernetes stores it, and seldom twice that as JSON.
const MAX_SHARE: usize = 4 * 1024 * 1024;
/// The most lists of pods at a time: after an outage very many are due at once, each with a connection of its own.
const MAX_LISTS: usize = 8;

/// The bounds of what is read from one cluster. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    room: Arc<Room>,
    workshop: Workshop,
    /// For lists of pods.
    pub(super) lists: Arc<Semaphore>,
}

impl Default for Reading {
    fn default() -> Self {
        let (room, lists) = (Arc::new(Room::of(MAX_LONG)), Arc::new(Semaphore::new(MAX_LISTS)));
        Self { room, workshop: Workshop::default(), lists }
    }
}

/// A body that was read.
#[derive(Debug, Default)]
pub(super) struct Raw {
    bytes: Vec<u8>,
    /// What it takes, if it is long.
    _room: Option<Taken>,
}

/// A body could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It is longer than what is read of it.
    TooLong,
    /// It broke off.
    BrokeOff(kube::Error),
}

impl Reading {
    /// Reads a body of so many bytes at most. Of a longer one no more is read than that.
    pub(super) async fn read(&self, mut body: Body, most: usize) -> Result<Raw, ReadError> {
        let is_too_long = |bytes: u64| u64::try_from(most).is_ok_and(|most| bytes > most);
        if is_too_long(body.size_hint().lower()) {
            return Err(ReadError::TooLong);
        }
        let (mut bytes, mut room) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(ReadError::BrokeOff)?.into_data() else { continue };
            let length = bytes.len().saturating_add(data.len());
            if length > most {
                return Err(ReadError::TooLong);
            }
            if length > ON_THE_SPOT && room.is_none() {
                let share = most.min(MAX_SHARE);
                room = self.room.take(share).await;
                // Memory that is not written to is not taken.
                bytes.reserve_exact(share);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Raw { bytes, _room: room })
    }
}

impl From<Vec<u8>> for Raw {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, _room: None }
    }
}

impl Raw {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Looks at the body on the spot.
    pub(super) fn check<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        look(&self.bytes)
    }

    /// Makes something of the body, and lets go of it.
    pub(super) async fn parse<T, F>(self, reading: &Reading, parse: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&[u8]) -> T + Send + 'static,
    {
        reading.workshop.work(self.len(), move || parse(&self.bytes)).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn a_body(bytes: usize) -> Body {
        Body::from(vec![b' '; bytes])
    }

    const MIB: usize = 1024 * 1024;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound_and_no_further() {
        let reading = Reading::default();
        assert_eq!(reading.read(a_body(MIB), MIB).await.unwrap().len(), MIB);
        assert!(matches!(reading.read(a_body(MIB + 1), MIB).await, Err(ReadError::TooLong)));
    }

    #[tokio::test]
    async fn long_bodies_share_a_room_and_short_ones_need_none() {
        let reading = Reading::default();
        let mut held = Vec::new();
        while let Some(body) = reading.read(a_body(MIB), MIB).now_or_never() {
            held.push(body.unwrap());
        }
        assert_eq!(held.len(), 8);
        assert!(reading.read(a_body(ON_THE_SPOT), MIB).now_or_never().is_some());
        let first = held.pop().unwrap();
        first.parse(&reading, |_| ()).await;
        assert!(reading.read(a_body(MIB), MIB).now_or_never().is_some());
    }
}
