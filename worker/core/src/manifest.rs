//! The user's Job, as it was given: an object, or a string that holds JSON or YAML.

use serde_json::{Map, Value};

use crate::{
    fields::Fields,
    invalid::InvalidParameters,
    json::{self, Unreadable},
    names::{MAX_JOB_NAME, Naming, is_dns_label, is_dns_subdomain},
    yaml,
};

/// The prefix of `runjob`'s own labels and annotations.
pub(crate) const RESERVED_PREFIX: &str = "runjob/";

/// The longest Job, as JSON: what etcd takes of one object by default.
const MAX_JOB: usize = 1024 * 1536;

/// What the API server decides about an object that is created, and passes over where somebody sends it: an exported Job has it. Only
/// `resourceVersion` is answered with an error there, which the others do not explain.
const SERVERS_METADATA: [&str; 7] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "selfLink",
];
/// What would keep a Job, or another one, from being deleted, or delete it.
const TIES: [&str; 3] = ["finalizers", "ownerReferences", "deletionTimestamp"];

const NAME: &str =
    "a name of at most 63 characters: lower-case letters, digits, '-' and '.', a letter or digit at both ends";

/// A Job that is worth sending to a cluster: a `batch/v1` `Job` whose name, namespace and metadata are in order. What is
/// in its `spec` is for the API server to judge.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    job: Value,
    namespace: String,
    naming: Naming,
    ttl: Option<u64>,
    index_room: usize,
}

impl Manifest {
    pub(crate) fn parse(top: &Fields<'_>, namespace: Option<&str>) -> Result<Self, InvalidParameters> {
        let mut job = match top.required("Job", "a batch/v1 Job")? {
            Value::String(text) => from_text(text)?,
            value => value.clone(),
        };
        leave_out_the_servers(&mut job);
        let size = job.to_string().len();
        if size > MAX_JOB {
            return Err(InvalidParameters::text("$.Job", format!("{size} bytes of JSON"), "at most 1.5 MiB of JSON"));
        }
        let fields = Fields::of("$.Job", &job)?;
        expect_constant(&fields, "apiVersion", "batch/v1")?;
        expect_constant(&fields, "kind", "Job")?;
        let spec = Fields::of("$.Job.spec", fields.required("spec", "the Job's specification, an object")?)?;
        let metadata = fields.object("metadata")?;
        let namespace = one_namespace(metadata.as_ref(), namespace)?;
        let index_room = index_room(&spec);
        let naming = naming(metadata.as_ref(), index_room)?;
        if let Some(metadata) = &metadata {
            refuse_reserved(metadata)?;
            refuse_ties(metadata)?;
        }
        // What is in the spec is for the API server to judge, but nothing may be mistaken for a stamp.
        if let Some(template) = spec.get("template").filter(|template| template.is_object())
            && let Some(metadata) = Fields::of("$.Job.spec.template", template)?.object("metadata")?
        {
            refuse_reserved(&metadata)?;
        }
        let ttl = spec.get("ttlSecondsAfterFinished").and_then(Value::as_u64);
        Ok(Self { job, namespace, naming, ttl, index_room })
    }

    /// The Job as it was given.
    pub fn value(&self) -> &Value {
        &self.job
    }

    /// Where it is to live.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// How it is named.
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// `spec.ttlSecondsAfterFinished`, if the user set one.
    pub fn ttl(&self) -> Option<u64> {
        self.ttl
    }

    /// The characters that an Indexed Job's pods need behind the Job's name.
    pub fn index_room(&self) -> usize {
        self.index_room
    }
}

fn from_text(text: &str) -> Result<Value, InvalidParameters> {
    read_text(text).map_err(|reason| {
        InvalidParameters::text(
            "$.Job",
            format!("a string that is neither JSON nor YAML ({reason})"),
            "a batch/v1 Job: an object, or a string that holds one as JSON or YAML",
        )
    })
}

/// Reads JSON or YAML that stands in a field of the input.
pub(crate) fn read_text(text: &str) -> Result<Value, String> {
    match json::read_inside(text, 1) {
        Ok(value) => Ok(value),
        // YAML may be read by other rules, and is much slower.
        Err(Unreadable::Syntax(_)) => yaml::read(text),
        Err(refused) => Err(refused.to_string()),
    }
}

fn expect_constant(fields: &Fields<'_>, name: &str, value: &str) -> Result<(), InvalidParameters> {
    let expected = format!("\"{value}\"");
    let found = fields.required(name, &expected)?;
    if found == value { Ok(()) } else { Err(fields.refuse(name, &expected)) }
}

