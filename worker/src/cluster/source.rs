//! Where the way to a cluster is written: a kubeconfig with the files that it names, or the service account of a pod. Read again when
//! what was read does not work any more.

use std::{error::Error, path::PathBuf};

use jiff::Timestamp;
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::{connection::ConnectError, plugin};

/// Where it is written.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// In that kubeconfig, or in the one that `KUBECONFIG` and `~/.kube/config` name.
    Kubeconfig { file: Option<PathBuf>, context: Option<String> },
    /// In a kubeconfig, if there is one, otherwise in the pod that this runs in.
    Anywhere,
    /// In the pod that this runs in.
    Pod,
}

/// What is written there now.
pub(super) struct Found {
    pub(super) config: Config,
    /// When its credential ends, if that is known.
    pub(super) end: Option<Timestamp>,
}

impl Source {
    /// Reads it, and runs the plugin that it names, if any.
    pub(super) async fn read(&self) -> Result<Found, ConnectError> {
        let mut config = self.config().await?;
        let end = plugin::replace(&mut config.auth_info).await?;
        Ok(Found { config, end })
    }

    async fn config(&self) -> Result<Config, ConnectError> {
        match self {
            Self::Kubeconfig { file, context } => {
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                let config = match file {
                    Some(file) => match Kubeconfig::read_from(file) {
                        Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
                        Err(error) => Err(error),
                    },
                    None => Config::from_kubeconfig(&options).await,
                };
                config.map_err(unreadable)
            }
            Self::Anywhere => match Config::from_kubeconfig(&KubeConfigOptions::default()).await {
                Ok(config) => Ok(config),
                Err(error) => Config::incluster().map_err(|_| unreadable(error)),
            },
            Self::Pod => Config::incluster().map_err(boxed),
        }
    }
}

fn boxed(error: impl Error + Send + Sync + 'static) -> ConnectError {
    ConnectError::Configuration(Box::new(error))
}

/// An error of a parser shows the lines around it, and those may hold a token.
fn unreadable(error: KubeconfigError) -> ConnectError {
    match error {
        KubeconfigError::Parse(error) => {
            let place = error.location().map(|place| format!(", at line {}", place.line()));
            ConnectError::Configuration(format!("the kubeconfig is no kubeconfig{}", place.unwrap_or_default()).into())
        }
        error => boxed(error),
    }
}
