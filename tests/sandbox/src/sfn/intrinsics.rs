//! `States.Format`, the one intrinsic function the sandbox has.

use serde_json::{Number, Value};

use super::{
    failure::StateError,
    paths::{Path, Scope},
};

/// `States.Format(template, argument, …)`.
#[derive(Debug, Clone)]
pub(super) struct Format {
    text: String,
    template: Argument,
    arguments: Vec<Argument>,
}

#[derive(Debug, Clone)]
enum Argument {
    Literal(Value),
    /// A quoted text with its backslashes still in it: which braces are meant literally shows only when it is filled.
    Quoted(String),
    Path(Path),
    Nested(Box<Format>),
}

/// A template cut at its `{}`.
struct Pieces(Vec<String>);

impl Format {
    /// Reads a call. `Err` says what is wrong with the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let Some((function, rest)) = text.split_once('(') else {
            return Err(format!("{text:?} is neither a JSONPath nor a call of an intrinsic function"));
        };
        if function.trim() != "States.Format" {
            return Err(format!(
                "{function:?}: of the intrinsic functions the sandbox has States.Format only; LocalStack has all"
            ));
        }
        let inner = rest.strip_suffix(')').ok_or_else(|| format!("{text:?} has no closing parenthesis"))?;
        let mut arguments = split_arguments(inner)?.into_iter().map(|argument| Argument::parse(&argument));
        let template = arguments.next().ok_or_else(|| format!("{text:?} has no template"))??;
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        if let Argument::Quoted(template) = &template {
            let places = Pieces::of(template)?.0.len() - 1;
            if places != arguments.len() {
                return Err(format!("{text:?} has {places} {{}} and {} arguments for them", arguments.len()));
            }
        }
        Ok(Self { text: text.to_owned(), template, arguments })
    }

    pub(super) fn evaluate(&self, scope: Scope<'_>) -> Result<Value, StateError> {
        let pieces = match &self.template {
            Argument::Quoted(template) => Pieces::of(template),
            other => match other.evaluate(scope)? {
                Value::String(template) => Pieces::of(&template),
                other => Err(format!("the template is {other}, no text")),
            },
        };
        let pieces = pieces.map_err(|problem| self.failed(&problem))?.0;
        if pieces.len() != self.arguments.len() + 1 {
            return Err(self.failed("it does not have as many {} as arguments"));
        }
        let mut pieces = pieces.into_iter();
        let mut filled = pieces.next().unwrap_or_default();
        for (argument, piece) in self.arguments.iter().zip(pieces) {
            match argument.evaluate(scope)? {
                Value::String(text) => filled.push_str(&text),
                value @ (Value::Object(_) | Value::Array(_)) => {
                    return Err(self.failed(&format!("{value} is no text, number, truth value or null")));
                }
                value => filled.push_str(&value.to_string()),
            }
            filled.push_str(&piece);
        }
        Ok(Value::String(filled))
    }

    fn failed(&self, problem: &str) -> StateError {
        StateError::named("States.IntrinsicFailure", format!("unable to evaluate {}: {problem}", self.text))
    }
}

impl Argument {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with('$') {
            return Path::parse(text).map(Self::Path);
        }
        if let Some(quoted) = text.strip_prefix('\'') {
            let quoted = quoted.strip_suffix('\'').ok_or_else(|| format!("{text:?} has no closing quote"))?;
            return Ok(Self::Quoted(quoted.to_owned()));
        }
        if text.starts_with("States.") {
            return Format::parse(text).map(|format| Self::Nested(Box::new(format)));
        }
        match text {
            "true" => Ok(Self::Literal(Value::Bool(true))),
            "false" => Ok(Self::Literal(Value::Bool(false))),
            "null" => Ok(Self::Literal(Value::Null)),
            number => serde_json::from_str::<Number>(number)
                .map(|number| Self::Literal(Value::Number(number)))
                .map_err(|_| format!("{text:?} is no argument: quote texts with '")),
        }
    }

    fn evaluate(&self, scope: Scope<'_>) -> Result<Value, StateError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Quoted(text) => Ok(Value::String(unescaped(text))),
            Self::Nested(format) => format.evaluate(scope),
            Self::Path(path) => path.resolve(scope).ok_or_else(|| {
                StateError::runtime(format!(
                    "The JSONPath '{}' could not be found in the input '{}'",
                    path.text(),
                    scope.data
                ))
            }),
        }
    }
}

