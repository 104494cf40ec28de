//! Logs of any size and any bytes.

use runjob_scenarios::{
    backend::Backend,
    check::{absent, at, contains, counts, lacks, log, shorter},
    jobs::{JobRequest, a_job},
    scenario::{Ending, Scenario, scenario},
};
use serde_json::{Value, json};

use crate::workflows::DIGITS;

/// More digits than any number type has.
const LONG: &str =
    "3.141592653589793238462643383279502884197169399375105820974944592307816406286208998628034825342117067982";

/// No UTF-8, a NUL, an escape sequence, and whatever else there is.
const BYTES: &str = "printf 'a\\377\\376\\000b\\033[31m'; head -c 20000 /dev/urandom";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("of 3 MB of log the beginning and the end are kept", three_megabytes()).succeeds([
            contains("/logs", "the-beginning"),
            contains("/logs", "the-end"),
            contains("/logs", "bytes cut here]"),
        ]),
        scenario("digits are kept from the log to the output", a_job("x", &format!("echo '{{\"pi\": {LONG}}}'")))
            .succeeds([contains("/logs", format!("{{\"pi\":{LONG}}}"))])
            .differs_on(
                Backend::LocalStack,
                DIGITS,
                Ending::Succeeds(vec![contains("/logs", "{\"pi\":3.141592653589793}")]),
            ),
        scenario("bytes that are no text do not hurt", a_job("x", BYTES))
            .succeeds([contains("/logs", "\"a\u{fffd}\u{fffd}\\u0000b\\u001b[31m"), lacks("/logs", "error")]),
        scenario(
            "raw logs stay text, and parameters are passed on",
            a_job("x", "echo 1; echo 42").with(
                "/LogOptions",
                json!({"RetrieveLogs": true, "RawLogs": true, "LogParameters": {"tailLines": ["1"]}}),
            ),
        )
        .succeeds([log("main", "42\n")]),
        scenario(
            "a log may be bounded by the user",
            a_job("x", "yes | head -c 10000; echo the-end").with("/LogOptions/MaxBytes", 100),
        )
        .succeeds([
            contains("/logs", "\"truncated\":true"),
            contains("/logs", "the-end"),
            shorter("/logs", 300),
        ]),
        scenario("of many pods the logs of some are told, and how many more there are", three_pods())
            .flags(&["--max-log-pods", "2"])
            .succeeds([counts("/logs/pods", 2), at("/logs/omitted", 1), absent("/logs/missing")]),
        scenario(
            "logs of a failed Job may be declined",
            a_job("x", "echo here; exit 1").with("/LogOptions/RetrieveLogs", false),
        )
        .fails("Job.BackoffLimitExceeded", [absent("/logs"), at("/diagnosis/containers/0/exitCode", 1)]),
        scenario(
            "logs of a failed Job are there without being asked for",
            a_job("x", "echo here; exit 1").with("/LogOptions", Value::Object(serde_json::Map::new())),
        )
        .fails("Job.BackoffLimitExceeded", [log("main", "here\n")]),
    ]
}

fn three_pods() -> JobRequest {
    a_job("x", "echo here").with("/Job/spec/completions", 3).with("/Job/spec/parallelism", 3)
}

/// 200 bytes a line: the kubelet serves long lines much faster than short ones.
fn three_megabytes() -> JobRequest {
    a_job("x", "echo the-beginning; yes \"$(printf '%0199d' 7)\" | head -c 3000000; echo; echo the-end")
}
