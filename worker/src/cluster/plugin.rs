//! The credential plugin of a kubeconfig (`exec`): a program that prints what authenticates with a cluster.
//!
//! It is run here and not by the client library, which waits for it without end, and whose errors show its output, its arguments and
//! its environment: each may hold a credential.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use jiff::Timestamp;
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;

/// How long a plugin may take. Most ask a service on the network.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// The most that is read of its output: a token and a certificate with its key.
const MAX_OUTPUT: u64 = 1024 * 1024;

/// A plugin gives no credential. Its output is not shown: it may hold one.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// There is nothing to run.
    #[error("the kubeconfig names no command for its exec plugin")]
    NoCommand,
    /// There is nobody to ask.
    #[error("the exec plugin {0} needs a terminal (interactiveMode: Always), and a worker has none")]
    NeedsTerminal(String),
    /// It could not be started.
    #[error("unable to run the exec plugin {command}: {source}")]
    Start {
        /// The program.
        command: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It did not end.
    #[error("the exec plugin {0} did not end within {seconds} s: run it by hand to see why", seconds = PATIENCE.as_secs())]
    TimedOut(String),
    /// It failed.
    #[error("the exec plugin {command} failed ({status}): run it by hand to see why")]
    Failed {
        /// The program.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// It printed something else.
    #[error("the exec plugin {0} printed no ExecCredential with a token, or a certificate and its key")]
    NoCredential(String),
}

/// What a plugin prints, as far as it matters here.
#[derive(Deserialize)]
struct Printed {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<Timestamp>,
}

/// Replaces the plugin by the credential that it gives, and says when that ends, if the plugin says so.
pub(super) async fn replace(auth: &mut AuthInfo) -> Result<Option<Timestamp>, PluginError> {
    // These come first, as the client library has it.
    let has_another = (auth.username.is_some() && auth.password.is_some())
        || auth.token.is_some()
        || auth.token_file.is_some()
        || auth.auth_provider.is_some();
    let Some(exec) = auth.exec.take().filter(|_| !has_another) else { return Ok(None) };
    let name = exec.command.clone().unwrap_or_default();
    let ran = tokio::task::spawn_blocking(move || run(&exec)).await;
    let printed = ran.unwrap_or_else(|_| Err(PluginError::NoCredential(name.clone())))?;
    let no_credential = || PluginError::NoCredential(name.clone());
    let printed: Printed = serde_json::from_slice(&printed).map_err(|_| no_credential())?;
    let status = printed.status.ok_or_else(no_credential)?;
    if status.token.is_none() && status.client_key_data.is_none() {
        return Err(no_credential());
    }
    if let (Some(certificate), Some(key)) = (status.client_certificate_data, status.client_key_data) {
        auth.client_certificate_data = Some(BASE64.encode(certificate.as_bytes()));
        auth.client_key_data = Some(BASE64.encode(key.as_bytes()).into());
    }
    auth.token = status.token.map(Into::into);
    Ok(status.expiration_timestamp)
}

fn run(exec: &ExecConfig) -> Result<Vec<u8>, PluginError> {
    let name = exec.command.clone().ok_or(PluginError::NoCommand)?;
    if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
        return Err(PluginError::NeedsTerminal(name));
    }
    let mut command = Command::new(&name);
    command.args(exec.args.iter().flatten());
    let variables = exec.env.iter().flatten().filter_map(|one| Some((one.get("name")?, one.get("value")?)));
    command.envs(variables);
    let spec = match &exec.cluster {
        Some(cluster) if exec.provide_cluster_info => json!({"interactive": false, "cluster": cluster}),
        _ => json!({"interactive": false}),
    };
    let info = json!({"apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec});
    command.env("KUBERNETES_EXEC_INFO", info.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let failed = |source| PluginError::Start { command: name.clone(), source };
    let child = command.spawn().map_err(failed)?;
    output(child, &name, PATIENCE)
}

/// What a program prints. One that does not end in time is killed.
fn output(mut child: Child, name: &str, patience: Duration) -> Result<Vec<u8>, PluginError> {
    let failed = |source| PluginError::Start { command: name.to_owned(), source };
    let end = Instant::now() + patience;
    let (sender, printed) = mpsc::channel();
    let stdout = child.stdout.take();
    // A thread of its own: what the program has started may keep its output open after it has been killed.
    let read = move || {
        let mut bytes = Vec::new();
        if let Some(stdout) = stdout
            && stdout.take(MAX_OUTPUT).read_to_end(&mut bytes).is_ok()
        {
            // Nobody waits any more once the time is over.
            let _ = sender.send(bytes);
        }
    };
    std::thread::Builder::new().name("plugin".to_owned()).spawn(read).map_err(failed)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if Instant::now() >= end {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Err(PluginError::TimedOut(name.to_owned()));
        }
        std::thread::sleep(LOOK);
    };
    if !status.success() {
        return Err(PluginError::Failed { command: name.to_owned(), status });
    }
    let left = end.saturating_duration_since(Instant::now());
    printed.recv_timeout(left).map_err(|_| PluginError::TimedOut(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user whose plugin is that script.
    fn user(script: &str) -> AuthInfo {
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "interactiveMode": "Never",
            "args": ["-c", script, "sh", "secret-argument"], "env": [{"name": "VAULT", "value": "secret-variable"}]});
        serde_json::from_value(json!({"exec": exec})).unwrap()
    }

    #[tokio::test]
    async fn a_plugin_gives_a_token_and_its_end() {
        let mut user =
            user("echo '{\"status\": {\"token\": \"'$VAULT'\", \"expirationTimestamp\": \"2026-01-01T00:00:00Z\"}}'");
        let end = replace(&mut user).await.unwrap();
        assert_eq!(end, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert!(user.exec.is_none() && user.token.is_some());
    }

    #[tokio::test]
    async fn a_plugin_that_fails_shows_nothing_that_may_be_secret() {
        for (script, said) in [
            ("echo secret-output; echo secret-output >&2; exit 3", "exit status: 3"),
            ("echo secret-output", "printed no ExecCredential"),
            ("echo '{\"status\": {\"token\": 7, \"x\": \"secret-output\"}}'", "printed no ExecCredential"),
        ] {
            let error = replace(&mut user(script)).await.unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains("sh") && error.to_string().contains(said) && !text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_plugin_that_hangs_is_killed_even_if_others_hold_its_output() {
        let begun = Instant::now();
        let child = Command::new("sh").args(["-c", "sleep 30 & sleep 30"]).stdout(Stdio::piped()).spawn().unwrap();
        let error = output(child, "sh", Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, PluginError::TimedOut(_)) && begun.elapsed() < Duration::from_secs(5), "{error}");
    }
}
