//! Lists, page by page. A page has as many objects as fit into a bound of bytes: objects are as large as others make them.

use std::fmt;

use http::Method;
use runjob_core::{event::EventView, foreign::Foreign, pod::PodView};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::Value;

use super::{
    Cluster, Delivery, Exchanged, Unreachable,
    body::Raw,
    exchange::{Answered, Ask, MAX_BODY, escape},
    unauthenticated::Unauthenticated,
};
use crate::retry::CALLS;

/// The most objects that one page has. Most lists are shorter, and cost one request.
const PAGE: usize = 100;
/// The longest page that is read, but for one of a single object. A longer one is asked for with half as many objects.
const MAX_PAGE: usize = 1024 * 1024;

/// A list could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The API server would not.
    #[error("unable to {operation}: the server answered {}", refused.answer.status)]
    Refused {
        /// What was asked for: "list the pods of the Job default/x".
        operation: String,
        /// The answer.
        refused: Exchanged,
    },
    /// There was no answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// What is kept of an object of a list. It is cut down while its page is parsed, so that no more than one of them is whole at a time.
pub(super) trait Listed: Sized + Send + 'static {
    fn of(object: Value) -> Self;
}

impl Listed for Value {
    fn of(object: Value) -> Self {
        object
    }
}

impl Listed for PodView {
    fn of(object: Value) -> Self {
        Self::of(&object)
    }
}

impl Listed for EventView {
    fn of(object: Value) -> Self {
        Self::of(&object)
    }
}

struct Item<T>(T);

impl<'de, T: Listed> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Foreign(object) = Foreign::deserialize(deserializer)?;
        Ok(Self(T::of(object)))
    }
}

/// A page of a list, as the API server sends it.
#[derive(Deserialize)]
struct Page<I> {
    #[serde(default)]
    metadata: PageMetadata,
    items: Option<Vec<I>>,
}

#[derive(Deserialize, Default)]
struct PageMetadata {
    #[serde(rename = "continue")]
    more: Option<String>,
}

/// How many objects the next page is asked for with.
#[derive(Debug)]
pub(super) struct PageSize(usize);

impl Default for PageSize {
    fn default() -> Self {
        Self(PAGE)
    }
}

impl PageSize {
    /// The page was too long. `false`: it had one object.
    fn halve(&mut self) -> bool {
        let was = self.0;
        self.0 = (was / 2).max(1);
        was > 1
    }

