//! JSONPath as Step Functions reads it: a definite path gives the value, any other gives the list of its matches.

use jsonpath_rust::{
    parser::{
        model::{JpQuery, Segment, Selector},
        parse_json_path,
    },
    query::js_path_process,
};
use serde_json::{Map, Value};

use super::failure::StateError;

/// What paths of a state can look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// `$`.
    pub(super) data: &'a Value,
    /// `$$`.
    pub(super) context: &'a Value,
}

/// A path, parsed when its machine was created.
#[derive(Debug, Clone)]
pub(super) struct Path {
    text: String,
    root: Root,
    /// Up to the first segment that can match more than once. A miss in here is an error.
    definite: JpQuery,
    rest: Option<JpQuery>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Data,
    Context,
}

impl Path {
    /// Reads `$…` or `$$…`. `Err` says what is wrong with the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (root, query) = match text.strip_prefix("$$") {
            Some(rest) => (Root::Context, format!("${rest}")),
            None => (Root::Data, text.to_owned()),
        };
        let mut segments = parse_json_path(&query)
            .map_err(|_| {
                format!(
                    "{text:?} is no JSONPath; write names with other characters than letters, digits and _ as $['a-b']"
                )
            })?
            .segments;
        let definite = segments.iter().take_while(|segment| is_definite(segment)).count();
        let rest = segments.split_off(definite);
        Ok(Self {
            text: text.to_owned(),
            root,
            definite: JpQuery::new(segments),
            rest: (!rest.is_empty()).then(|| JpQuery::new(rest)),
        })
    }

    /// The path as the machine's author wrote it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The value or the list that the path stands for. `None` if a definite part of it is not there.
    pub(super) fn resolve(&self, scope: Scope<'_>) -> Option<Value> {
        let root = match self.root {
            Root::Data => scope.data,
            Root::Context => scope.context,
        };
        let start = js_path_process(&self.definite, root).ok()?.into_iter().next()?.val;
        let Some(rest) = &self.rest else { return Some(start.clone()) };
        let matches = js_path_process(rest, start).ok()?;
        Some(Value::Array(matches.into_iter().map(|found| found.val.clone()).collect()))
    }
}

fn is_definite(segment: &Segment) -> bool {
    matches!(segment, Segment::Selector(Selector::Name(_) | Selector::Index(_)))
}

/// Where the result of a state goes.
#[derive(Debug, Clone, Default)]
pub(super) enum ResultPath {
    /// `$`: it is the output.
    #[default]
    Replace,
    /// `null`: nowhere, the input is the output.
    Discard,
    /// Into the input, at a place that is made where it does not exist.
    At(String, Vec<Step>),
}

/// One step of a reference path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
}

impl ResultPath {
    /// Reads a reference path: names and indices, no more.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let path = Path::parse(text)?;
        if path.root == Root::Context || path.rest.is_some() {
            return Err(format!("{text:?} is no reference path: it has to name one place in the state's input"));
        }
        if path.definite.segments.is_empty() {
            return Ok(Self::Replace);
        }
        let step = |segment: &Segment| match segment {
            Segment::Selector(Selector::Name(name)) => Some(Step::Name(name.clone())),
            Segment::Selector(Selector::Index(index)) => usize::try_from(*index).ok().map(Step::Index),
            _ => None,
        };
        let steps = path.definite.segments.iter().map(step).collect::<Option<Vec<_>>>();
        let steps = steps.ok_or_else(|| format!("{text:?} is no reference path: an index is at least 0"))?;
        Ok(Self::At(text.to_owned(), steps))
    }

    /// The input of a state with its result in it.
    pub(super) fn place(&self, mut input: Value, result: Value) -> Result<Value, StateError> {
        match self {
            Self::Replace => Ok(result),
            Self::Discard => Ok(input),
            Self::At(text, steps) => {
                if put(&mut input, steps, result) {
                    return Ok(input);
                }
                let cause = format!("Unable to apply ReferencePath {text} to input {input}");
                Err(StateError::named("States.ResultPathMatchFailure", cause))
            }
        }
    }
}

