//! Is the Job there? The one way to ask.

use std::{fmt, time::Duration};

use http::Method;
use runjob_core::{job::JobView, lookup::Finding, names::JobKey};
use tracing::warn;

use super::{
    Cluster, Exchanged, Unreachable,
    exchange::{Ask, message},
    jobs::uri_of,
};
use crate::retry::CALLS;

/// What a look for a Job has shown.
#[derive(Debug)]
pub enum Lookup {
    /// It is there, or another one of its name. With the answer, which has all of it.
    Found(Box<JobView>, Box<Exchanged>),
    /// There is none of that name.
    Absent(Box<Exchanged>),
    /// Nothing: it may not be read, and that will not pass soon.
    Denied(Box<Exchanged>),
    /// Nothing, but that may pass.
    Unavailable(Unavailable),
}

/// Why nothing is known of a Job yet.
#[derive(Debug)]
pub enum Unavailable {
    /// The API server has trouble, or something before it has answered.
    Answered(Box<Exchanged>),
    /// There was no answer.
    Unreachable(Unreachable),
}

/// What a look for a Job has shown in the end.
#[derive(Debug)]
pub enum Known {
    /// It is there, or another one of its name.
    Found(Box<JobView>, Box<Exchanged>),
    /// There is none of that name.
    Absent,
    /// It may not be read, and that will not pass soon.
    Denied,
}

impl Unavailable {
    /// Not before this, as the server wishes.
    pub fn after(&self) -> Option<Duration> {
        match self {
            Self::Answered(exchanged) => exchanged.retry_after,
            Self::Unreachable(_) => None,
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(exchanged) => {
                let answer = &exchanged.answer;
                // What was carried out may be a Job, token and all.
                let said = if answer.is_success() { "no Job".to_owned() } else { message(&answer.body) };
                write!(f, "the server answered {}: {said}", answer.status)
            }
            Self::Unreachable(unreachable) => unreachable.fmt(f),
        }
    }
}

impl Cluster {
    /// Looks for a Job of that name, once.
    pub async fn look_up(&self, key: &JobKey) -> Lookup {
        let exchanged = match self.exchange(&Ask::new(format!("read the Job {key}"), Method::GET, uri_of(key))).await {
            Ok(exchanged) => Box::new(exchanged),
            Err(unreachable) => return Lookup::Unavailable(Unavailable::Unreachable(unreachable)),
        };
        match Finding::of(&exchanged.answer) {
            Finding::Found(view) => Lookup::Found(view, exchanged),
            Finding::Absent => Lookup::Absent(exchanged),
            Finding::Denied => Lookup::Denied(exchanged),
            Finding::Unavailable => Lookup::Unavailable(Unavailable::Answered(exchanged)),
        }
    }

    /// Looks for a Job of that name until something is known.
    pub async fn find_out(&self, key: &JobKey) -> Known {
        let mut pauses = CALLS.pauses();
        loop {
            let unavailable = match self.look_up(key).await {
                Lookup::Found(view, exchanged) => return Known::Found(view, exchanged),
                Lookup::Absent(_) => return Known::Absent,
                Lookup::Denied(_) => return Known::Denied,
                Lookup::Unavailable(unavailable) => unavailable,
            };
            warn!(job = %key, %unavailable, "unable to find out whether there is a Job yet");
            tokio::time::sleep(pauses.next(unavailable.after())).await;
        }
    }
}
