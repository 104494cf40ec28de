//! AWS JSON 1.0: `POST /`, the operation in `X-Amz-Target`, errors as HTTP 400 with `__type`.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{StepFunctions, operations};
use crate::front::{Body, Endpoint, whole};

const TARGET: &str = "x-amz-target";
const SERVICE: &str = "AWSStepFunctions";
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");

impl Endpoint for StepFunctions {
    fn kind(&self, request: &Request<Bytes>) -> String {
        operation(request).map_or_else(|| format!("{} {}", request.method(), request.uri().path()), ToOwned::to_owned)
    }

    async fn answer(self: Arc<Self>, request: Request<Bytes>) -> Response<Body> {
        let outcome = operations::perform(&self, operation(&request).unwrap_or_default(), request.body()).await;
        match outcome {
            Ok(answer) => respond(StatusCode::OK, &answer),
            Err(error) => {
                let answer = json!({ "__type": error.wire_type(), "message": error.to_string() });
                respond(StatusCode::BAD_REQUEST, &answer)
            }
        }
    }
}

fn operation(request: &Request<Bytes>) -> Option<&str> {
    if request.method() != Method::POST || request.uri().path() != "/" {
        return None;
    }
    let (service, operation) = request.headers().get(TARGET)?.to_str().ok()?.split_once('.')?;
    (service == SERVICE).then_some(operation)
}

fn respond(status: StatusCode, answer: &Value) -> Response<Body> {
    let mut response = Response::new(whole(answer.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}
