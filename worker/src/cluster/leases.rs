//! Leases: read, create, replace. Every write names the version that it replaces.

use std::fmt;

use http::Method;
use serde_json::{Value, json};

use super::{
    Cluster, Exchanged, WriteError,
    exchange::{Ask, escape},
    jobs::written,
};

/// One Lease.
#[derive(Debug, Clone)]
pub struct LeaseKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Cluster {
    /// Reads a Lease. `None`: there is none of that name.
    pub async fn lease(&self, key: &LeaseKey) -> Result<Option<Value>, WriteError> {
        let ask = Ask::new(format!("read the Lease {key}"), Method::GET, uri_of(key));
        let exchanged = self.exchange(&ask).await?;
        if exchanged.answer.status == 404 { Ok(None) } else { object(exchanged).map(Some) }
    }

    /// Creates a Lease, and gives it as it is then.
    pub async fn create_lease(&self, key: &LeaseKey, mut lease: Value) -> Result<Value, WriteError> {
        if let Some(lease) = lease.as_object_mut() {
            lease.insert("apiVersion".to_owned(), "coordination.k8s.io/v1".into());
            lease.insert("kind".to_owned(), "Lease".into());
            lease.insert("metadata".to_owned(), json!({"namespace": key.namespace, "name": key.name}));
        }
        let ask = Ask::new(format!("create the Lease {key}"), Method::POST, collection_of(key));
        object(self.exchange(&ask.with_body("application/json", &lease)).await?)
    }

    /// Replaces a Lease, and gives it as it is then.
    pub async fn replace_lease(&self, key: &LeaseKey, lease: &Value) -> Result<Value, WriteError> {
        let ask = Ask::new(format!("replace the Lease {key}"), Method::PUT, uri_of(key));
        let exchanged = self.exchange(&ask.with_body("application/json", lease)).await?;
        if exchanged.answer.status == 404 { Err(WriteError::Changed) } else { object(exchanged) }
    }
}

fn object(exchanged: Exchanged) -> Result<Value, WriteError> {
    written(&exchanged).map(|()| exchanged.answer.body)
}

fn uri_of(key: &LeaseKey) -> String {
    format!("{}/{}", collection_of(key), escape(&key.name))
}

fn collection_of(key: &LeaseKey) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", escape(&key.namespace))
}
