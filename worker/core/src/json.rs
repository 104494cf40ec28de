//! Reading JSON that others wrote: a task's input, a function's event, a log, an answer of the Kubernetes API.
//!
//! The text is scanned once, without recursion, before any value is built. `serde_json` gives a meaning of its own to objects with
//! certain keys, with a fresh limit of depth for each document inside of them, so that a short text could overflow the stack; and
//! it stores a number of any length. What passes the scan is an ordinary document within one budget.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The deepest nesting, documents inside of strings included. `serde_json` itself goes no deeper.
pub(crate) const MAX_DEPTH: usize = 127;

/// The longest text: what the adapters read of an answer, and more than Step Functions or Lambda hand over.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The longest number, in characters. Programs print some thousand digits of pi; a megabyte of them is no number any more.
const MAX_NUMBER: usize = 64 * 1024;

/// How the keys begin that `serde_json` keeps for itself.
const RESERVED: &str = "$serde_json::private::";

/// The most characters that a path shows of a key, and the most steps.
const MAX_SHOWN_KEY: usize = 64;
const MAX_SHOWN_STEPS: usize = 32;

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON.
    #[error("{0}")]
    Syntax(String),
    /// Objects and lists are nested too deep.
    #[error("nested deeper than {limit} levels at line {line} column {column}")]
    #[expect(missing_docs, reason = "the message says it")]
    TooDeep { limit: usize, line: usize, column: usize },
    /// A key would be read as something else than a key.
    #[error("the key {key:?} is reserved")]
    #[expect(missing_docs, reason = "the message says it")]
    Reserved { path: String, key: String },
    /// A number is longer than any that means something.
    #[error("a number of more than {MAX_NUMBER} characters")]
    LongNumber,
    /// The text as a whole is too long.
    #[error("{0} bytes, which is more than {MAX_BYTES}")]
    TooLong(usize),
}

/// Reads a document.
pub fn read(text: &str) -> Result<Value, Unreadable> {
    read_within(text, MAX_DEPTH)
}

/// Reads a document that stands in a string, `depth` levels deep in another one.
pub(crate) fn read_inside(text: &str, depth: usize) -> Result<Value, Unreadable> {
    read_within(text, MAX_DEPTH.saturating_sub(depth))
}

/// Reads a document of a known shape.
pub(crate) fn read_as<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    read_within(text, MAX_DEPTH)
}

fn read_within<T: DeserializeOwned>(text: &str, depth: usize) -> Result<T, Unreadable> {
    scan(text, depth)?;
    serde_json::from_str(text).map_err(|error| Unreadable::Syntax(error.to_string()))
}

/// Whether `serde_json` would take an object with this key for something else.
pub(crate) fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED)
}

/// Where the scan is: in an object, behind a key, or in a list, at an item.
enum Step<'t> {
    Object(&'t str),
    List(usize),
}

