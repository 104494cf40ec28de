//! An answer of the Kubernetes API, and what a task gets to see of it.

use std::fmt;

use serde_json::{Map, Value};

use crate::{
    failure::{ErrorName, TaskFailure},
    hidden::Hidden,
    json,
    ledger::TASK_TOKEN,
    token::TaskToken,
};

/// The Kubernetes API's answer to a request. What is shown of it to a task shows no task tokens.
#[derive(Clone, PartialEq)]
pub struct ApiAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Its text, as HTTP names it: `Not Found`.
    pub status_text: String,
    /// The body: JSON, or a string when it is none.
    pub body: Value,
}

impl ApiAnswer {
    /// Takes an answer apart.
    pub fn new(status: u16, status_text: &str, body: &[u8]) -> Self {
        let json = std::str::from_utf8(body).ok().and_then(|text| json::read(text).ok());
        let body = json.unwrap_or_else(|| Value::String(String::from_utf8_lossy(body).into_owned()));
        Self { status, status_text: status_text.to_owned(), body }
    }

    /// Whether the request was carried out.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Takes these tokens out, wherever they stand: a message of the API server quotes what it refuses.
    #[must_use]
    pub fn without(mut self, tokens: &[TaskToken]) -> Self {
        Hidden::new(tokens).hide_in(&mut self.body);
        self
    }

    /// The native envelope: `{"ResponseBody": …, "StatusCode": 200, "StatusText": "OK"}`.
    pub fn envelope(&self) -> Value {
        self.clone().into_envelope()
    }

    /// The same of an answer that may be long: there is never a second copy of it.
    pub fn into_envelope(mut self) -> Value {
        redact(&mut self.body);
        let mut envelope = Map::new();
        envelope.insert("ResponseBody".to_owned(), self.body);
        envelope.insert("StatusCode".to_owned(), self.status.into());
        envelope.insert("StatusText".to_owned(), self.status_text.into());
        envelope.into()
    }

    /// The native failure: `EKS.<status>` with the envelope as its cause.
    pub fn failure(&self) -> TaskFailure {
        TaskFailure::new(ErrorName::Eks(self.status), self.envelope())
    }
}

impl fmt::Debug for ApiAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The body may hold task tokens.
        write!(f, "ApiAnswer({} {})", self.status, self.status_text)
    }
}

/// What stands for a text that may show a token: a Job as `kubectl apply` notes it, a body that is no JSON.
const NOT_SHOWN: &str = "[runjob: not shown, a task token may be in it]";

fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.shift_remove(TASK_TOKEN);
            map.values_mut().for_each(redact);
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) if text.contains(TASK_TOKEN) => NOT_SHOWN.clone_into(text),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::documents_in_documents;

    #[test]
    fn an_answer_shows_no_token() {
        let body = br#"{"items":[{"metadata":{"annotations":{"runjob/task-token":"secret","a":"b"}}}],"n":1.10}"#;
        let answer = ApiAnswer::new(200, "OK", body);
        assert!(!format!("{answer:?}").contains("secret"));
        assert_eq!(
            answer.envelope().to_string(),
            r#"{"ResponseBody":{"items":[{"metadata":{"annotations":{"a":"b"}}}],"n":1.10},"StatusCode":200,"StatusText":"OK"}"#
        );
    }

    #[test]
    fn a_message_shows_no_token_that_it_quotes() {
        let token = format!("AQCE{}", "x".repeat(600));
        let body = json!({"kind": "Status", "message": format!("metadata.labels: Invalid value: \"{token}\": must be"),
            "details": {"causes": [{"message": format!("Invalid value: \"{token}\"")}], (format!("f:{token}")): {}}});
        let known = [TaskToken::new("x").unwrap(), TaskToken::new(token.as_str()).unwrap()];
        let answer = ApiAnswer::new(422, "Unprocessable Entity", body.to_string().as_bytes()).without(&known);
        let shown = answer.failure().cause.to_string();
        assert!(!shown.contains(&token) && shown.contains("Invalid value: \\\"[runjob: a task token]"), "{shown}");
    }

    #[test]
    fn a_text_that_may_hold_a_token_is_not_shown() {
        let copied = json!({"metadata": {"annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{\"runjob/task-token\":\"secret\"}", "a": "b"}}});
        let nested = format!("{}{{\"runjob/task-token\":\"secret\"}}{}", "[".repeat(200), "]".repeat(200));
        for body in [copied.to_string(), nested, "runjob/task-token: secret".to_owned()] {
            let shown = ApiAnswer::new(200, "OK", body.as_bytes()).envelope().to_string();
            assert!(!shown.contains("secret") && shown.contains(NOT_SHOWN), "{shown}");
        }
    }

    #[test]
    fn a_body_that_would_be_read_as_something_else_is_a_string() {
        let text = documents_in_documents(30, 125);
        assert_eq!(ApiAnswer::new(200, "OK", text.as_bytes()).body, json!(text));
    }

    #[test]
    fn a_body_that_is_no_json_is_a_string() {
        assert_eq!(ApiAnswer::new(200, "OK", b"ok").body, json!("ok"));
        assert_eq!(ApiAnswer::new(204, "No Content", b"").body, json!(""));
    }
}