fn one_namespace(metadata: Option<&Fields<'_>>, namespace: Option<&str>) -> Result<String, InvalidParameters> {
    let own = metadata.map(|metadata| metadata.string("namespace")).transpose()?.flatten();
    match (own, namespace, metadata) {
        (Some(own), Some(given), Some(metadata)) if own != given => {
            Err(metadata.refuse("namespace", &format!("\"{given}\", as $.Namespace says, or nothing")))
        }
        (Some(own), None, Some(metadata)) if !is_dns_label(own) => {
            Err(metadata.refuse("namespace", "a namespace's name: a DNS label"))
        }
        (own, given, _) => Ok(given.or(own).unwrap_or("default").to_owned()),
    }
}

/// Pods of an Indexed Job are called `<name>-<index>`, and that must be a DNS label of 63 characters.
fn index_room(spec: &Fields<'_>) -> usize {
    let indexed = spec.get("completionMode").and_then(Value::as_str) == Some("Indexed");
    let completions = spec.get("completions").and_then(Value::as_u64).unwrap_or(1);
    if indexed { 1 + completions.saturating_sub(1).to_string().len() } else { 0 }
}

fn naming(metadata: Option<&Fields<'_>>, index_room: usize) -> Result<Naming, InvalidParameters> {
    let Some(metadata) = metadata else { return Ok(Naming::Absent) };
    let longest = MAX_JOB_NAME - index_room.min(MAX_JOB_NAME);
    match (metadata.string("name")?, metadata.string("generateName")?) {
        (Some(name), _) if name.len() > longest && index_room > 0 => Err(metadata.refuse(
            "name",
            &format!("at most {longest} characters: the pods of this Indexed Job put {index_room} more behind it"),
        )),
        (Some(name), _) if index_room > 0 && !is_dns_label(name) => {
            Err(metadata.refuse("name", "a DNS label, because the Job is Indexed: lower-case letters, digits and '-'"))
        }
        (Some(name), _) if name.len() > longest || !is_dns_subdomain(name) => Err(metadata.refuse("name", NAME)),
        (Some(name), _) => Ok(Naming::Given(name.to_owned())),
        (None, Some(prefix)) if !is_dns_subdomain(&format!("{prefix}x")) => {
            Err(metadata.refuse("generateName", "the beginning of a name: lower-case letters, digits, '-' and '.'"))
        }
        (None, Some(prefix)) if index_room > 0 && !is_dns_label(&format!("{}x", cut(prefix))) => {
            Err(metadata.refuse("generateName", "the beginning of a DNS label, because the Job is Indexed"))
        }
        (None, Some(prefix)) => Ok(Naming::Prefix(prefix.to_owned())),
        (None, None) => Ok(Naming::Absent),
    }
}

fn refuse_reserved(metadata: &Fields<'_>) -> Result<(), InvalidParameters> {
    for kind in ["labels", "annotations"] {
        let Some(map) = metadata.object(kind)? else { continue };
        if let Some((name, _)) = map.iter().find(|(name, _)| name.starts_with(RESERVED_PREFIX)) {
            return Err(map.refuse(name, "a name outside runjob/, which is reserved"));
        }
    }
    Ok(())
}

/// Of a longer prefix only the beginning becomes part of a name.
fn cut(prefix: &str) -> String {
    prefix.chars().take(MAX_JOB_NAME - 1).collect()
}

fn leave_out_the_servers(job: &mut Value) {
    let Some(job) = job.as_object_mut() else { return };
    job.shift_remove("status");
    if let Some(metadata) = job.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in SERVERS_METADATA {
            metadata.shift_remove(field);
        }
    }
}

fn refuse_ties(metadata: &Fields<'_>) -> Result<(), InvalidParameters> {
    let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    match TIES.iter().find(|field| metadata.get(field).is_some_and(|value| !is_empty(value))) {
        Some(field) => Err(metadata.refuse(field, "no such field: runjob deletes the Jobs of tasks that have ended")),
        None => Ok(()),
    }
}

/// The metadata of a Job, made if it is absent.
pub(crate) fn metadata_mut(job: &mut Value) -> Option<&mut Map<String, Value>> {
    map_mut(job.as_object_mut()?, "metadata")
}

