//! Taking task tokens out of texts of others.

use std::collections::HashMap;

use serde_json::Value;

use crate::token::TaskToken;

/// What stands for a token inside of another text.
const HIDDEN: &str = "[runjob: a task token]";
/// The shortest token that is looked for. Those of Step Functions have hundreds of characters; a text as short as a word would be found
/// everywhere.
const LEAST: usize = 16;

/// Tokens that must not be shown. They are looked for by their last bytes, since all begin alike: what it costs does not grow with their
/// number, and there may be fifty thousand.
pub(crate) struct Hidden<'t>(HashMap<&'t [u8], &'t str>);

impl<'t> Hidden<'t> {
    pub(crate) fn new(tokens: &'t [TaskToken]) -> Self {
        let ends = tokens
            .iter()
            .map(TaskToken::expose)
            .filter_map(|token| Some((token.as_bytes().last_chunk::<LEAST>()?.as_slice(), token)));
        Self(ends.collect())
    }

    /// Takes them out of all texts and names of a document.
    pub(crate) fn hide_in(&self, value: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        match value {
            Value::Object(map) => {
                if map.keys().any(|name| self.without(name).is_some()) {
                    let named = |name: String| self.without(&name).unwrap_or(name);
                    *map = std::mem::take(map).into_iter().map(|(name, value)| (named(name), value)).collect();
                }
                map.values_mut().for_each(|value| self.hide_in(value));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_in(item)),
            Value::String(text) => {
                if let Some(shown) = self.without(text) {
                    *text = shown;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The text without tokens. `None`: there are none in it.
    fn without(&self, text: &str) -> Option<String> {
        let (mut shown, mut rest) = (String::new(), text);
        while let Some((before, after)) = self.first_in(rest) {
            shown.push_str(before);
            shown.push_str(HIDDEN);
            rest = after;
        }
        (!shown.is_empty()).then(|| shown + rest)
    }

    /// What stands before and behind the first token.
    fn first_in<'x>(&self, text: &'x str) -> Option<(&'x str, &'x str)> {
        text.as_bytes().windows(LEAST).enumerate().find_map(|(place, window)| {
            let token = self.0.get(window)?;
            let (until, after) = text.split_at_checked(place + LEAST)?;
            Some((until.strip_suffix(token)?, after))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(count: usize) -> Vec<TaskToken> {
        (0..count).map(|number| TaskToken::new(format!("AQCE{}{number:05}", "x".repeat(600))).unwrap()).collect()
    }

    #[test]
    fn every_token_is_found_wherever_it_stands() {
        let tokens = tokens(50_000);
        let hidden = Hidden::new(&tokens);
        let (one, other) = (tokens[7].expose(), tokens[49_999].expose());
        let mut value = json!({"a": [format!("ä{one}{other}\n{one}")], (other): {"b": one}, "c": 1, "d": "AQCExxxxxxxxxxxxxxxxxxxxxx"});
        hidden.hide_in(&mut value);
        let expected = json!({"a": [format!("ä{HIDDEN}{HIDDEN}\n{HIDDEN}")], (HIDDEN): {"b": HIDDEN}, "c": 1, "d": "AQCExxxxxxxxxxxxxxxxxxxxxx"});
        assert_eq!(value, expected);
    }

    #[test]
    fn a_token_as_short_as_a_word_is_not_looked_for() {
        let tokens = [TaskToken::new("x").unwrap()];
        assert_eq!(Hidden::new(&tokens).without("an axe"), None);
    }
}
