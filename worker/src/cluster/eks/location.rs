//! Which EKS cluster, and where it is. What cannot be right is never built.

use std::{fmt, str::FromStr, sync::Arc};

use data_encoding::BASE64;
use http::{Uri, uri::Scheme};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The longest name that EKS gives a cluster (`CreateCluster`, `name`).
const MAX_NAME: usize = 100;

/// The name of a cluster, as EKS knows it. Its API server takes only tokens that were made for this very name, so there are no
/// aliases.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EksName(Arc<str>);

/// The text cannot be the name of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not the name of an EKS cluster: 1 to 100 letters, digits, '-' and '_', a letter or digit first")]
pub struct NotAnEksName(String);

impl FromStr for EksName {
    type Err = NotAnEksName;

    fn from_str(text: &str) -> Result<Self, NotAnEksName> {
        let fits = text.len() <= MAX_NAME
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if fits { Ok(Self(text.into())) } else { Err(NotAnEksName(text.to_owned())) }
    }
}

impl EksName {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EksName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an API server listens. Two are equal if they lead to the same place, however they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// The text cannot be the endpoint of an EKS cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an endpoint: expected https://, a host, perhaps a port, and nothing more")]
pub struct NotAnEndpoint(String);

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    /// Only `https`: what is sent there is a credential.
    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let refused = || NotAnEndpoint(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| refused())?;
        let is_plain = uri.scheme() == Some(&Scheme::HTTPS)
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let host = uri.host().filter(|host| is_plain && !host.is_empty()).ok_or_else(refused)?.to_ascii_lowercase();
        let normal = match uri.port_u16() {
            None | Some(443) => format!("https://{host}"),
            Some(port) => format!("https://{host}:{port}"),
        };
        normal.parse().map(Self).map_err(|_| refused())
    }
}

impl Endpoint {
    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

/// The certificates that an API server's own has to come from. Nothing else is trusted: not what the machine trusts.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateAuthority(Vec<CertificateDer<'static>>);

/// The text cannot be the certificate authority of an EKS cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate authority, which is base64 of PEM, as DescribeCluster has it: {0}")]
pub struct NotAnAuthority(String);

impl FromStr for CertificateAuthority {
    type Err = NotAnAuthority;

    fn from_str(text: &str) -> Result<Self, NotAnAuthority> {
        fn refused(reason: impl fmt::Display) -> NotAnAuthority {
            NotAnAuthority(reason.to_string())
        }
        // In a file it may be folded.
        let text: String = text.split_ascii_whitespace().collect();
        let pem = BASE64.decode(text.as_bytes()).map_err(refused)?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<_, _>>()
            .map_err(|_| refused("the PEM is damaged"))?;
        if certificates.is_empty() {
            return Err(refused("there is no certificate in it"));
        }
        for certificate in &certificates {
            RootCertStore::empty().add(certificate.clone()).map_err(refused)?;
        }
        Ok(Self(certificates))
    }
}

impl CertificateAuthority {
    /// The certificates, DER.
    pub(super) fn der(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|certificate| certificate.to_vec()).collect()
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateAuthority({} certificates)", self.0.len())
    }
}

/// Where a cluster is, and how it is known to be the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Where its API server listens.
    pub endpoint: Endpoint,
    /// Who vouches for it.
    pub authority: CertificateAuthority,
}
