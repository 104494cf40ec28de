//! EKS from its name to an answer of its API server, over HTTP and TLS.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use data_encoding::BASE64;
use http::Method;
use serde_json::json;

use super::{
    fixtures::{
        Provider, clock_at, credentials, presigned, sdk,
        servers::{Certificate, Server, described, described_as, refused},
        signed_at,
    },
    *,
};
use crate::cluster::{Delivery, Exchanged, Unreachable, exchange::Ask};

const NOON: &str = "2026-01-01T12:00:00Z";

fn prod() -> EksCluster {
    EksCluster::named("prod".parse().unwrap())
}

/// EKS, played by that server.
fn eks_of(server: &Server) -> Eks {
    let provider = Provider::of(credentials("session", None));
    Eks::new(&sdk(&provider, &format!("http://{}", server.address())), clock_at(NOON))
}

async fn ask(cluster: &Cluster) -> Result<Exchanged, Unreachable> {
    cluster.exchange(&Ask::new("ask".to_owned(), Method::GET, "/version".to_owned())).await
}

/// The clock goes on by so much, while nothing happens.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn the_name_alone_leads_to_the_cluster() {
    let server = Server::kubernetes(Certificate::One).await;
    let service = Server::eks(described(server.address(), Certificate::One)).await;
    let cluster = eks_of(&service).cluster(&prod()).unwrap();
    ask(&cluster).await.unwrap();
    ask(&cluster).await.unwrap();
    let [one, two] = server.arrived().try_into().unwrap();
    let signed = presigned(&one.headers);
    assert_eq!(signed.url, "https://sts.eu-west-1.amazonaws.com/");
    assert_eq!(signed.query["X-Amz-SignedHeaders"], "host;x-k8s-aws-id");
    assert_eq!(signed_at(&one.headers), NOON.parse().unwrap());
    assert_eq!(presigned(&two.headers), signed);
    // EKS was asked once.
    let [asked] = service.arrived().try_into().unwrap();
    assert_eq!(asked.path, "/clusters/prod");
}

#[tokio::test]
async fn a_cluster_at_a_known_place_is_not_asked_for() {
    let server = Server::kubernetes(Certificate::One).await;
    let service = Server::eks(refused(403, "AccessDeniedException", "no")).await;
    let endpoint = format!("https://localhost:{}", server.address().port()).parse().unwrap();
    let location = Location { endpoint, authority: Certificate::One.authority().parse().unwrap() };
    let target = prod().in_region("cn-north-1").at(location);
    ask(&eks_of(&service).cluster(&target).unwrap()).await.unwrap();
    assert_eq!(presigned(&server.arrived()[0].headers).url, "https://sts.cn-north-1.amazonaws.com.cn/");
    assert!(service.arrived().is_empty());
}

#[tokio::test]
async fn a_server_with_a_certificate_of_another_authority_gets_no_token() {
    let server = Server::kubernetes(Certificate::Other).await;
    let service = Server::eks(described(server.address(), Certificate::One)).await;
    let error = ask(&eks_of(&service).cluster(&prod()).unwrap()).await.unwrap_err();
    assert_eq!(error.delivery, Delivery::NotSent);
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(server.arrived().is_empty());
}

#[tokio::test]
async fn while_an_authority_is_rotated_servers_of_both_are_trusted() {
    for certificate in [Certificate::One, Certificate::Other] {
        let server = Server::kubernetes(certificate).await;
        let both = BASE64.encode(format!("{}{}", fixtures::ONE_AUTHORITY, fixtures::OTHER_AUTHORITY).as_bytes());
        let endpoint = format!("https://{}", server.address());
        let cluster = json!({"status": "ACTIVE", "endpoint": endpoint, "certificateAuthority": {"data": both}});
        let service = Server::eks(described_as(&cluster)).await;
        ask(&eks_of(&service).cluster(&prod()).unwrap()).await.unwrap();
        assert_eq!(server.arrived().len(), 1);
    }
}