/// Goes through the tokens. What is no JSON is left for the parser to refuse: up to its first error, both see the same tokens.
fn scan(text: &str, limit: usize) -> Result<(), Unreadable> {
    if text.len() > MAX_BYTES {
        return Err(Unreadable::TooLong(text.len()));
    }
    let bytes = text.as_bytes();
    let mut steps: Vec<Step<'_>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' if steps.len() >= limit => return Err(too_deep(text, at, limit)),
            b'{' => steps.push(Step::Object("")),
            b'[' => steps.push(Step::List(0)),
            b'}' | b']' => drop(steps.pop()),
            b',' => {
                if let Some(Step::List(index)) = steps.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let end = string_end(bytes, at);
                let quoted = text.get(at..end).unwrap_or_default();
                let rest = bytes.get(end..).unwrap_or_default();
                let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
                if let (Some(b':'), Some(Step::Object(key))) = (next, steps.last_mut()) {
                    *key = quoted;
                    refuse_reserved(quoted, &steps)?;
                }
                at = end;
                continue;
            }
            b'-' | b'0'..=b'9' => {
                let rest = bytes.get(at..).unwrap_or_default();
                let length = rest.iter().take_while(|byte| is_of_number(**byte)).count();
                if length > MAX_NUMBER {
                    return Err(Unreadable::LongNumber);
                }
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Where the string ends that begins here, behind its closing quote.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn refuse_reserved(quoted: &str, steps: &[Step<'_>]) -> Result<(), Unreadable> {
    let key = unquoted(quoted);
    if !is_reserved(&key) {
        return Ok(());
    }
    let parents = steps.split_last().map(|(_, parents)| parents).unwrap_or_default();
    Err(Unreadable::Reserved { path: path(parents), key: shown(&key) })
}

/// A key without its quotes and escapes.
fn unquoted(quoted: &str) -> String {
    let plain = quoted.trim_matches('"');
    if plain.contains('\\') { serde_json::from_str(quoted).unwrap_or_default() } else { plain.to_owned() }
}

/// The JSON path of the object or list at the end of these steps.
fn path(steps: &[Step<'_>]) -> String {
    let mut path = "$".to_owned();
    for step in steps.iter().take(MAX_SHOWN_STEPS) {
        match step {
            Step::List(index) => path.push_str(&format!("[{index}]")),
            Step::Object(quoted) => {
                let key = unquoted(quoted);
                let is_plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                if is_plain {
                    path.push_str(&format!(".{}", shown(&key)));
                } else {
                    path.push_str(&format!("[{}]", Value::from(shown(&key))));
                }
            }
        }
    }
    if steps.len() > MAX_SHOWN_STEPS { path + "…" } else { path }
}

fn shown(key: &str) -> String {
    crate::budget::shortened(key, MAX_SHOWN_KEY)
}

fn too_deep(text: &str, at: usize, limit: usize) -> Unreadable {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    let mut lines = before.split(|byte| *byte == b'\n');
    let column = lines.next_back().map_or(0, <[u8]>::len) + 1;
    let line = lines.count() + 1;
    Unreadable::TooDeep { limit, line, column }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::documents_in_documents;

    fn in_a_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).unwrap().join().unwrap()
    }

    #[test]
    fn documents_inside_of_documents_do_not_overflow_the_stack() {
        let text = documents_in_documents(30, 125);
        let found = in_a_small_stack(move || read(&text)).unwrap_err();
        assert!(matches!(&found, Unreadable::Reserved { path, .. } if path.starts_with("$[0][0]")), "{found:?}");
    }

    #[test]
    fn a_reserved_key_is_found_however_it_is_written() {
        let table = [
            (r#"{"$serde_json::private::Number": "7"}"#, "$"),
            (r#"{"a": [1, {"b c": {"$serde_json::private::RawValue" : "7"}}]}"#, "$.a[1][\"b c\"]"),
            (r#"{"$serde_json\u003a:private::Number": "7"}"#, "$"),
            (r#"{"\u0024serde_json::private::Anything": "7"}"#, "$"),
            (r#"{"a": 1, "$serde_json::private::RawValue":"7"}"#, "$"),
            (r#"{"a": {"x": 1}, "b": {"\u0024\u0073erde_json::private::RawValue":"7", "#, "$.b"),
        ];
        for (text, expected) in table {
            let found = read(text).unwrap_err();
            assert!(matches!(&found, Unreadable::Reserved { path, .. } if path == expected), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_only_looks_like_a_reserved_key_is_read() {
        for value in [
            json!({"a": "$serde_json::private::Number"}),
            json!(["$serde_json::private::Number", ":"]),
            json!({"a": "{\"$serde_json::private::Number\": \"7\"}"}),
            json!({"serde_json::private::Number": 1, "\\\"": "}]"}),
            json!({"\u{1f600}": [[], {}], "": null}),
        ] {
            assert_eq!(read(&value.to_string()).unwrap(), value);
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(
            read(&format!("\n{}", nested(MAX_DEPTH + 1))).unwrap_err().to_string(),
            "nested deeper than 127 levels at line 2 column 128"
        );
        assert!(read_inside(&nested(MAX_DEPTH - 1), 1).is_ok() && read_inside(&nested(MAX_DEPTH), 1).is_err());
        let endless = "[{\"a\":".repeat(1_000_000);
        assert!(in_a_small_stack(move || read(&endless)).is_err());
    }

    #[test]
    fn a_number_keeps_its_digits_up_to_a_length() {
        let digits = |count: usize| format!("[-0.{}]", "7".repeat(count));
        assert_eq!(read(&digits(10_000)).unwrap().to_string(), digits(10_000));
        assert_eq!(read(&digits(MAX_NUMBER)).unwrap_err(), Unreadable::LongNumber);
        assert!(read(&format!("\"{}\"", "7".repeat(MAX_NUMBER + 1))).is_ok());
    }
}
