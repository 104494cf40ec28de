//! What a run of the scenarios came to: a table, and two numbers.

use std::{fmt::Write as _, time::Duration};

use runjob_core::budget::shortened;

use crate::{backend::Backend, scenario::Scenario};

/// What came of one scenario.
#[derive(Debug)]
pub struct Played {
    /// How long it took.
    pub took: Duration,
    /// How many task tokens were seen, and looked for in the worker's log. What was wrong, if something was.
    pub tokens: anyhow::Result<usize>,
}

/// The table of all scenarios on all backends: those of this run with their results, the others with whether they can run there.
/// Below it, the notes it refers to and the two numbers.
pub fn table(scenarios: &[Scenario], backend: Backend, played: &[(usize, Played)]) -> String {
    let mut notes: Vec<&str> = Vec::new();
    let mut text = format!("\n{:76}", "scenario");
    for column in Backend::ALL {
        let _ = write!(text, " {:>18}", column.name());
    }
    for (number, scenario) in scenarios.iter().enumerate() {
        let _ = write!(text, "\n{:76}", scenario.name);
        for column in Backend::ALL {
            let result =
                played.iter().find(|(other, _)| *other == number && column == backend).map(|(_, played)| played);
            let cell = match (scenario.impossible_on(column), result) {
                (Some(why), _) => format!("no ({})", note(&mut notes, why)),
                (None, Some(played)) => {
                    let word = if played.tokens.is_ok() { "passed" } else { "FAILED" };
                    format!("{word} {:6.1} s", played.took.as_secs_f64())
                }
                (None, None) => "-".to_owned(),
            };
            let _ = write!(text, " {cell:>18}");
        }
    }
    text.push_str("\n\n-: can run there, and was not part of this run\n");
    for (number, why) in notes.iter().enumerate() {
        let _ = writeln!(text, "no ({}): {why}", number + 1);
    }
    for scenario in played.iter().filter_map(|(number, _)| scenarios.get(*number)) {
        if let Some(how) = scenario.known_difference_on(backend) {
            let _ = writeln!(text, "{} is known to differ from AWS: {how} ({})", backend.name(), scenario.name);
        }
    }
    // Once more, where whoever reads the end of a long log finds it.
    let mut failed = 0;
    for (number, error) in played.iter().filter_map(|(number, played)| Some((number, played.tokens.as_ref().err()?))) {
        failed += 1;
        let name = scenarios.get(*number).map(|scenario| scenario.name).unwrap_or_default();
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        let _ = writeln!(text, "\nFAILED: {name}\n{}", shortened(&chain.join("\n"), 2000));
    }
    let _ = write!(text, "\n{} passed, {failed} failed", played.len() - failed);
    text
}

fn note<'a>(notes: &mut Vec<&'a str>, why: &'a str) -> usize {
    if let Some(known) = notes.iter().position(|known| *known == why) {
        return known + 1;
    }
    notes.push(why);
    notes.len()
}