#[tokio::test]
async fn a_cluster_that_was_made_anew_is_found_again() {
    let server = Server::kubernetes(Certificate::One).await;
    let service = Server::eks(described(server.address(), Certificate::One)).await;
    let cluster = eks_of(&service).cluster(&prod()).unwrap();
    ask(&cluster).await.unwrap();
    drop(server);
    let server = Server::kubernetes(Certificate::Other).await;
    service.says(described(server.address(), Certificate::Other));
    pass(Duration::from_mins(1)).await;
    // The first one finds nobody where the cluster was.
    let found = async { while ask(&cluster).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap();
    assert_eq!((server.arrived().len(), service.arrived().len()), (1, 2));
}

#[tokio::test]
async fn a_cluster_is_where_it_was_while_eks_is_away() {
    let server = Server::kubernetes(Certificate::One).await;
    let service = Server::eks(described(server.address(), Certificate::One)).await;
    let eks = eks_of(&service);
    let cluster = eks.cluster(&prod()).unwrap();
    ask(&cluster).await.unwrap();
    service.says(refused(503, "ServiceUnavailableException", "later"));
    pass(Duration::from_hours(1)).await;
    ask(&cluster).await.unwrap();
    eks.vouch(&prod(), &Target::default(), Duration::ZERO).await.unwrap();
    assert_eq!(service.arrived().len(), 2);
}

#[tokio::test]
async fn what_eks_says_no_to_is_told_with_what_to_do() {
    let cases = [
        (refused(404, "ResourceNotFoundException", "No cluster found"), true, "no EKS cluster prod in eu-west-1"),
        (
            refused(403, "AccessDeniedException", "not authorized"),
            true,
            "allow eks:DescribeCluster on it, or configure its Endpoint and CertificateAuthority (AccessDeniedException: not authorized)",
        ),
        (refused(403, "ExpiredTokenException", "expired"), false, "ExpiredToken"),
        (refused(429, "ThrottlingException", "slowly"), false, "Throttling"),
        (refused(500, "ServerException", "oh"), false, "unable to describe"),
        (described_as(&json!({"status": "CREATING"})), false, "not ready yet: it is CREATING"),
        (described_as(&json!({"status": "DELETING", "endpoint": "https://x"})), true, "is DELETING"),
        (described_as(&json!({"status": "FAILED"})), true, "is FAILED"),
        (described_as(&json!({})), false, "unknown status"),
        (described_as(&json!({"status": "ACTIVE"})), true, "no endpoint"),
        (described_as(&json!({"status": "UPDATING", "endpoint": "https://x"})), true, "no certificate authority"),
        (
            described_as(&json!({"status": "ACTIVE", "endpoint": "x", "certificateAuthority": {"data": ""}})),
            true,
            "not an endpoint",
        ),
        (
            described_as(
                &json!({"status": "ACTIVE", "endpoint": "https://x", "certificateAuthority": {"data": "LS0t"}}),
            ),
            true,
            "not a certificate authority",
        ),
    ];
    for (answer, is_final, text) in cases {
        let service = Server::eks(answer.clone()).await;
        let eks = eks_of(&service);
        let error = eks.locate(&prod()).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert_eq!(error.is_final(), is_final, "{error}");
        let failure = eks.vouch(&prod(), &Target::default(), Duration::ZERO).await.unwrap_err();
        let name = if is_final { ErrorName::ClusterNotAllowed } else { ErrorName::ClusterUnreachable };
        assert_eq!(failure.error, name, "{error}");
    }
}

#[tokio::test]
async fn a_request_is_vouched_for_only_if_eks_says_the_same() {
    let server = Server::kubernetes(Certificate::One).await;
    let service = Server::eks(described(server.address(), Certificate::One)).await;
    let eks = eks_of(&service);
    let said = |endpoint: &str, authority: Certificate| Target {
        name: Some("prod".to_owned()),
        endpoint: Some(endpoint.to_owned()),
        certificate_authority: Some(authority.authority()),
    };
    let endpoint = format!("https://{}/", server.address());
    eks.vouch(&prod(), &said(&endpoint, Certificate::One), Duration::ZERO).await.unwrap();
    for target in [said("https://evil.example", Certificate::One), said(&endpoint, Certificate::Other)] {
        let failure = eks.vouch(&prod(), &target, Duration::ZERO).await.unwrap_err();
        assert_eq!(failure.error, ErrorName::ClusterNotAllowed);
    }
    // Nobody else was asked.
    assert!(server.arrived().is_empty());
}

#[tokio::test]
async fn eks_is_asked_again_while_the_patience_lasts() {
    let server = Server::kubernetes(Certificate::One).await;
    let service = Server::eks(refused(503, "ServiceUnavailableException", "later")).await;
    let eks = eks_of(&service);
    let (cluster, target) = (prod(), Target::default());
    let vouched = eks.vouch(&cluster, &target, Duration::from_mins(1));
    let comes_back = async {
        while service.arrived().len() < 2 {
            tokio::task::yield_now().await;
        }
        service.says(described(server.address(), Certificate::One));
    };
    let (vouched, ()) = tokio::join!(vouched, comes_back);
    vouched.unwrap();
    assert_eq!(service.arrived().len(), 3);
}

#[tokio::test]
async fn the_sdks_own_settings_lead_to_another_eks() {
    let server = Server::kubernetes(Certificate::One).await;
    let service = Server::eks(described(server.address(), Certificate::One)).await;
    let profile = format!(
        "[default]\nservices = here\nregion = eu-west-1\n[services here]\neks =\n  endpoint_url = http://{}\n",
        service.address()
    );
    let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, profile).build();
    let config = aws_config::defaults(BehaviorVersion::latest()).profile_files(files).profile_name("default");
    let config = config.credentials_provider(Provider::of(credentials("session", None))).load().await;
    let location = Eks::new(&config, clock_at(NOON)).locate(&prod()).await.unwrap();
    assert_eq!(location.endpoint.to_string(), format!("https://{}", server.address()));
}

#[tokio::test]
async fn a_cluster_without_a_region_or_credentials_is_refused_at_once() {
    let bare = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    let eks = Eks::new(&bare, clock_at(NOON));
    assert_eq!(eks.cluster(&prod()).err(), Some(EksError::NoRegion("prod".parse().unwrap())));
    assert_eq!(
        eks.cluster(&prod().in_region("eu-west-1")).err(),
        Some(EksError::NoCredentials("prod".parse().unwrap()))
    );
}

#[tokio::test]
async fn the_memory_of_described_clusters_is_bounded() {
    let service = Server::eks(refused(404, "ResourceNotFoundException", "no")).await;
    let eks = eks_of(&service);
    for number in 0..=MAX_DESCRIBED {
        eks.cluster(&EksCluster::named(format!("c{number}").parse().unwrap())).unwrap();
    }
    assert_eq!(eks.described.lock().unwrap().len(), 1);
}