impl Pieces {
    fn of(template: &str) -> Result<Self, String> {
        let mut pieces = vec![String::new()];
        let mut characters = template.chars();
        while let Some(character) = characters.next() {
            let literal = match character {
                '\\' => characters.next().unwrap_or('\\'),
                '{' if characters.next() == Some('}') => {
                    pieces.push(String::new());
                    continue;
                }
                '{' | '}' => return Err(format!("{template:?} has a brace that is no {{}}; write \\{{ or \\}}")),
                other => other,
            };
            if let Some(last) = pieces.last_mut() {
                last.push(literal);
            }
        }
        Ok(Self(pieces))
    }
}

fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let mut plain = String::new();
    while let Some(character) = characters.next() {
        plain.push(if character == '\\' { characters.next().unwrap_or('\\') } else { character });
    }
    plain
}

/// Cuts at the commas that stand outside of quotes, brackets and parentheses.
fn split_arguments(text: &str) -> Result<Vec<String>, String> {
    let mut arguments = vec![String::new()];
    let (mut depth, mut quoted) = (0_usize, false);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ',' if depth == 0 && !quoted => {
                arguments.push(String::new());
                continue;
            }
            '\'' => quoted = !quoted,
            '(' | '[' if !quoted => depth += 1,
            ')' | ']' if !quoted => {
                depth = depth.checked_sub(1).ok_or_else(|| format!("{text:?} closes more than it opens"))?;
            }
            _ => {}
        }
        if let Some(last) = arguments.last_mut() {
            last.push(character);
            if character == '\\' && quoted {
                last.extend(characters.next());
            }
        }
    }
    if quoted || depth > 0 {
        return Err(format!("{text:?} opens more than it closes"));
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn formatted(text: &str) -> Result<Value, StateError> {
        let data = json!({ "name": "pi", "n": 2000, "list": [1], "template": "<{}>" });
        let context = json!({ "Execution": { "Name": "one" } });
        Format::parse(text).unwrap().evaluate(Scope { data: &data, context: &context })
    }

    #[test]
    fn arguments_fill_the_braces() {
        for (call, expected) in [
            ("States.Format('plain')", "plain"),
            ("States.Format('{}-{}', $.name, $.n)", "pi-2000"),
            ("States.Format('{}', $$.Execution.Name)", "one"),
            ("States.Format('{} {} {}', true, null, 1.50)", "true null 1.50"),
            (r"States.Format('it\'s \{{}\}, {}', $.name, 'a, b')", "it's {pi}, a, b"),
            ("States.Format('{}', States.Format('({})', $['name']))", "(pi)"),
            ("States.Format($.template, $.list[0])", "<1>"),
        ] {
            assert_eq!(formatted(call).unwrap(), json!(expected), "{call}");
        }
    }

    #[test]
    fn what_cannot_be_filled_fails() {
        for (call, error) in [
            ("States.Format('{}', $.list)", "States.IntrinsicFailure"),
            ("States.Format($.template)", "States.IntrinsicFailure"),
            ("States.Format($.n)", "States.IntrinsicFailure"),
            ("States.Format('{}', $.missing)", "States.Runtime"),
        ] {
            assert_eq!(formatted(call).unwrap_err().error.as_deref(), Some(error), "{call}");
        }
    }

    #[test]
    fn calls_that_cannot_be_right_are_refused() {
        for call in [
            "States.UUID()",
            "States.Format()",
            "States.Format('{}')",
            "States.Format('{}', $.a, $.b)",
            "States.Format('{', $.a)",
            "States.Format('{}', $.a",
            "States.Format('{}', bare)",
            "States.Format('open)",
            "just text",
        ] {
            assert!(Format::parse(call).is_err(), "{call}");
        }
    }
}