/// A map inside of another, made if it is absent or `null`.
pub(crate) fn map_mut<'m>(parent: &'m mut Map<String, Value>, name: &str) -> Option<&'m mut Map<String, Value>> {
    let entry = parent.entry(name).or_insert(Value::Null);
    if entry.is_null() {
        *entry = Value::Object(Map::new());
    }
    entry.as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(job: &Value) -> Result<Manifest, InvalidParameters> {
        parsed_in(job, None)
    }

    fn parsed_in(job: &Value, namespace: Option<&str>) -> Result<Manifest, InvalidParameters> {
        let top = json!({"Job": job});
        Manifest::parse(&Fields::of("$", &top).unwrap(), namespace)
    }

    fn refused(job: &Value) -> String {
        parsed(job).unwrap_err().to_string()
    }

    #[test]
    fn a_job_may_be_text_of_json_or_yaml() {
        let json = r#"{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": {}}"#;
        let yaml = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: a\nspec: {}\n";
        assert_eq!(parsed(&json.into()).unwrap(), parsed(&yaml.into()).unwrap());
        assert_eq!(parsed(&yaml.into()).unwrap().naming(), &Naming::Given("a".into()));
    }

    #[test]
    fn the_namespace_is_the_manifests_when_the_request_names_none() {
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "team"}, "spec": {}});
        assert_eq!(parsed(&job).unwrap().namespace(), "team");
        assert_eq!(parsed_in(&job, Some("team")).unwrap().namespace(), "team");
        assert_eq!(
            parsed_in(&job, Some("other")).unwrap_err().to_string(),
            "$.Job.metadata.namespace: expected \"other\", as $.Namespace says, or nothing, found the string \"team\""
        );
    }

    #[test]
    fn what_can_never_be_a_job_is_refused() {
        let with = |metadata: Value, spec: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec});
        let cases = [
            (json!("- a\nb"), "$.Job: expected a batch/v1 Job: an object"),
            (json!("hello"), "$.Job: expected an object, found the string \"hello\""),
            (json!({"kind": "Job", "spec": {}}), "$.Job.apiVersion: expected \"batch/v1\", found nothing"),
            (
                json!({"apiVersion": "batch/v1beta1", "kind": "Job", "spec": {}}),
                "$.Job.apiVersion: expected \"batch/v1\", found the string \"batch/v1beta1\"",
            ),
            (json!({"apiVersion": "batch/v1", "kind": "Job"}), "$.Job.spec: expected the Job's specification"),
            (with(json!({"name": "My-Job"}), json!({})), "$.Job.metadata.name: expected a name of at most 63"),
            (with(json!({"name": "x".repeat(64)}), json!({})), "$.Job.metadata.name: expected a name of at most 63"),
            (
                with(json!({"name": "x".repeat(61)}), json!({"completionMode": "Indexed", "completions": 100})),
                "$.Job.metadata.name: expected at most 60 characters: the pods of this Indexed Job put 3 more behind it",
            ),
            (
                with(json!({"name": "a.b"}), json!({"completionMode": "Indexed", "completions": 2})),
                "$.Job.metadata.name: expected a DNS label, because the Job is Indexed",
            ),
            (with(json!({"generateName": "A"}), json!({})), "$.Job.metadata.generateName: expected the beginning"),
            (
                with(json!({"generateName": "a.b-"}), json!({"completionMode": "Indexed", "completions": 2})),
                "$.Job.metadata.generateName: expected the beginning of a DNS label, because the Job is Indexed",
            ),
            (
                with(json!({}), json!({"template": {"metadata": {"annotations": {"runjob/v": "1"}}}})),
                "$.Job.spec.template.metadata.annotations[\"runjob/v\"]: expected a name outside runjob/",
            ),
            (
                with(json!({"finalizers": ["example.com/never"]}), json!({})),
                "$.Job.metadata.finalizers: expected no such",
            ),
            (with(json!({"ownerReferences": [{}]}), json!({})), "$.Job.metadata.ownerReferences: expected no such"),
            (
                with(json!({"deletionTimestamp": "2026-11-24T20:26:15Z"}), json!({})),
                "$.Job.metadata.deletionTimestamp:",
            ),
            (
                with(json!({}), json!({"x": "x".repeat(MAX_JOB)})),
                "$.Job: expected at most 1.5 MiB of JSON, found 15729",
            ),
            (
                with(json!({"labels": {"runjob/group": "x"}}), json!({})),
                "$.Job.metadata.labels[\"runjob/group\"]: expected a name outside runjob/",
            ),
        ];
        for (job, message) in cases {
            let refusal = refused(&job);
            assert!(refusal.starts_with(message), "{job}\n  got {refusal}\n  not {message}");
        }
    }

    #[test]
    fn what_an_exported_job_has_of_the_server_is_left_out() {
        let exported = json!({"apiVersion": "batch/v1", "kind": "Job", "status": {"succeeded": 1}, "spec": {},
            "metadata": {"name": "x", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-11-24T20:26:15Z",
                "generation": 1, "selfLink": "/x", "managedFields": [{}], "finalizers": [], "labels": {"a": "b"}}});
        let plain = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {},
            "metadata": {"name": "x", "finalizers": [], "labels": {"a": "b"}}});
        assert_eq!(parsed(&exported).unwrap().value(), &plain);
    }

    #[test]
    fn digits_of_a_manifest_are_kept() {
        let text = r#"{"apiVersion":"batch/v1","kind":"Job","spec":{"x":123456789012345678901234567890.10}}"#;
        let manifest = parsed(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(manifest.value().to_string(), text);
    }
}
