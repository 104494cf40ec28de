//! AWS credentials that are read again: what is rotated in a file, or revoked before its end, is not used until the process ends.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, Result, SharedCredentialsProvider, error::CredentialsError, future},
};
use futures::{FutureExt, future::BoxFuture};
use tracing::warn;

/// How long keys without an end are used before they are read again.
const WITHOUT_END: Duration = Duration::from_mins(1);
/// The same for credentials that have an end: an instance, a container or STS is asked for them.
const WITH_END: Duration = Duration::from_mins(15);

/// The same configuration, with credentials that are looked for afresh each time that they are asked for.
pub(crate) fn reread(sdk: &SdkConfig) -> SdkConfig {
    let region = sdk.region().cloned();
    let reread = Reread::new(move || {
        let loader = aws_config::defaults(BehaviorVersion::latest()).region(region.clone());
        async move { loader.load().await }.boxed()
    });
    sdk.to_builder().credentials_provider(SharedCredentialsProvider::new(reread)).build()
}

/// The credentials of that provider, which is asked again long before they end.
pub(crate) fn for_a_while(provider: SharedCredentialsProvider) -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(ForAWhile(provider))
}

/// Finds out where credentials come from.
type Load = Arc<dyn Fn() -> BoxFuture<'static, SdkConfig> + Send + Sync>;

/// The SDK's providers read a file once. This makes new ones.
struct Reread {
    load: Load,
    /// What was found last, for the time that nothing can be found.
    last: Mutex<Option<Credentials>>,
}

impl Reread {
    fn new(load: impl Fn() -> BoxFuture<'static, SdkConfig> + Send + Sync + 'static) -> Self {
        Self { load: Arc::new(load), last: Mutex::default() }
    }

    async fn credentials(&self) -> Result {
        let found = match (self.load)().await.credentials_provider() {
            Some(provider) => provider.provide_credentials().await,
            None => Err(CredentialsError::not_loaded("there is no provider of credentials")),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (found, &*last) {
            (Ok(found), _) => Ok(last.insert(found).clone()),
            // A file that is being written, a service that is away.
            (Err(error), Some(last)) if last.expiry().is_none_or(|end| SystemTime::now() < end) => {
                warn!(%error, "no AWS credentials can be found: those that were found before still serve");
                Ok(last.clone())
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reread")
    }
}

impl ProvideCredentials for Reread {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

#[derive(Debug)]
struct ForAWhile(SharedCredentialsProvider);

impl ProvideCredentials for ForAWhile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let mut credentials = self.0.provide_credentials().await?;
            let now = SystemTime::now();
            let end = match credentials.expiry() {
                Some(end) => end.min(now + WITH_END),
                None => now + WITHOUT_END,
            };
            *credentials.expiry_mut() = Some(end);
            Ok(credentials)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};

    use super::*;

    /// Credentials from that file.
    fn of_file(file: &Path) -> Reread {
        let file = file.to_owned();
        Reread::new(move || {
            let files = EnvConfigFiles::builder().with_file(EnvConfigFileKind::Credentials, &file).build();
            let loader = aws_config::defaults(BehaviorVersion::latest())
                .region(aws_config::Region::new("eu-west-1"))
                .profile_files(files)
                .profile_name("default");
            async move { loader.load().await }.boxed()
        })
    }

    fn write(file: &Path, key: &str) {
        std::fs::write(file, format!("[default]\naws_access_key_id={key}\naws_secret_access_key=s\n")).unwrap();
    }

    #[tokio::test]
    async fn keys_that_are_replaced_in_their_file_are_read_again_and_serve_while_it_is_away() {
        let file = std::env::temp_dir().join(format!("runjob-credentials-{}", std::process::id()));
        write(&file, "OLD");
        let reread = of_file(&file);
        assert_eq!(reread.credentials().await.unwrap().access_key_id(), "OLD");
        write(&file, "NEW");
        assert_eq!(reread.credentials().await.unwrap().access_key_id(), "NEW");
        std::fs::write(&file, "[default]\naws_access_key_id=HALF\n").unwrap();
        assert_eq!(reread.credentials().await.unwrap().access_key_id(), "NEW");
        std::fs::remove_file(&file).unwrap();
    }

    #[tokio::test]
    async fn credentials_are_used_for_a_while_whatever_their_end() {
        let hour = Duration::from_hours(1);
        let second = Duration::from_secs(1);
        for (end, most) in [(None, WITHOUT_END), (Some(hour), WITH_END), (Some(second), second)] {
            let now = SystemTime::now();
            let credentials = Credentials::new("key", "secret", None, end.map(|end| now + end), "test");
            let provided =
                for_a_while(SharedCredentialsProvider::new(credentials)).provide_credentials().await.unwrap();
            let used = provided.expiry().unwrap().duration_since(now).unwrap();
            assert!(used <= most + second && used >= most, "{used:?}");
        }
    }
}