    /// The page was so long. Pages that are far shorter than they may be grow again: the large objects are behind it.
    fn read(&mut self, bytes: usize) {
        if bytes < MAX_PAGE / 4 {
            self.0 = (self.0 * 2).min(PAGE);
        }
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Cluster {
    /// Asks for a list, and gives each of its objects to `take` as the pages arrive: a list may be longer than what should be
    /// held of it. The URI of the question has a query already.
    pub(super) async fn list<T: Listed>(&self, mut ask: Ask, mut take: impl FnMut(T) + Send) -> Result<(), ListError> {
        let (first, mut size) = (ask.uri.clone(), PageSize::default());
        loop {
            let answered = self.page(&ask, &mut size).await?;
            if !answered.status().is_success() {
                let refused = answered.parsed(&self.reading).await;
                return Err(ListError::Refused { operation: ask.operation, refused });
            }
            let parse = |body: &[u8]| serde_json::from_slice::<Page<Item<T>>>(body).map_err(|error| error.to_string());
            let page = answered.into_raw().parse(&self.reading, parse).await;
            let page = page.map_err(|reason| Unreachable::garbled(&ask, &reason))?;
            page.items.into_iter().flatten().for_each(|Item(object)| take(object));
            match page.metadata.more {
                Some(more) if !more.is_empty() => ask.uri = format!("{first}&continue={}", escape(&more)),
                _ => return Ok(()),
            }
        }
    }

    /// One page. Whoever asks for a list gives up soon when it is refused, so a 401 is waited out here.
    async fn page(&self, ask: &Ask, size: &mut PageSize) -> Result<Answered, Unreachable> {
        let (mut unauthenticated, mut pauses) = (Unauthenticated::default(), CALLS.pauses());
        loop {
            let answered = self.sized_page(ask, size).await?;
            if !unauthenticated.may_pass(answered.status().as_u16()) {
                return Ok(answered);
            }
            tokio::time::sleep(pauses.next(answered.retry_after())).await;
        }
    }

    /// One page, of as many objects as fit.
    async fn sized_page(&self, ask: &Ask, size: &mut PageSize) -> Result<Answered, Unreachable> {
        loop {
            let most = if size.0 == 1 { MAX_BODY } else { MAX_PAGE };
            let ask = Ask { uri: format!("{}&limit={size}", ask.uri), most, ..ask.clone() };
            match self.send(&ask).await {
                Ok(answered) => {
                    size.read(answered.len());
                    return Ok(answered);
                }
                Err(error) if matches!(error.delivery, Delivery::AnswerTooLong(_)) && size.halve() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One page for a client that pages by itself, with its own idea of how many objects a page has: the body as it is, if it is a
    /// page. What is none must not get there: that client would write it into the log, with what is secret in it.
    pub(super) async fn page_of(&self, uri: &str, size: &mut PageSize) -> Result<(http::StatusCode, Raw), Unreachable> {
        let ask = Ask::new("list Jobs".to_owned(), Method::GET, uri.to_owned());
        let answered = self.sized_page(&ask, size).await?;
        let status = answered.status();
        let raw = answered.into_raw();
        if status.is_success() {
            raw.check(|body| {
                serde_json::from_slice::<Page<IgnoredAny>>(body).map(drop).map_err(|error| error.to_string())
            })
            .map_err(|reason| Unreachable::garbled(&ask, &reason))?;
        }
        Ok((status, raw))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, Request, Response};
    use kube::client::Body;
    use runjob_core::refusal::AUTHENTICATION_PATIENCE;
    use serde_json::json;
    use tokio::{sync::mpsc, time::Instant};
    use tower::{BoxError, service_fn};

    use super::*;
    use crate::clock::Clock;

    /// A cluster that knows nobody for so long, then has one object.
    fn a_cluster(unknown: Duration) -> Cluster {
        let begun = Instant::now();
        let service = service_fn(move |_: Request<Body>| async move {
            let (status, body) = if begun.elapsed() < unknown {
                (401, json!({"message": "Unauthorized"}))
            } else {
                (200, json!({"items": [{"kind": "Pod"}]}))
            };
            Ok::<_, BoxError>(Response::builder().status(status).body(Body::from(body.to_string().into_bytes()))?)
        });
        Cluster::over(service, "", Clock::start())
    }

    /// A cluster that has so many objects of so many bytes each, and tells of each page how many objects were asked for.
    fn a_cluster_with(objects: usize, bytes: usize, asked: mpsc::UnboundedSender<usize>) -> Cluster {
        let service = service_fn(move |request: Request<Body>| {
            let asked = asked.clone();
            async move {
                let query = request.uri().query().unwrap_or_default();
                let number = |name: &str| query.split('&').find_map(|field| field.strip_prefix(name)?.parse().ok());
                let (limit, from): (usize, usize) = (number("limit=").unwrap(), number("continue=").unwrap_or(0));
                let _ = asked.send(limit);
                let to = objects.min(from + limit);
                let items: Vec<Value> = (from..to).map(|n| json!({"n": n, "filling": "x".repeat(bytes)})).collect();
                let more = if to < objects { to.to_string() } else { String::new() };
                let body = json!({"items": items, "metadata": {"continue": more}}).to_string();
                Ok::<_, BoxError>(Response::new(Body::from(body.into_bytes())))
            }
        });
        Cluster::over(service, "", Clock::start())
    }

    /// The objects of a list, and with how many objects its pages were asked for.
    async fn paged(objects: usize, bytes: usize) -> (Vec<u64>, Vec<usize>) {
        let (to, mut asked) = mpsc::unbounded_channel();
        let ask = Ask::new("list pods".to_owned(), Method::GET, "/api/v1/pods?labelSelector=a".to_owned());
        let mut numbers = Vec::new();
        let take = |object: Value| numbers.push(object["n"].as_u64().unwrap());
        a_cluster_with(objects, bytes, to).list(ask, take).await.unwrap();
        let mut pages = Vec::new();
        while let Ok(page) = asked.try_recv() {
            pages.push(page);
        }
        (numbers, pages)
    }

    #[tokio::test]
    async fn a_page_that_is_too_long_is_asked_for_with_half_as_many_objects() {
        let (numbers, pages) = paged(30, 100 * 1024).await;
        assert_eq!(numbers, (0..30).collect::<Vec<_>>());
        assert_eq!(pages[..4], [100, 50, 25, 12]);
        assert!(pages[4..].iter().all(|page| *page <= 12), "{pages:?}");
    }

    #[tokio::test]
    async fn one_object_may_be_longer_than_a_page() {
        let (numbers, pages) = paged(3, 2 * MAX_PAGE).await;
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(pages, [100, 50, 25, 12, 6, 3, 1, 1, 1]);
    }

    #[tokio::test]
    async fn short_objects_cost_few_requests() {
        let (numbers, pages) = paged(250, 10).await;
        assert_eq!((numbers.len(), pages), (250, vec![100, 100, 100]));
    }

    #[tokio::test]
    async fn what_is_no_list_is_no_answer() {
        let service = service_fn(|_: Request<Body>| async {
            Ok::<_, BoxError>(Response::new(Body::from(b"<html>welcome</html>".to_vec())))
        });
        let ask = Ask::new("list pods".to_owned(), Method::GET, "/api/v1/pods?labelSelector=a".to_owned());
        let listed = Cluster::over(service, "", Clock::start()).list(ask, |_: Value| ()).await;
        assert!(matches!(listed, Err(ListError::Unreachable(_))));
    }

    async fn listed(unknown: Duration) -> Result<usize, ListError> {
        let mut objects = 0;
        let ask = Ask::new("list pods".to_owned(), Method::GET, "/api/v1/pods?labelSelector=a".to_owned());
        a_cluster(unknown).list(ask, |_: Value| objects += 1).await?;
        Ok(objects)
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_waits_until_the_api_knows_somebody() {
        assert_eq!(listed(Duration::from_mins(1)).await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_does_not_wait_for_ever() {
        let begun = Instant::now();
        let error = listed(AUTHENTICATION_PATIENCE * 10).await.unwrap_err();
        assert!(matches!(&error, ListError::Refused { refused, .. } if refused.answer.status == 401), "{error}");
        assert!(begun.elapsed() < AUTHENTICATION_PATIENCE * 2);
    }
}
