//! From the text of a definition to a [`Definition`], or to all that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    DataPath, Definition, Kind, Pause, Problem, Resource, State, Then, Wait,
    fields::{Fields, object},
    tasks,
};
use crate::sfn::{
    limits,
    paths::{Path, ResultPath},
    template::Template,
};

const ELSEWHERE: &str = "run this machine on LocalStack, or write it without";

pub(in super::super) fn parse(text: &str) -> Result<Definition, Vec<Problem>> {
    let mut problems = Vec::new();
    let definition = machine(text, &mut problems);
    if let Some(definition) = definition
        && problems.is_empty()
    {
        check_transitions(&definition, &mut problems);
        if problems.is_empty() {
            return Ok(definition);
        }
    }
    Err(problems)
}

fn machine(text: &str, problems: &mut Vec<Problem>) -> Option<Definition> {
    let whole = |what: String| Problem { state: None, what };
    if text.len() > limits::DEFINITION_BYTES {
        problems.push(whole(format!("the definition is larger than {} bytes", limits::DEFINITION_BYTES)));
        return None;
    }
    let read = serde_json::from_str::<Value>(text).map_err(|error| format!("the definition is no JSON: {error}"));
    let machine = match read.and_then(object) {
        Ok(machine) => machine,
        Err(problem) => {
            problems.push(whole(problem));
            return None;
        }
    };
    let mut fields = Fields::of(None, machine, problems);
    let start_at = fields.text("StartAt");
    if start_at.is_none() {
        fields.problem("StartAt is missing");
    }
    let states = fields.read("States", object);
    if states.as_ref().is_none_or(Map::is_empty) {
        fields.problem("States is missing or empty");
    }
    if let Some(version) = fields.text("Version")
        && version != "1.0"
    {
        fields.problem(format!("Version {version:?} is unknown; it is \"1.0\""));
    }
    query_language(&mut fields);
    let timeout = fields.seconds("TimeoutSeconds", 1);
    fields.finish();

    let states = states?.into_iter().filter_map(|(name, value)| Some((name.clone(), state(&name, value, problems)?)));
    Some(Definition { states: states.collect::<BTreeMap<_, _>>(), start_at: start_at?, timeout })
}

fn state(name: &str, value: Value, problems: &mut Vec<Problem>) -> Option<State> {
    let problem = |what: String| Problem { state: Some(name.to_owned()), what };
    if name.is_empty() || name.chars().count() > limits::NAME_CHARACTERS {
        problems.push(problem(format!("a name has 1 to {} characters", limits::NAME_CHARACTERS)));
    }
    let value = match object(value) {
        Ok(value) => value,
        Err(what) => {
            problems.push(problem(what));
            return None;
        }
    };
    let token = token_path(&value).map(ToOwned::to_owned);
    let mut fields = Fields::of(Some(name), value, problems);
    query_language(&mut fields);
    let Some(type_name) = fields.text("Type") else {
        fields.problem("Type is missing");
        return None;
    };
    let kind = match type_name.as_str() {
        "Task" => tasks::task(&mut fields).map(|task| Kind::Task(Box::new(task))),
        "Pass" => pass(&mut fields),
        "Wait" => wait(&mut fields),
        "Succeed" => Some(Kind::Succeed),
        "Fail" => Some(Kind::Fail { error: fields.text("Error"), cause: fields.text("Cause") }),
        other => {
            // The fields of such a state would only make the list of problems longer.
            fields.problem(format!("states of type {other:?} are not supported here; {ELSEWHERE}"));
            return None;
        }
    };
    let has_token = matches!(&kind, Some(Kind::Task(task)) if task.resource == Resource::Invoke(Wait::ForToken));
    if let Some(token) = token
        && !has_token
    {
        fields.problem(format!("{token:?}: the context has a Task in lambda:invoke.waitForTaskToken states only"));
    }
    let (input_path, output_path) = if type_name == "Fail" {
        (DataPath::Whole, DataPath::Whole)
    } else {
        (data_path(&mut fields, "InputPath"), data_path(&mut fields, "OutputPath"))
    };
    fields.finish();
    Some(State { input_path, output_path, kind: kind? })
}

