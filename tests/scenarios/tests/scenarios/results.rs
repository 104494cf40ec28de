//! What becomes of what containers print.

use runjob_scenarios::{
    backend::Backend,
    check::{Check, contains, log},
    jobs::{JobRequest, a_job},
    scenario::{Scenario, scenario},
};
use serde_json::json;

use crate::workflows::DIGITS;

/// Beyond 2^64, and with a fraction that no binary number has.
const NUMBERS: &str = r#"{"integer":18446744073709551616000000000000001,"one":1.0,"cents":0.10,"small":1e-400}"#;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        scenario("each log is told as what it is", many_logs()).succeeds([
            log("main", ""),
            log("scalar", json!(42)),
            log("quoted", "forty-two"),
            log("unicode", "ä 語 😀 \u{2028}\n"),
            log("lines", "{\"a\": 1}\n{\"a\": 2}\n"),
            log("document", json!({"a": [true, null, "x"]})),
            log("unfinished", "{\"a\": 1"),
        ]),
        scenario("digits of any number are kept", a_job("x", &format!("echo '{NUMBERS}'")))
            .not_on(Backend::LocalStack, DIGITS)
            .succeeds([document(NUMBERS)]),
        scenario("2000 digits are kept", a_job("x", &format!("printf '{{\"pi\": 3.'; {DIGITS_2000}; echo '}}'")))
            .not_on(Backend::LocalStack, DIGITS)
            .succeeds([contains("/logs", format!("{{\"pi\":3.{}}}", "1234567890".repeat(200)))]),
    ]
}

/// Prints 2000 digits.
const DIGITS_2000: &str = "for n in $(seq 200); do printf 1234567890; done";

/// One container for each kind of log.
fn many_logs() -> JobRequest {
    a_job("x", "true")
        .and_container("scalar", "echo 42")
        .and_container("quoted", "echo '\"forty-two\"'")
        .and_container("unicode", "printf 'ä 語 😀 \\342\\200\\250\\n'")
        .and_container("lines", "printf '{\"a\": 1}\\n{\"a\": 2}\\n'")
        .and_container("document", "echo '{\"a\": [true, null, \"x\"]}'")
        .and_container("unfinished", "printf '{\"a\": 1'")
}

/// The log of `main` is this document, character for character.
fn document(text: &str) -> Check {
    contains("/logs", format!("{{\"main\":{{\"log\":{text}}}}}"))
}
