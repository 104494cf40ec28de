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
        // A `Uri` does not keep a fragment, and so would not show it.
        let is_plain = !text.contains('#')
            && uri.scheme() == Some(&Scheme::HTTPS)
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
    /// Whether both have a certificate in common. While an authority is rotated, there are two of them, and whoever has written one
    /// down earlier has the other or both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|certificate| other.0.contains(certificate))
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::eks::fixtures::{ONE_AUTHORITY, OTHER_AUTHORITY};

    #[test]
    fn names_are_those_that_eks_gives() {
        for name in ["a", "9", "My_cluster-1", &"a".repeat(100)] {
            assert_eq!(name.parse::<EksName>().unwrap().as_str(), name);
        }
        for name in ["", "-a", "_a", "a.b", "a b", "a\nb", "ä", &"a".repeat(101)] {
            assert!(name.parse::<EksName>().is_err(), "{name}");
        }
    }

    #[test]
    fn endpoints_are_equal_if_they_lead_to_the_same_place() {
        let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
        let one = endpoint("https://ABC.gr7.eu-west-1.eks.amazonaws.com");
        assert_eq!(one.to_string(), "https://abc.gr7.eu-west-1.eks.amazonaws.com");
        for same in ["https://abc.gr7.eu-west-1.eks.amazonaws.com/", "HTTPS://ABC.gr7.eu-west-1.EKS.amazonaws.com:443"]
        {
            assert_eq!(endpoint(same), one, "{same}");
        }
        for other in ["https://abd.gr7.eu-west-1.eks.amazonaws.com", "https://abc.gr7.eu-west-1.eks.amazonaws.com:6443"]
        {
            assert_ne!(endpoint(other), one, "{other}");
        }
        assert_eq!(endpoint("https://[::1]:6443").to_string(), "https://[::1]:6443");
    }

    #[test]
    fn an_endpoint_is_a_place_for_credentials_and_nothing_more() {
        let cases = [
            "",
            "abc.eks.amazonaws.com",
            "http://abc.eks.amazonaws.com",
            "https://",
            "https://abc.eks.amazonaws.com/path",
            "https://abc.eks.amazonaws.com?query",
            "https://abc.eks.amazonaws.com#fragment",
            "https://abc.eks.amazonaws.com/#",
            "https://abc.eks.amazonaws.com@evil.example",
            "https://user:word@abc.eks.amazonaws.com",
        ];
        for text in cases {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn authorities_are_equal_if_their_certificates_are() {
        let authority = |pem: &str| BASE64.encode(pem.as_bytes()).parse::<CertificateAuthority>().unwrap();
        let one = authority(ONE_AUTHORITY);
        assert_eq!(one, authority(&format!("# a comment\n{}", ONE_AUTHORITY.replace('\n', "\r\n"))));
        assert_ne!(one, authority(OTHER_AUTHORITY));
        assert_ne!(one, authority(&format!("{ONE_AUTHORITY}{OTHER_AUTHORITY}")));
        let folded: Vec<_> = BASE64.encode(ONE_AUTHORITY.as_bytes()).chars().collect();
        let folded = folded.chunks(64).map(|line| line.iter().collect::<String>() + "\n").collect::<String>();
        assert_eq!(folded.parse(), Ok(one));
    }

    #[test]
    fn what_is_no_certificate_is_no_authority() {
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let key = include_str!("fixtures/one-key.pem");
        for pem in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA", not_der, key] {
            assert!(BASE64.encode(pem.as_bytes()).parse::<CertificateAuthority>().is_err(), "{pem}");
        }
        assert!(ONE_AUTHORITY.parse::<CertificateAuthority>().is_err());
    }
}
