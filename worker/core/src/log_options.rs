//! `LogOptions`: what to do with a Job's logs.

use serde::{Deserialize, Serialize};

use crate::{
    fields::Fields,
    invalid::InvalidParameters,
    request::{Strictness, tolerate},
};

/// The query parameter that asks for the run before the present one.
const PREVIOUS: &str = "previous";

/// The query parameters of the request that reads a pod's log. `follow` and `container` are `runjob`'s own to set.
const LOG_PARAMETERS: [(&str, LogParameter); 9] = [
    ("insecureSkipTLSVerifyBackend", LogParameter::Boolean),
    ("limitBytes", LogParameter::Natural),
    ("pretty", LogParameter::Text),
    (PREVIOUS, LogParameter::Boolean),
    ("sinceSeconds", LogParameter::Natural),
    ("sinceTime", LogParameter::Text),
    ("stream", LogParameter::Text),
    ("tailLines", LogParameter::Natural),
    ("timestamps", LogParameter::Boolean),
];

#[derive(Debug, Clone, Copy)]
enum LogParameter {
    Boolean,
    Natural,
    Text,
}

/// `LogOptions`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogOptions {
    /// `RetrieveLogs`.
    pub retrieve: Retrieve,
    /// `RawLogs`: whether a log that is a JSON document stays text.
    pub format: LogFormat,
    /// `LogParameters`: passed on to the request that reads a pod's log.
    pub parameters: Vec<(String, Vec<String>)>,
    /// `MaxBytes`: the most that is kept of one container's log.
    pub max_bytes: Option<u64>,
}

impl LogOptions {
    /// Whether the user says which of a container's runs is meant.
    pub fn names_a_run(&self) -> bool {
        self.parameters.iter().any(|(name, _)| name == PREVIOUS)
    }
}

/// `LogOptions.RetrieveLogs`. Absent is not the same as `false`: a failed Job's logs are worth having.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Retrieve {
    /// Absent: the logs of a Job that failed.
    #[default]
    OnFailure,
    /// `true`.
    Always,
    /// `false`.
    Never,
}

/// `LogOptions.RawLogs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// A whole log that is one JSON document becomes that JSON.
    #[default]
    Parsed,
    /// A log stays text.
    Raw,
}

pub(crate) fn parse(
    top: &Fields<'_>,
    strictness: Strictness,
) -> Result<(LogOptions, Vec<InvalidParameters>), InvalidParameters> {
    let mut warnings = Vec::new();
    let Some(options) = top.object("LogOptions")? else { return Ok((LogOptions::default(), warnings)) };
    tolerate(options.unknown(&["LogParameters", "MaxBytes", "RawLogs", "RetrieveLogs"]), strictness, &mut warnings)?;
    let retrieve = match options.boolean("RetrieveLogs")? {
        None => Retrieve::OnFailure,
        Some(true) => Retrieve::Always,
        Some(false) => Retrieve::Never,
    };
    let format = match options.boolean("RawLogs")? {
        Some(true) => LogFormat::Raw,
        _ => LogFormat::Parsed,
    };
    let parameters = options.multi_map("LogParameters")?;
    if let Some(given) = options.object("LogParameters")? {
        check_log_parameters(&given, &parameters)?;
    }
    Ok((LogOptions { retrieve, format, parameters, max_bytes: options.natural("MaxBytes")? }, warnings))
}

fn check_log_parameters(given: &Fields<'_>, parameters: &[(String, Vec<String>)]) -> Result<(), InvalidParameters> {
    let names: Vec<&str> = LOG_PARAMETERS.iter().map(|(name, _)| *name).collect();
    for (name, values) in parameters {
        if name == "follow" || name == "container" {
            return Err(given.refuse(name, "no such parameter: runjob reads every container, to its end"));
        }
        let Some((_, kind)) = LOG_PARAMETERS.iter().find(|(known, _)| known == name) else {
            return Err(given.unknown(&names).next().unwrap_or_else(|| given.refuse(name, "a parameter")));
        };
        let fits = |value: &String| match kind {
            LogParameter::Boolean => value == "true" || value == "false",
            LogParameter::Natural => value.parse::<u64>().is_ok(),
            LogParameter::Text => true,
        };
        let expected = match kind {
            LogParameter::Boolean => "a list of one string, \"true\" or \"false\"",
            LogParameter::Natural => "a list of one string that is a whole number, 0 or more",
            LogParameter::Text => "a list of one string",
        };
        if values.len() != 1 || !values.iter().all(fits) {
            return Err(given.refuse(name, expected));
        }
    }
    Ok(())
}
