//! Who a Job belongs to, and what was asked for: two hashes that make a create idempotent.

use std::fmt;

use data_encoding::{BASE32_DNSSEC, HEXLOWER};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{names::Group, token::TaskToken, waiter::InvocationId};

/// The longest key, in characters. An execution's ARN, a state's name, a time and an index are a third of it.
const MAX_KEY: usize = 1024;

/// A request's `IdempotencyKey`: what the attempts of one piece of work have in common. Only a hash of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Takes a key. `None`: it is empty or too long.
    pub(crate) fn new(text: &str) -> Option<Self> {
        (1..=MAX_KEY).contains(&text.chars().count()).then(|| Self(text.to_owned()))
    }
}

/// The owner of a Job: a hash of the task token, or of the key that the attempts of a task share. A create that is answered 409
/// has met its own Job when the owner is the same; the hash says so without showing the token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerKey(String);

impl OwnerKey {
    /// The owner that a task is.
    pub fn of_task(token: &TaskToken) -> Self {
        Self(sha256_hex([b"task\0".as_slice(), token.expose().as_bytes()]))
    }

    /// The owner that an invocation of a function is.
    pub fn of_invocation(id: &InvocationId) -> Self {
        Self(sha256_hex([b"invocation\0".as_slice(), id.as_str().as_bytes()]))
    }

    /// The owner that all tasks of a key are. Groups and namespaces do not know each other's keys.
    pub fn of_key(key: &IdempotencyKey, group: &Group, namespace: &str) -> Self {
        // None of the parts but the last can contain the separator.
        let parts = ["key", group.as_str(), namespace, &key.0];
        Self(sha256_hex([parts.join("\0").as_bytes()]))
    }

    /// Reads an owner back from a Job's annotation.
    pub fn from_annotation(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// 10 characters for a name.
    pub(crate) fn name_suffix(&self) -> String {
        short_hash(&self.0)
    }

    /// The first 8 digits, for a log line.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl fmt::Display for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 of the user's Job before the stamp, whatever the order of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecHash(String);

impl SpecHash {
    /// Hashes a manifest.
    pub fn of(manifest: &Value) -> Self {
        let mut canonical = String::new();
        write_canonical(manifest, &mut canonical);
        Self(sha256_hex([canonical.as_bytes()]))
    }

    /// Reads a hash back from a Job's annotation.
    pub fn from_annotation(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// 10 characters that may stand in a name: 50 bits, in base 32 with digits and lower-case letters only.
pub fn short_hash(text: &str) -> String {
    BASE32_DNSSEC.encode(&Sha256::digest(text.as_bytes())).chars().take(10).collect()
}

fn sha256_hex<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    HEXLOWER.encode(&hash.finalize())
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in entries {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_change_the_hash() {
        assert_eq!(SpecHash::of(&json!({"a": 1, "b": [2]})), SpecHash::of(&json!({"b": [2], "a": 1})));
        assert_ne!(SpecHash::of(&json!({"a": 1})), SpecHash::of(&json!({"a": "1"})));
        assert_ne!(SpecHash::of(&json!([[1], 2])), SpecHash::of(&json!([[1, 2]])));
    }

    #[test]
    fn an_owner_does_not_show_the_token() {
        let owner = OwnerKey::of_task(&TaskToken::new("AAAAKgAAAA").unwrap());
        assert_eq!(owner.as_str().len(), 64);
        assert!(!owner.as_str().contains("AAAAK"));
        assert_eq!(owner.name_suffix().len(), 10);
    }

    #[test]
    fn a_key_means_something_in_its_group_and_namespace_only() {
        let owner = |key: &str, group: &str, namespace: &str| {
            OwnerKey::of_key(&IdempotencyKey::new(key).unwrap(), &group.parse().unwrap(), namespace)
        };
        assert_eq!(owner("k", "g", "a"), owner("k", "g", "a"));
        for other in [owner("l", "g", "a"), owner("k", "h", "a"), owner("k", "g", "b"), owner("a", "g", "k")] {
            assert_ne!(owner("k", "g", "a"), other);
        }
    }

    #[test]
    fn a_key_is_neither_empty_nor_endless() {
        assert!(IdempotencyKey::new(&"ä".repeat(MAX_KEY)).is_some());
        assert!(IdempotencyKey::new("").is_none());
        assert!(IdempotencyKey::new(&"x".repeat(MAX_KEY + 1)).is_none());
    }
}
