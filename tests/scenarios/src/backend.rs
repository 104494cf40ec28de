//! Where scenarios run.

use anyhow::bail;

/// Which Step Functions and which Kubernetes the worker is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    /// Both are the sandbox's, containers are local processes.
    Sandbox,
    /// The sandbox's Step Functions, and the Kubernetes of `tests/cluster/cluster up`.
    Cluster,
    /// `LocalStack`'s Step Functions, and the Kubernetes of `tests/cluster/cluster up`.
    LocalStack,
}

impl Backend {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 3] = [Self::Sandbox, Self::Cluster, Self::LocalStack];

    /// How the environment and the table call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Cluster => "cluster",
            Self::LocalStack => "cluster+localstack",
        }
    }

    /// The one that `RUNJOB_BACKEND` names. The real ones are asked for by name only.
    pub fn chosen() -> anyhow::Result<Self> {
        let name = std::env::var("RUNJOB_BACKEND").unwrap_or_else(|_| Self::Sandbox.name().to_owned());
        let Some(backend) = Self::ALL.into_iter().find(|backend| backend.name() == name) else {
            bail!("RUNJOB_BACKEND is {name}: expected {}", Self::ALL.map(Self::name).join(", "));
        };
        Ok(backend)
    }

    /// How many scenarios run side by side. Most of a scenario's time is waiting; the node of a real cluster starts about two
    /// pods a second.
    pub fn at_once(self) -> usize {
        match self {
            Self::Sandbox => 16,
            Self::Cluster | Self::LocalStack => 10,
        }
    }
}
