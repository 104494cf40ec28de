//! The documentation of all error names, written from the enums themselves.

use crate::failure::{ErrorName, Explanation, JobError, Retry};

const HEAD: &str = "\
<!-- Written by `cargo run -p runjob -- errors > docs/errors.md`. -->

# Errors

Each failure of a task has a stable name, for `ErrorEquals` in `Retry` and `Catch`, and a cause that is JSON (`States.StringToJson`), of at
most 32,768 characters. `States.*` names are the service's own; `runjob` never sends one.

A `Retry` helps: **yes**, the same request may succeed; **no**, something has to be changed first; **depends**, on the program or on
what the cause says. `diagnosis.retryable` in the cause is `true` only where it is yes, or where the case at hand makes it so.

";

const KUBERNETES: &str = "\
## The Kubernetes API said no

`EKS.<status>`, for example `EKS.404`: the API server answered with that status. The cause is the native one:
`{\"ResponseBody\": …, \"StatusCode\": 404, \"StatusText\": \"Not Found\"}`.

| name | when | a `Retry` helps |
|---|---|---|
| `EKS.401` | for 90 seconds, whatever was tried | yes, once it is mended |
| `EKS.403` | RBAC, admission or Pod Security forbids it: at once. A quota is exceeded: after 15 minutes | no; a quota: yes |
| `EKS.404` | there is no such namespace or object | no |
| `EKS.409` | the name is taken by a Job that somebody waits for, that has finished, or that is not `runjob`'s | no |
| `EKS.422` | the manifest is invalid | no |
| `EKS.429`, `EKS.5xx` | for 15 minutes; a 5xx to a write of `call`, and an eviction that a PodDisruptionBudget forbids, at once | yes, was tried already |

";

const OWN: &str = "## `runjob` said no\n\n| name | when | a `Retry` helps | what to do |\n|---|---|---|---|\n";

const JOBS: &str = "
## The Job failed, or does not get going

These are also the codes of diagnoses. `--job-failed-error NAME` gives all of them one name; the code stays in the cause:
`{\"diagnosis\": {\"code\", \"summary\", \"hint\", \"retryable\", \"containers\", \"events\"}, \"job\": …, \"logs\": …}`.

Stuck: no pod of the Job is ready, and none that has not ended can become so, for longer than the grace of what is wrong. That fails the
task and deletes the Job, unless the request says `\"OnStuck\": \"wait\"`. In both cases it is told at once by an Event on the Job, a line in
the log and the metric `runjob_stuck_jobs_total`.

| name | when | a `Retry` helps | what to do |
|---|---|---|---|
";

/// `docs/errors.md`.
pub fn markdown() -> String {
    let own = ErrorName::ALL.iter().map(|error| (error.to_string(), error.entry()));
    let jobs = JobError::ALL.iter().map(|error| (ErrorName::Job(*error).to_string(), error.entry()));
    let rows = |all: &mut dyn Iterator<Item = (String, Option<(&str, Explanation)>)>| -> String {
        all.filter_map(|(name, entry)| Some(row(&name, entry?.1))).collect()
    };
    [HEAD, KUBERNETES, OWN, &rows(&mut own.into_iter()), JOBS, &rows(&mut jobs.into_iter())].concat()
}

fn row(name: &str, Explanation { when, retry, hint }: Explanation) -> String {
    let helps = match retry {
        Retry::Helps => "yes",
        Retry::Pointless => "no",
        Retry::Depends => "depends",
    };
    format!("| `{name}` | {} | {helps} | {hint} |\n", when.trim())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_there_once_and_within_its_limit() {
        let text = markdown();
        let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let distinct: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), distinct.len());
        assert!(names.len() > ErrorName::ALL.len() + JobError::ALL.len());
        assert!(names.iter().all(|name| name.len() <= 256 && !name.starts_with("States.")));
    }

    #[test]
    fn the_document_is_as_the_code_has_it() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert!(written == markdown(), "docs/errors.md is stale: cargo run -p runjob -- errors > docs/errors.md");
    }
}