fn put(target: &mut Value, steps: &[Step], result: Value) -> bool {
    match steps.split_first() {
        None => {
            *target = result;
            true
        }
        Some((Step::Name(name), rest)) => target.as_object_mut().is_some_and(|object| {
            put(object.entry(name.clone()).or_insert_with(|| Value::Object(Map::new())), rest, result)
        }),
        Some((Step::Index(index), rest)) => {
            target.as_array_mut().and_then(|list| list.get_mut(*index)).is_some_and(|item| put(item, rest, result))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolved(path: &str, data: &Value) -> Option<Value> {
        let context = json!({ "Execution": { "Name": "one" } });
        Path::parse(path).unwrap().resolve(Scope { data, context: &context })
    }

    #[test]
    fn definite_paths_give_values_and_others_give_lists() {
        let data = json!({
            "a": { "b": [1, null, { "c-d": true }] },
            "logs": { "pods": { "x": { "log": { "pi": 3 } }, "y": { "log": "text" } } }
        });
        for (path, expected) in [
            ("$", Some(data.clone())),
            ("$.a.b[0]", Some(json!(1))),
            ("$.a.b[1]", Some(json!(null))),
            ("$.a.b[-1]['c-d']", Some(json!(true))),
            ("$.a.b[3]", None),
            ("$.a.x", None),
            ("$.logs..pi", Some(json!([3]))),
            ("$.logs..tau", Some(json!([]))),
            ("$.nothing..pi", None),
            ("$.a.b[*]", Some(json!([1, null, { "c-d": true }]))),
            ("$.a.b[0:1]", Some(json!([1]))),
            ("$.logs.pods[?(@.log == 'text')].log", Some(json!(["text"]))),
            ("$$.Execution.Name", Some(json!("one"))),
            ("$$.State.Name", None),
        ] {
            assert_eq!(resolved(path, &data), expected, "{path}");
        }
    }

    #[test]
    fn every_digit_survives_a_path() {
        let digits = "3.14159265358979323846264338327950288419716939937510582097494";
        let data: Value = serde_json::from_str(&format!(r#"{{"logs":{{"x":{{"pi":{digits}}}}}}}"#)).unwrap();
        assert_eq!(resolved("$.logs..pi", &data).unwrap().to_string(), format!("[{digits}]"));
    }

    #[test]
    fn texts_that_are_no_paths_are_refused() {
        for text in ["", "a.b", "$.a-b", "$.a["] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_result_goes_where_its_path_says() {
        let input = json!({ "a": { "b": 1 }, "list": [1, 2], "text": "x" });
        let with = |path: &str| ResultPath::parse(path).unwrap().place(input.clone(), json!("new"));
        assert_eq!(with("$").unwrap(), json!("new"));
        assert_eq!(ResultPath::Discard.place(input.clone(), json!("new")).unwrap(), input);
        assert_eq!(with("$.a").unwrap(), json!({ "a": "new", "list": [1, 2], "text": "x" }));
        assert_eq!(with("$.a.c.d").unwrap()["a"], json!({ "b": 1, "c": { "d": "new" } }));
        assert_eq!(with("$['x y']").unwrap()["x y"], json!("new"));
        assert_eq!(with("$.list[1]").unwrap()["list"], json!([1, "new"]));
        for unplaceable in ["$.text.a", "$.list[2]", "$.list.a", "$.n[0]"] {
            let error = with(unplaceable).unwrap_err();
            assert_eq!(error.error.as_deref(), Some("States.ResultPathMatchFailure"), "{unplaceable}");
        }
    }

    #[test]
    fn a_result_path_names_one_place() {
        for text in ["$..a", "$.a[*]", "$$.State", "$.a[-1]", "a"] {
            assert!(ResultPath::parse(text).is_err(), "{text}");
        }
    }
}
