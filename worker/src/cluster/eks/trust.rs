//! The rule of trust: what a request says of where its cluster is has to be what is known from elsewhere. A credential is never
//! sent to a place that only a request names.

use runjob_core::failure::{ErrorName, TaskFailure};

use super::location::{CertificateAuthority, EksName, Endpoint, Location};

/// What a request says of where its cluster is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claim<'r> {
    /// `Endpoint`.
    pub endpoint: Option<&'r str>,
    /// `CertificateAuthority`.
    pub authority: Option<&'r str>,
}

/// What a request says is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTrusted {
    /// Its `Endpoint` is another one.
    #[error("Endpoint is not that of the cluster")]
    Endpoint,
    /// Its `CertificateAuthority` is another one.
    #[error("CertificateAuthority is not that of the cluster")]
    Authority,
}

impl Claim<'_> {
    /// Whether it is what is known of the cluster. What a request does not say cannot be wrong; what cannot be read is not what is
    /// known.
    pub fn check(self, known: &Location) -> Result<(), NotTrusted> {
        let endpoint: Option<Result<Endpoint, _>> = self.endpoint.map(str::parse);
        if endpoint.is_some_and(|claimed| claimed.as_ref() != Ok(&known.endpoint)) {
            return Err(NotTrusted::Endpoint);
        }
        let authority: Option<Result<CertificateAuthority, _>> = self.authority.map(str::parse);
        if authority.is_some_and(|claimed| claimed.as_ref() != Ok(&known.authority)) {
            return Err(NotTrusted::Authority);
        }
        Ok(())
    }
}

impl NotTrusted {
    /// What a task fails with for it.
    pub fn failure(self, cluster: &EksName) -> TaskFailure {
        let message = format!("ClusterName is \"{cluster}\", and {self}: correct it, or leave it out");
        TaskFailure::saying(ErrorName::ClusterNotAllowed, message)
    }
}
