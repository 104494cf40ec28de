//! The rule of trust: what a request says of where its cluster is has to be what is known from elsewhere. A credential is never
//! sent to a place that only a request names.

use runjob_core::{
    failure::{ErrorName, TaskFailure},
    request::Target,
};

use super::location::{CertificateAuthority, EksName, Endpoint, Location};

/// What a request says is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTrusted {
    /// Its `Endpoint` is another one.
    #[error("Endpoint is not that of the cluster")]
    Endpoint,
    /// Its `CertificateAuthority` is another one.
    #[error("CertificateAuthority is not that of the cluster")]
    Authority,
}

/// Whether what a request says is what is known of the cluster. What it does not say cannot be wrong; what cannot be read is not what
/// is known.
pub(super) fn check(target: &Target, known: &Location) -> Result<(), NotTrusted> {
    let endpoint: Option<Result<Endpoint, _>> = target.endpoint.as_deref().map(str::parse);
    if endpoint.is_some_and(|said| said.as_ref() != Ok(&known.endpoint)) {
        return Err(NotTrusted::Endpoint);
    }
    let authority: Option<Result<CertificateAuthority, _>> = target.certificate_authority.as_deref().map(str::parse);
    if authority.is_some_and(|said| !said.is_ok_and(|said| said.overlaps(&known.authority))) {
        return Err(NotTrusted::Authority);
    }
    Ok(())
}

impl NotTrusted {
    /// What a task fails with for it.
    pub(super) fn failure(self, cluster: &EksName) -> TaskFailure {
        let message = format!("ClusterName is \"{cluster}\", and {self}: correct it, or leave it out");
        TaskFailure::saying(ErrorName::ClusterNotAllowed, message)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;
    use crate::cluster::eks::fixtures::{ONE_AUTHORITY, OTHER_AUTHORITY, authority};

    #[test]
    fn what_a_request_says_is_so_or_is_not_said() {
        let known = Location {
            endpoint: "https://ABC.eks.amazonaws.com".parse().unwrap(),
            authority: authority(ONE_AUTHORITY),
        };
        let [ours, others] = [ONE_AUTHORITY, OTHER_AUTHORITY].map(|pem| BASE64.encode(pem.as_bytes()));
        let (ours, others) = (Some(ours.as_str()), Some(others.as_str()));
        let (there, also, elsewhere) = (
            Some("https://ABC.eks.amazonaws.com"),
            Some("https://abc.eks.amazonaws.com:443/"),
            Some("https://evil.example"),
        );
        let cases = [
            (None, None, Ok(())),
            (there, None, Ok(())),
            (also, ours, Ok(())),
            (None, ours, Ok(())),
            (elsewhere, None, Err(NotTrusted::Endpoint)),
            (elsewhere, ours, Err(NotTrusted::Endpoint)),
            (Some("http://ABC.eks.amazonaws.com"), None, Err(NotTrusted::Endpoint)),
            (Some("https://ABC.eks.amazonaws.com@evil.example"), None, Err(NotTrusted::Endpoint)),
            (Some(""), None, Err(NotTrusted::Endpoint)),
            (there, others, Err(NotTrusted::Authority)),
            (None, others, Err(NotTrusted::Authority)),
            (None, Some("LS0t"), Err(NotTrusted::Authority)),
            (None, Some(""), Err(NotTrusted::Authority)),
        ];
        for (endpoint, authority, expected) in cases {
            let said = |text: Option<&str>| text.map(ToOwned::to_owned);
            let target = Target { name: None, endpoint: said(endpoint), certificate_authority: said(authority) };
            assert_eq!(check(&target, &known), expected, "{target:?}");
        }
    }

    #[test]
    fn while_an_authority_is_rotated_either_of_its_certificates_will_do() {
        let both = format!("{ONE_AUTHORITY}{OTHER_AUTHORITY}");
        let location = |pem: &str| Location {
            endpoint: "https://abc.eks.amazonaws.com".parse().unwrap(),
            authority: authority(pem),
        };
        for (known, said, is_so) in [
            (&*both, ONE_AUTHORITY, true),
            (&*both, OTHER_AUTHORITY, true),
            (ONE_AUTHORITY, &*both, true),
            (&*both, &*both, true),
            (ONE_AUTHORITY, OTHER_AUTHORITY, false),
        ] {
            let said = Some(BASE64.encode(said.as_bytes()));
            let target = Target { name: None, endpoint: None, certificate_authority: said };
            assert_eq!(check(&target, &location(known)).is_ok(), is_so);
        }
    }

    #[test]
    fn what_is_not_so_fails_its_task() {
        let failure = NotTrusted::Endpoint.failure(&"prod".parse().unwrap());
        assert_eq!(failure.error, ErrorName::ClusterNotAllowed);
        assert!(
            failure.message().contains("\"prod\"") && failure.message().contains("Endpoint"),
            "{}",
            failure.message()
        );
    }
}
