//! What is asked for, and what a cluster's requests may ask for.

use runjob_core::{
    failure::{ErrorName, TaskFailure},
    request::{self, Parsed, Request, Strictness},
    service_account::Allowed,
};
use tracing::warn;

/// The most fields of one input that are told of, having been passed over: there may be as many as fit into a megabyte, or six.
const MAX_WARNINGS: usize = 10;

/// Takes an input as a request, and tells of what was passed over.
pub fn read(input: &str, strictness: Strictness) -> Result<Parsed, TaskFailure> {
    let parsed = request::parse(input, strictness).map_err(|invalid| invalid.failure())?;
    for warning in parsed.warnings.iter().take(MAX_WARNINGS) {
        warn!(path = warning.path(), "a part of a task's input was passed over");
    }
    Ok(parsed)
}

/// The namespaces and service accounts that requests may name.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    /// None: every namespace.
    pub namespaces: Vec<String>,
    /// None: every service account.
    pub service_accounts: Vec<String>,
}

impl Admission {
    /// Whether the request may be served.
    pub fn check(&self, request: &Request) -> Result<(), TaskFailure> {
        let namespace = match request {
            Request::RunJob(run) => Some(run.namespace.as_str()),
            Request::Call(call) => call.namespace(),
        };
        self.check_namespace(namespace)?;
        if let Some(allowed) = Allowed::of(&self.service_accounts) {
            match request {
                Request::RunJob(run) => allowed.check_job(run.manifest.value())?,
                Request::Call(call) => allowed.check_call(call)?,
            }
        }
        Ok(())
    }

    fn check_namespace(&self, namespace: Option<&str>) -> Result<(), TaskFailure> {
        let served = &self.namespaces;
        if served.is_empty() || namespace.is_some_and(|namespace| served.iter().any(|own| own == namespace)) {
            return Ok(());
        }
        let asked = namespace.map_or_else(|| "no namespace".to_owned(), |namespace| format!("\"{namespace}\""));
        let message = format!("the request names {asked}, and only these are served: {}", served.join(", "));
        Err(TaskFailure::saying(ErrorName::NamespaceNotAllowed, message))
    }
}
