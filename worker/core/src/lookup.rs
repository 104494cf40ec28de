//! Is the Job there? What the answer to a GET of it says.

use crate::{answer::ApiAnswer, job::JobView, refusal::is_status};

/// What an answer says of the Job that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// It is there. It may be another one of that name than was meant.
    Found(Box<JobView>),
    /// The API server has none of that name.
    Absent,
    /// Whoever asks may not know.
    Denied,
    /// Nothing: the API server is in trouble, or something before it has answered.
    Unavailable,
}

impl Finding {
    /// That a Job is gone is believed only in the API server's own words: a proxy says 404 of what it does not know, and a Job that
    /// is taken for gone is reported as deleted.
    pub fn of(answer: &ApiAnswer) -> Self {
        match answer.status {
            200..=299 => JobView::of(&answer.body).map_or(Self::Unavailable, |view| Self::Found(Box::new(view))),
            404 if is_status(answer) => Self::Absent,
            403 => Self::Denied,
            _ => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::a_job;

    #[test]
    fn only_what_the_api_server_says_itself_counts() {
        let status = json!({"kind": "Status"}).to_string();
        let job = a_job().value().to_string();
        let found = Finding::Found(Box::new(a_job().view()));
        let cases = [
            (200, job.as_str(), found),
            (200, "<html>", Finding::Unavailable),
            (200, "{}", Finding::Unavailable),
            (204, "", Finding::Unavailable),
            (404, &status, Finding::Absent),
            (404, "<html>", Finding::Unavailable),
            (404, "{}", Finding::Unavailable),
            (403, &status, Finding::Denied),
            (401, &status, Finding::Unavailable),
            (408, &status, Finding::Unavailable),
            (410, &status, Finding::Unavailable),
            (429, &status, Finding::Unavailable),
            (500, &status, Finding::Unavailable),
            (503, &status, Finding::Unavailable),
        ];
        for (status, body, expected) in cases {
            assert_eq!(Finding::of(&ApiAnswer::new(status, "", body.as_bytes())), expected, "{status} {body}");
        }
    }
}
