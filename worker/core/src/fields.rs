//! Reading an object field by field, with an error that names the path, what was found and what was expected.

use serde_json::{Map, Value};

use crate::{budget::shortened, invalid::InvalidParameters};

/// How much of a value an error shows. The rest of the input belongs to its owner.
const MAX_SHOWN: usize = 40;

/// How much of a field's name a path shows, in characters. Kubernetes' own longest are keys of labels, with 317.
const MAX_NAME: usize = 320;

/// An object and the path that leads to it.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Takes `value` as an object.
    pub(crate) fn of(path: &str, value: &'a Value) -> Result<Self, InvalidParameters> {
        match value {
            Value::Object(map) => Ok(Self { path: path.to_owned(), map }),
            other => Err(InvalidParameters::new(path, other, "an object")),
        }
    }

    /// The fields that are not among `known`, each as the error that it deserves.
    /// They are made one by one: of a hundred thousand only the first is shown.
    pub(crate) fn unknown<'k>(&'k self, known: &'k [&'k str]) -> impl Iterator<Item = InvalidParameters> + 'k {
        let unknown = self.map.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        unknown.map(|(name, value)| {
            let error = InvalidParameters::of_field(&self.path_of(name), name, value, "no such field");
            match nearest(name, known) {
                Some(near) => error.suggesting(format!("did you mean {near}?")),
                None => error.suggesting(format!("known here: {}", known.join(", "))),
            }
        })
    }

    pub(crate) fn path_of(&self, name: &str) -> String {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
        let name = shortened(name, MAX_NAME);
        if plain { format!("{}.{name}", self.path) } else { format!("{}[{}]", self.path, Value::from(name)) }
    }

    /// A field that has a value. `null` is none: that is what a path to an optional field of the input leads to, and what AWS'
    /// and Kubernetes' own APIs take it for.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.map.iter()
    }

    pub(crate) fn refuse(&self, name: &str, expected: &str) -> InvalidParameters {
        InvalidParameters::of_field(&self.path_of(name), name, self.map.get(name).unwrap_or(&Value::Null), expected)
    }

    /// The object as a whole is not what is expected.
    pub(crate) fn wanting(&self, expected: &str) -> InvalidParameters {
        InvalidParameters::new(&self.path, &Value::Object(self.map.clone()), expected)
    }

    /// A field is not there, and should be.
    pub(crate) fn lacking(&self, name: &str, expected: &str) -> InvalidParameters {
        InvalidParameters::absent(&self.path_of(name), expected)
    }

    pub(crate) fn string(&self, name: &str) -> Result<Option<&'a str>, InvalidParameters> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.refuse(name, "a string")),
        }
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, InvalidParameters> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.refuse(name, "true or false")),
        }
    }

    pub(crate) fn natural(&self, name: &str) -> Result<Option<u64>, InvalidParameters> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| self.refuse(name, "a whole number, 0 or more")),
        }
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, InvalidParameters> {
        self.get(name).map(|value| Fields::of(&self.path_of(name), value)).transpose()
    }

    pub(crate) fn required(&self, name: &str, expected: &str) -> Result<&'a Value, InvalidParameters> {
        match self.map.get(name) {
            Some(value) if !value.is_null() => Ok(value),
            Some(_) => Err(self.refuse(name, expected)),
            None => Err(self.lacking(name, expected)),
        }
    }

    /// A map of string to list of strings: the shape of the native `LogParameters` and `QueryParameters`.
    pub(crate) fn multi_map(&self, name: &str) -> Result<Vec<(String, Vec<String>)>, InvalidParameters> {
        let Some(map) = self.object(name)? else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            let strings = value.as_array().and_then(|items| {
                items.iter().map(|item| item.as_str().map(ToOwned::to_owned)).collect::<Option<Vec<_>>>()
            });
            let strings = strings.ok_or_else(|| map.refuse(key, "a list of strings"))?;
            entries.push((key.clone(), strings));
        }
        Ok(entries)
    }
}

/// What a value is, in a few words, for an error message.
pub(crate) fn describe(value: &Value) -> String {
    let kind = match value {
        Value::Null => return "null".to_owned(),
        Value::Array(items) => return format!("a list of {}", items.len()),
        Value::Object(map) => return format!("an object of {} fields", map.len()),
        Value::Bool(_) => "the boolean",
        Value::Number(_) => "the number",
        Value::String(_) => "the string",
    };
    let text = value.to_string();
    if text.chars().count() <= MAX_SHOWN {
        format!("{kind} {text}")
    } else {
        let shown: String = text.chars().take(MAX_SHOWN).collect();
        format!("{kind} {shown}… ({} characters)", text.chars().count())
    }
}

/// What the value of a field is. A text under a name that may be a credential's, a misspelt one's too, is not shown: what is
/// refused gets into logs.
pub(crate) fn describe_field(name: &str, value: &Value) -> String {
    const CREDENTIALS: [&str; 4] = ["token", "secret", "password", "credential"];
    let plain: String = name.chars().take(MAX_NAME).filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    let may_be_one = CREDENTIALS.iter().any(|part| plain.contains(part)) || nearest(&plain, &["TaskToken"]).is_some();
    if may_be_one && value.is_string() { "a string that is not shown".to_owned() } else { describe(value) }
}

/// The known name that is at most two edits (or a matter of upper and lower case) away.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    const FAR: usize = 2;
    // As many edits at least as the lengths differ: a name of a megabyte is not even looked at.
    let close = known.iter().filter(|candidate| candidate.len().abs_diff(name.len()) <= FAR);
    let candidates = close.map(|candidate| (edits(&name.to_lowercase(), &candidate.to_lowercase()), *candidate));
    candidates.filter(|(distance, _)| *distance <= FAR).min_by_key(|(distance, _)| *distance).map(|(_, near)| near)
}

/// The Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, diagonal), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(from != *to)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_name_is_found() {
        let known = ["RetrieveLogs", "RawLogs", "LogParameters"];
        assert_eq!(nearest("retrieveLogs", &known), Some("RetrieveLogs"));
        assert_eq!(nearest("RetriveLog", &known), Some("RetrieveLogs"));
        assert_eq!(nearest("Something", &known), None);
    }

    #[test]
    fn what_may_be_a_credential_is_not_shown() {
        for name in ["Tasktoken", "TaskTokn", "task_token", "Task-Toke", "xTaskTokenx", "token", "Password"] {
            let found = InvalidParameters::of_field("$.x", name, &Value::from("AQCE"), "nothing").to_string();
            assert!(!found.contains("AQCE"), "{found}");
        }
        assert_eq!(describe_field("Task", &Value::from("a")), "the string \"a\"");
    }

    #[test]
    fn a_distance_counts_edits() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("same", "same"), 0);
    }
}
