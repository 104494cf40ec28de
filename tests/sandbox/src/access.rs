//! How clients find a Kubernetes API and Step Functions that are not the real ones.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sfn::config::{Credentials, SharedCredentialsProvider};
use serde_json::json;

/// Where a Kubernetes API is, and who asks.
#[derive(Debug, Clone)]
pub struct KubernetesAccess {
    /// The server's URL.
    pub server: String,
    /// The file of its certificate authority, if it has one.
    pub authority: Option<String>,
    /// The asker's token, if the server wants one.
    pub token: Option<String>,
    /// The asker's own namespace.
    pub namespace: String,
}

impl KubernetesAccess {
    /// The kubeconfig that leads there.
    pub fn kubeconfig(&self) -> String {
        let Self { server, authority, token, namespace } = self;
        let context = json!({"cluster": "sandbox", "user": "sandbox", "namespace": namespace});
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "sandbox",
            "clusters": [{"name": "sandbox", "cluster": {"server": server, "certificate-authority": authority}}],
            "contexts": [{"name": "sandbox", "context": context}],
            "users": [{"name": "sandbox", "user": {"token": token}}],
        })
        .to_string()
    }
}

/// Where Step Functions is, and who asks.
#[derive(Debug, Clone)]
pub struct StepFunctionsAccess {
    /// The endpoint.
    pub url: String,
    /// The region.
    pub region: String,
    /// The access key. Nobody checks it.
    pub key: String,
}

impl StepFunctionsAccess {
    /// The environment in which an AWS client finds it.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.url.clone()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_ACCESS_KEY_ID", self.key.clone()),
            ("AWS_SECRET_ACCESS_KEY", "sandbox".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// The same for a client in this process.
    pub async fn sdk_config(&self) -> SdkConfig {
        let credentials = Credentials::new(&self.key, "sandbox", None, None, "sandbox");
        aws_config::defaults(BehaviorVersion::latest())
            .endpoint_url(&self.url)
            .region(Region::new(self.region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .load()
            .await
    }
}
