//! `GET …/pods/POD/log`: which log, which part of it, and whether to follow.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::Value;

use super::{
    Shared, fields,
    logs::{ContainerLog, From},
    path::Query,
    resources::Resource,
    status::{Cause, Status},
    store::Key,
    watch::Gate,
};

/// The largest piece that a stream hands out.
const PIECE: usize = 64 * 1024;

/// What a request asks for.
struct Options {
    from: From,
    limit: Option<usize>,
    timestamps: bool,
    follow: bool,
}

/// The log's bytes, as one piece or as they come.
pub(crate) fn read(
    shared: &Arc<Shared>,
    namespace: &str,
    name: &str,
    query: &Query,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, Status> {
    let pod = shared.state().find(&Key::new(&Resource::pods(), namespace, name))?;
    let options = options(shared, name, query)?;
    let container = container(&pod, query.get("container"))?;
    let log = log(shared, &pod, &container, query.is_set("previous"))?;
    Ok(stream(shared, log, &options))
}

fn options(shared: &Shared, pod: &str, query: &Query) -> Result<Options, Status> {
    let mut causes = Vec::new();
    let mut number = |field: &str, least: i64| {
        let value = query.integer(field)?;
        if let Some(value) = value.filter(|value| *value < least) {
            let bound = if least == 0 {
                "must be greater than or equal to 0".to_owned()
            } else {
                format!("must be greater than {}", least - 1)
            };
            let message = format!("Invalid value: {value}: {bound}");
            causes.push(Cause { reason: "FieldValueInvalid", field: field.to_owned(), message });
        }
        Ok::<_, Status>(value.and_then(|value| u64::try_from(value).ok()))
    };
    let tail = number("tailLines", 0)?;
    let limit = number("limitBytes", 1)?;
    let since = number("sinceSeconds", 1)?;
    if !causes.is_empty() {
        return Err(Status::invalid(&Resource::pods(), "PodLogOptions", pod, &causes));
    }
    let now = shared.now();
    let since_time = query.get("sinceTime").map(|time| {
        time.parse().map_err(|_| Status::bad_request(format!("parsing time \"{time}\": it is not RFC 3339")))
    });
    let since = match since {
        Some(seconds) => {
            let back = jiff::SignedDuration::try_from(Duration::from_secs(seconds)).unwrap_or_default();
            Some(now.checked_sub(back).unwrap_or(jiff::Timestamp::MIN))
        }
        None => since_time.transpose()?,
    };
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(Options {
        from: From { tail: tail.map(size), since },
        limit: limit.map(size),
        timestamps: query.is_set("timestamps"),
        follow: query.is_set("follow"),
    })
}

/// The container that is meant: the one named, or the only one.
fn container(pod: &Value, asked: Option<&str>) -> Result<String, Status> {
    let names = |list: &str| -> Vec<&str> {
        fields::list(pod, &format!("/spec/{list}")).iter().map(|container| fields::text(container, "/name")).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    let name = fields::name(pod);
    match (asked, main.as_slice()) {
        (Some(asked), _) if main.contains(&asked) || init.contains(&asked) => Ok(asked.to_owned()),
        (Some(asked), _) => Err(Status::bad_request(format!("container {asked} is not valid for pod {name}"))),
        (None, [only]) if init.is_empty() => Ok((*only).to_owned()),
        (None, _) => {
            let init = if init.is_empty() {
                String::new()
            } else {
                format!(" or one of the init containers: [{}]", init.join(" "))
            };
            Err(Status::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]{init}",
                main.join(" ")
            )))
        }
    }
}

fn log(shared: &Shared, pod: &Value, container: &str, previous: bool) -> Result<Arc<ContainerLog>, Status> {
    let (uid, name) = (fields::uid(pod), fields::name(pod));
    if fields::text(pod, "/spec/nodeName").is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let status = ["containerStatuses", "initContainerStatuses"]
        .into_iter()
        .flat_map(|list| fields::list(pod, &format!("/status/{list}")))
        .find(|status| fields::text(status, "/name") == container);
    let waiting = status.and_then(|status| status.pointer("/state/waiting"));
    if previous {
        let log =
            if waiting.is_some() { shared.logs.current(uid, container) } else { shared.logs.previous(uid, container) };
        return log.ok_or_else(|| {
            Status::bad_request(format!("previous terminated container \"{container}\" in pod \"{name}\" not found"))
        });
    }
    shared.logs.current(uid, container).ok_or_else(|| {
        let why = match waiting.map(|waiting| fields::text(waiting, "/reason")) {
            Some("ErrImagePull" | "ImagePullBackOff") => "trying and failing to pull image".to_owned(),
            Some(reason) if !reason.is_empty() => reason.to_owned(),
            _ => "ContainerCreating".to_owned(),
        };
        Status::bad_request(format!("container \"{container}\" in pod \"{name}\" is waiting to start: {why}"))
    })
}

/// The state of a stream: where it stands, and how much it may still hand out.
struct Reading {
    log: Arc<ContainerLog>,
    position: usize,
    left: usize,
    over: bool,
}

fn stream(shared: &Shared, log: Arc<ContainerLog>, options: &Options) -> impl Stream<Item = Bytes> + Send + use<> {
    let reading =
        Reading { position: log.start(options.from), left: options.limit.unwrap_or(usize::MAX), over: false, log };
    let (timestamps, follow) = (options.timestamps, options.follow);
    let mut gate = shared.gate.subscribe();
    let closed = async move {
        let _ = gate.wait_for(|gate: &Gate| gate.closed).await;
    };
    futures::stream::unfold(reading, move |reading| next(reading, timestamps, follow))
        .flat_map(|bytes| futures::stream::iter(pieces(&bytes)))
        .take_until(closed)
}

async fn next(mut reading: Reading, timestamps: bool, follow: bool) -> Option<(Bytes, Reading)> {
    let mut growth = reading.log.growth();
    while !reading.over && reading.left > 0 {
        growth.mark_unchanged();
        let mut piece = reading.log.read(reading.position, timestamps);
        reading.over = piece.last || !follow;
        reading.position = piece.next;
        piece.bytes.truncate(reading.left);
        reading.left -= piece.bytes.len();
        if !piece.bytes.is_empty() {
            return Some((piece.bytes.into(), reading));
        }
        if !reading.over {
            // The sender lives in the log.
            let _ = growth.changed().await;
        }
    }
    None
}

fn pieces(bytes: &Bytes) -> Vec<Bytes> {
    bytes.chunks(PIECE).map(|piece| bytes.slice_ref(piece)).collect()
}

/// The last lines of a log, as the kubelet puts them into a termination message.
pub(crate) fn last_words(log: &ContainerLog) -> String {
    /// The kubelet's own bounds.
    const LINES: usize = 80;
    const BYTES: usize = 2048;
    let bytes = log.read(log.start(From { tail: Some(LINES), since: None }), false).bytes;
    let start = bytes.len().saturating_sub(BYTES);
    String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
}
