//! Documents of others that arrive piece by piece, so that their text cannot be scanned first: what a watch brings, the items of a list, YAML.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::json;

/// The key by which `serde_json` hands its numbers on.
const NUMBER: &str = "$serde_json::private::Number";

/// A document of JSON that the parser is in the middle of. Its depth is bounded by the parser.
#[derive(Debug)]
pub struct Foreign(pub Value);

impl<'de> Deserialize<'de> for Foreign {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        KeyByKey::<true>::deserialize(deserializer).map(|document| Self(document.0))
    }
}

/// A value that was read key by key: `serde_json`'s own reader takes an object with one of its reserved keys for a number or for
/// JSON to be read.
pub(crate) struct KeyByKey<const NUMBERS_ARE_OBJECTS: bool>(pub(crate) Value);

impl<'de, const NUMBERS_ARE_OBJECTS: bool> Deserialize<'de> for KeyByKey<NUMBERS_ARE_OBJECTS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyByKeyVisitor::<NUMBERS_ARE_OBJECTS>).map(Self)
    }
}

struct KeyByKeyVisitor<const NUMBERS_ARE_OBJECTS: bool>;

impl<'de, const NUMBERS_ARE_OBJECTS: bool> Visitor<'de> for KeyByKeyVisitor<NUMBERS_ARE_OBJECTS> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Number::from_i128(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        Number::from_u128(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(KeyByKey::<NUMBERS_ARE_OBJECTS>(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if NUMBERS_ARE_OBJECTS && key == NUMBER && map.is_empty() {
                let digits: String = entries.next_value()?;
                return digits.parse().map(Value::Number).map_err(A::Error::custom);
            }
            if json::is_reserved(&key) {
                return Err(A::Error::custom(format_args!("the key {key:.64} is reserved")));
            }
            let KeyByKey::<NUMBERS_ARE_OBJECTS>(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::documents_in_documents;

    #[test]
    fn a_document_is_read_with_all_its_digits() {
        let text = r#"{"a":[1,-2.50,1e400,123456789012345678901234567890,"x",null,true,{}],"b":{"c":0.10}}"#;
        let Foreign(read) = serde_json::from_str(text).unwrap();
        assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(read["b"]["c"].to_string(), "0.10");
    }

    #[test]
    fn documents_inside_of_documents_are_not_read() {
        let text = format!("{{\"object\": {}}}", documents_in_documents(30, 100));
        let read = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        let read = read.spawn(move || serde_json::from_str::<Foreign>(&text).map_err(|error| error.to_string()));
        let error = read.unwrap().join().unwrap().unwrap_err();
        assert!(error.contains("reserved"), "{error}");
        assert!(serde_json::from_value::<Foreign>(json!({"$serde_json::private::RawValue": "[]"})).is_err());
    }
}
