//! Payload templates: `Parameters` and `ResultSelector`, whose fields that end in `.$` are computed.

use serde_json::{Map, Value};

use super::{
    failure::StateError,
    intrinsics::Format,
    paths::{Path, Scope},
};

/// A payload template, parsed when its machine was created.
#[derive(Debug, Clone)]
pub(super) enum Template {
    Literal(Value),
    List(Vec<Template>),
    Object(Vec<Field>),
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    name: String,
    value: FieldValue,
}

#[derive(Debug, Clone)]
enum FieldValue {
    Template(Template),
    Path(Path),
    Format(Format),
}

impl Template {
    /// Reads the template of a state. `Err` says what is wrong with it.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        if value.is_object() { Self::parse_any(value) } else { Err(format!("{value} is no object")) }
    }

    fn parse_any(value: &Value) -> Result<Self, String> {
        match value {
            Value::Object(object) => object
                .iter()
                .map(|(key, value)| Field::parse(key, value, object))
                .collect::<Result<_, _>>()
                .map(Self::Object),
            Value::Array(list) => list.iter().map(Self::parse_any).collect::<Result<_, _>>().map(Self::List),
            literal => Ok(Self::Literal(literal.clone())),
        }
    }

    pub(super) fn evaluate(&self, scope: Scope<'_>) -> Result<Value, StateError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::List(items) => items.iter().map(|item| item.evaluate(scope)).collect(),
            Self::Object(fields) => fields
                .iter()
                .map(|field| Ok((field.name.clone(), field.evaluate(scope)?)))
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object),
        }
    }
}

impl Field {
    fn parse(key: &str, value: &Value, siblings: &Map<String, Value>) -> Result<Self, String> {
        let Some(name) = key.strip_suffix(".$") else {
            return Ok(Self { name: key.to_owned(), value: FieldValue::Template(Template::parse_any(value)?) });
        };
        if siblings.contains_key(name) {
            return Err(format!("both {name:?} and {key:?} are there"));
        }
        let text = value.as_str().ok_or_else(|| format!("{key:?} is {value}, no text"))?;
        let value = if text.starts_with('$') {
            FieldValue::Path(Path::parse(text)?)
        } else {
            FieldValue::Format(Format::parse(text)?)
        };
        Ok(Self { name: name.to_owned(), value })
    }

    fn evaluate(&self, scope: Scope<'_>) -> Result<Value, StateError> {
        match &self.value {
            FieldValue::Template(template) => template.evaluate(scope),
            FieldValue::Format(format) => format.evaluate(scope),
            FieldValue::Path(path) => path.resolve(scope).ok_or_else(|| {
                StateError::runtime(format!(
                    "The JSONPath '{}' specified for the field '{}.$' could not be found in the input '{}'",
                    path.text(),
                    self.name,
                    scope.data
                ))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn computed_fields_are_found_at_any_depth_and_keep_their_order() {
        let template =
            json!({ "z": 1, "a.$": "$.x", "list": [{ "b.$": "$..n" }, "$.x"], "c.$": "States.Format('{}', $.x)" });
        let data = json!({ "x": { "n": 5 } });
        let scope = Scope { data: &data, context: &Value::Null };
        let error = Template::parse(&template).unwrap().evaluate(scope).unwrap_err();
        assert_eq!(error.error.as_deref(), Some("States.IntrinsicFailure"));

        let data = json!({ "x": 7 });
        let value = Template::parse(&template).unwrap().evaluate(Scope { data: &data, context: &Value::Null }).unwrap();
        assert_eq!(value.to_string(), r#"{"z":1,"a":7,"list":[{"b":[]},"$.x"],"c":"7"}"#);
    }

    #[test]
    fn templates_that_cannot_be_right_are_refused() {
        for template in [
            json!([]),
            json!("$.x"),
            json!({ "a.$": 1 }),
            json!({ "a.$": "$.x", "a": 1 }),
            json!({ "a": [{ "b.$": "$[" }] }),
            json!({ "a.$": "States.UUID()" }),
        ] {
            assert!(Template::parse(&template).is_err(), "{template}");
        }
    }
}
