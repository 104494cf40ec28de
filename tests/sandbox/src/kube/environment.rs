//! A container's environment and command line, resolved: `valueFrom`, `envFrom`, `$(NAME)`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    fields,
    resources::Resource,
    store::{Key, State},
};

/// The environment of a container. `Err` says what is missing, in the kubelet's words.
pub(crate) fn resolve(state: &State, pod: &Value, container: &Value) -> Result<Vec<(String, String)>, String> {
    let mut all: Vec<(String, String)> = Vec::new();
    for source in fields::list(container, "/envFrom") {
        let prefix = fields::text(source, "/prefix");
        for (field, plural) in [("configMapRef", "configmaps"), ("secretRef", "secrets")] {
            if let Some(reference) = source.get(field)
                && let Some(object) = referenced(state, pod, plural, reference)?
            {
                all.extend(data(&object).into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
            }
        }
    }
    for variable in fields::list(container, "/env") {
        let value = match variable.get("valueFrom") {
            Some(source) => match from(state, pod, source)? {
                Some(value) => value,
                None => continue,
            },
            None => expand(fields::text(variable, "/value"), &all),
        };
        all.push((fields::text(variable, "/name").to_owned(), value));
    }
    Ok(all)
}

/// Replaces `$(NAME)` by the variable's value; `$$(NAME)` is a literal `$(NAME)`, an unknown name stays.
pub(crate) fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(literal) = after.strip_prefix('$') {
            out.push('$');
            rest = literal;
            continue;
        }
        let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let value = reference.and_then(|(name, after)| {
            let value = variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)?;
            Some((value, after))
        });
        if let Some((value, after)) = value {
            out.push_str(value);
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

fn from(state: &State, pod: &Value, source: &Value) -> Result<Option<String>, String> {
    if let Some(field) = source.pointer("/fieldRef/fieldPath").and_then(Value::as_str) {
        return Ok(Some(pod_field(pod, field)));
    }
    for (field, plural, kind) in [("configMapKeyRef", "configmaps", "ConfigMap"), ("secretKeyRef", "secrets", "Secret")]
    {
        let Some(reference) = source.get(field) else { continue };
        let Some(object) = referenced(state, pod, plural, reference)? else { return Ok(None) };
        let key = fields::text(reference, "/key");
        return match data(&object).remove(key) {
            Some(value) => Ok(Some(value)),
            None if reference["optional"] == true => Ok(None),
            None => Err(format!(
                "couldn't find key {key} in {kind} {}/{}",
                fields::namespace(pod),
                fields::text(reference, "/name")
            )),
        };
    }
    Ok(None)
}

fn referenced(state: &State, pod: &Value, plural: &str, reference: &Value) -> Result<Option<Value>, String> {
    let name = fields::text(reference, "/name");
    let key = Key::new(&Resource::new("", plural), fields::namespace(pod), name);
    match state.get(&key) {
        Some(object) => Ok(Some(Value::clone(object))),
        None if reference["optional"] == true => Ok(None),
        None => Err(format!("{} \"{name}\" not found", plural.trim_end_matches('s'))),
    }
}

/// The entries of a `ConfigMap`, or of a Secret, whose `data` is base64.
fn data(object: &Value) -> BTreeMap<String, String> {
    let secret = fields::text(object, "/kind") == "Secret";
    let plain = |value: &Value| value.as_str().map(str::to_owned);
    let decoded = |value: &Value| {
        let bytes = data_encoding::BASE64.decode(value.as_str()?.as_bytes()).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let entries = |pointer: &str, read: &dyn Fn(&Value) -> Option<String>| -> Vec<(String, String)> {
        let map = fields::map(object, pointer).into_iter().flatten();
        map.filter_map(|(key, value)| Some((key.clone(), read(value)?))).collect()
    };
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    all.extend(if secret { entries("/data", &decoded) } else { entries("/data", &plain) });
    all.extend(entries("/stringData", &plain));
    all
}

/// A field of the downward API: `metadata.name`, `metadata.labels['job-name']`, `spec.nodeName`.
fn pod_field(pod: &Value, path: &str) -> String {
    if let Some((map, key)) = path.split_once("['").and_then(|(map, key)| Some((map, key.strip_suffix("']")?))) {
        let pointer = format!("/{}", map.replace('.', "/"));
        return fields::map(pod, &pointer).and_then(|map| map.get(key)?.as_str()).unwrap_or_default().to_owned();
    }
    fields::text(pod, &format!("/{}", path.replace('.', "/"))).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_as_kubernetes_does() {
        let variables = [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())];
        for (text, resolved) in [
            ("plain", "plain"),
            ("x$(A)y", "x1y"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(A)"),
            ("$(NO)", "$(NO)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &variables), resolved, "{text}");
        }
    }
}
