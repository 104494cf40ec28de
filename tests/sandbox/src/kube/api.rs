//! Requests and their answers.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::{
    Shared,
    create::{self, Run, Wish},
    delete::{self, Options, Outcome},
    fields, list, log_request,
    patch::{self, Format},
    path::{Query, Route, Target},
    resources::{self, Scope},
    selector::Selector,
    status::{self, Status, json_response},
    store::Key,
    update::{self, Part},
    watch,
};
use crate::front::{Body, Cut, whole};

/// Answers one request.
pub(crate) fn answer(shared: &Arc<Shared>, request: &Request<Bytes>) -> Response<Body> {
    if shared.gate.borrow().closed {
        return Status::shutting_down().into_response();
    }
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    let result = match Route::of(request.uri().path()) {
        Route::Objects(target) => objects(shared, request, target),
        Route::Unknown => Err(Status::unknown_path()),
        _ if !get => Err(Status::method_not_allowed()),
        Route::Health => Ok(text(whole("ok"))),
        Route::Version => Ok(json_response(StatusCode::OK, &version())),
        Route::CoreVersions => Ok(json_response(StatusCode::OK, &json!({"kind": "APIVersions", "versions": ["v1"]}))),
        Route::Groups => Ok(json_response(StatusCode::OK, &groups())),
        Route::Resources { group, version } => resource_list(&group, &version),
    };
    result.unwrap_or_else(Status::into_response)
}

fn objects(shared: &Arc<Shared>, request: &Request<Bytes>, target: Target) -> Result<Response<Body>, Status> {
    let query = Query::of(request);
    let body = request.body();
    let part = match target.subresource.as_deref() {
        None => Part::Main,
        Some("status") => Part::Status,
        Some("log") if target.resource.qualified() == "pods" && *request.method() == Method::GET => {
            return log(shared, &target, &query);
        }
        Some(_) => return Err(Status::unknown_path()),
    };
    let run = if query.get("dryRun").is_some() { Run::Dry } else { Run::Real };
    match (request.method(), target.name.as_deref()) {
        (&Method::GET | &Method::HEAD, None) => collection(shared, target, &query),
        (&Method::GET | &Method::HEAD, Some(name)) if query.is_set("watch") => {
            let selector = Selector::parse(&target.resource, None, Some(&format!("metadata.name={name}")))?;
            Ok(stream("application/json", watch::open(shared, target, selector, &query)?))
        }
        (&Method::GET | &Method::HEAD, Some(name)) => {
            let object = shared.state().find(&key(&target, name))?;
            Ok(json_response(StatusCode::OK, &object))
        }
        (&Method::POST, None) if part == Part::Main => {
            let wish = Wish {
                resource: &target.resource,
                version: &target.version,
                namespace: target.namespace.as_deref(),
                object: parse(body)?,
                manager: manager(request, &query),
                run,
            };
            let object = create::create(&mut shared.state(), wish)?;
            Ok(json_response(StatusCode::CREATED, &object))
        }
        (&Method::PUT, Some(name)) => {
            let object = parse(body)?;
            let object = update::update(&mut shared.state(), &key(&target, name), object, part, run)?;
            Ok(json_response(StatusCode::OK, &object))
        }
        (&Method::PATCH, Some(name)) => {
            let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let format = Format::of(content_type.unwrap_or_default())?;
            let object = patch::patch(&mut shared.state(), &key(&target, name), format, body, part, run)?;
            let mut response = json_response(StatusCode::OK, &object);
            if format == Format::Strategic {
                let note = "299 - \"the sandbox applies a strategic merge patch as a merge patch\"";
                response.headers_mut().insert(header::WARNING, HeaderValue::from_static(note));
            }
            Ok(response)
        }
        (&Method::DELETE, name) if part == Part::Main => {
            let options = Options::read(&query, body)?;
            match name {
                Some(name) => delete_one(shared, &key(&target, name), &options),
                None => delete_all(shared, &target, &query, &options),
            }
        }
        _ => Err(Status::method_not_allowed()),
    }
}

fn collection(shared: &Arc<Shared>, target: Target, query: &Query) -> Result<Response<Body>, Status> {
    let selector = selector(&target, query)?;
    if query.is_set("watch") {
        return Ok(stream("application/json", watch::open(shared, target, selector, query)?));
    }
    let list = list::list(&shared.state(), &target, &selector, query)?;
    Ok(json_response(StatusCode::OK, &list))
}

fn log(shared: &Arc<Shared>, target: &Target, query: &Query) -> Result<Response<Body>, Status> {
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let name = target.name.as_deref().unwrap_or_default();
    Ok(stream("text/plain", log_request::read(shared, namespace, name, query)?))
}

fn delete_one(shared: &Arc<Shared>, key: &Key, options: &Options) -> Result<Response<Body>, Status> {
    let body = match delete::delete(&mut shared.state(), key, options)? {
        Outcome::Gone(object) => status::deleted(&key.resource, &key.name, fields::uid(&object)),
        Outcome::Going(object) => Value::clone(&object),
    };
    Ok(json_response(StatusCode::OK, &body))
}

/// Deletes what a selector selects; the answer lists it, as the server does.
fn delete_all(
    shared: &Arc<Shared>,
    target: &Target,
    query: &Query,
    options: &Options,
) -> Result<Response<Body>, Status> {
    let selector = selector(target, query)?;
    let mut state = shared.state();
    let list = list::list(&state, target, &selector, query)?;
    let keys: Vec<Key> = state
        .list(&target.resource, target.namespace.as_deref())
        .filter(|object| selector.matches(object))
        .map(|object| Key::new(&target.resource, fields::namespace(object), fields::name(object)))
        .collect();
    for key in &keys {
        delete::delete(&mut state, key, options)?;
    }
    Ok(json_response(StatusCode::OK, &list))
}

fn selector(target: &Target, query: &Query) -> Result<Selector, Status> {
    Selector::parse(&target.resource, query.get("labelSelector"), query.get("fieldSelector"))
}

fn key(target: &Target, name: &str) -> Key {
    Key::new(&target.resource, target.namespace.as_deref().unwrap_or_default(), name)
}

fn parse(body: &Bytes) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|wrong| {
        Status::bad_request(format!("the object provided is unrecognized (must be of type JSON): {wrong}"))
    })
}

/// Who writes: as the client says, or the first word of its name.
fn manager<'a>(request: &'a Request<Bytes>, query: &'a Query) -> &'a str {
    let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    query
        .get("fieldManager")
        .or_else(|| agent.and_then(|agent| agent.split('/').next()).filter(|agent| !agent.is_empty()))
        .unwrap_or("unknown")
}

fn stream(content_type: &'static str, pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let frames = pieces.map(|bytes| Ok::<_, Cut>(Frame::data(bytes)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn text(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn version() -> Value {
    json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0+runjob-sandbox", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": ""})
}

fn groups() -> Value {
    let groups: Vec<Value> = resources::groups()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, version)| {
            let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
            json!({"name": group, "versions": [version], "preferredVersion": version})
        })
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn resource_list(group: &str, version: &str) -> Result<Response<Body>, Status> {
    let resources: Vec<Value> = resources::resources(group, version)
        .into_iter()
        .map(|(plural, kind, scope)| {
            json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": scope == Scope::Namespaced,
                "kind": kind, "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update",
                "watch"]})
        })
        .collect();
    if resources.is_empty() {
        return Err(Status::unknown_path());
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": resources});
    Ok(json_response(StatusCode::OK, &list))
}