/// The first path of a state that leads to its token.
fn token_path(object: &Map<String, Value>) -> Option<&str> {
    object.iter().find_map(|(key, value)| match value {
        Value::String(text) if key.ends_with(".$") || key.ends_with("Path") => {
            text.contains("$$.Task").then_some(text.as_str())
        }
        Value::Object(object) => token_path(object),
        Value::Array(list) => list.iter().filter_map(Value::as_object).find_map(token_path),
        _ => None,
    })
}

fn pass(fields: &mut Fields<'_>) -> Option<Kind> {
    let parameters = template(fields, "Parameters");
    let result = fields.take("Result");
    let result_path = result_path(fields);
    Some(Kind::Pass { parameters, result, result_path, then: then(fields)? })
}

fn wait(fields: &mut Fields<'_>) -> Option<Kind> {
    let seconds = fields.seconds("Seconds", 0).map(Pause::Seconds);
    let path = fields.text("SecondsPath").map(|path| Path::parse(&path));
    let pause = match (seconds, path) {
        (Some(seconds), None) => Some(seconds),
        (None, Some(Ok(path))) => Some(Pause::SecondsAt(path)),
        (None, Some(Err(problem))) => {
            fields.problem(format!("SecondsPath: {problem}"));
            None
        }
        (None, None) | (Some(_), Some(_)) => {
            fields.problem("exactly one of Seconds and SecondsPath belongs here");
            None
        }
    };
    let then = then(fields);
    Some(Kind::Wait { pause: pause?, then: then? })
}

pub(super) fn then(fields: &mut Fields<'_>) -> Option<Then> {
    match (fields.text("Next"), fields.truth("End")) {
        (Some(next), None | Some(false)) => Some(Then::Next(next)),
        (None, Some(true)) => Some(Then::End),
        (None, _) => {
            fields.problem("neither Next nor \"End\": true");
            None
        }
        (Some(_), Some(true)) => {
            fields.problem("both Next and \"End\": true");
            None
        }
    }
}

pub(super) fn template(fields: &mut Fields<'_>, field: &str) -> Option<Template> {
    fields.read(field, |value| Template::parse(&value))
}

pub(super) fn result_path(fields: &mut Fields<'_>) -> ResultPath {
    let path = fields.read("ResultPath", |value| match value {
        Value::Null => Ok(ResultPath::Discard),
        Value::String(text) => ResultPath::parse(&text),
        other => Err(format!("{other} is neither a path nor null")),
    });
    path.unwrap_or_default()
}

fn data_path(fields: &mut Fields<'_>, field: &str) -> DataPath {
    let path = fields.read(field, |value| match value {
        Value::Null => Ok(DataPath::Nothing),
        Value::String(text) if text == "$" => Ok(DataPath::Whole),
        Value::String(text) => Path::parse(&text).map(DataPath::At),
        other => Err(format!("{other} is neither a path nor null")),
    });
    path.unwrap_or_default()
}

fn query_language(fields: &mut Fields<'_>) {
    if let Some(language) = fields.text("QueryLanguage")
        && language != "JSONPath"
    {
        fields.problem(format!("QueryLanguage {language:?} is not supported here; write the machine with JSONPath"));
    }
}

/// Every transition leads to a state, and every state is led to.
fn check_transitions(definition: &Definition, problems: &mut Vec<Problem>) {
    if !definition.states.contains_key(&definition.start_at) {
        problems.push(Problem { state: None, what: format!("StartAt: there is no state {:?}", definition.start_at) });
        return;
    }
    for (name, state) in &definition.states {
        for next in state.successors() {
            if !definition.states.contains_key(next) {
                problems.push(Problem { state: Some(name.clone()), what: format!("Next: there is no state {next:?}") });
            }
        }
    }
    let mut reached = BTreeSet::new();
    let mut ahead = vec![definition.start_at.as_str()];
    while let Some(name) = ahead.pop() {
        if reached.insert(name)
            && let Some(state) = definition.states.get(name)
        {
            ahead.extend(state.successors());
        }
    }
    for name in definition.states.keys().filter(|name| !reached.contains(name.as_str())) {
        problems.push(Problem { state: Some(name.clone()), what: "no state leads to it".to_owned() });
    }
}
