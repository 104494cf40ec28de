//! Every mishap at every request of every story.

use super::{
    bug::Bug,
    crew,
    mishap::{Mishap, Mishaps},
    run::{Played, play, play_buggy},
    story::{Attendance, Story},
};

/// One run that is to be made.
#[derive(Debug, Clone)]
pub struct Case<'s> {
    /// The story.
    pub story: &'s Story,
    /// What goes wrong.
    pub mishaps: Mishaps,
}

/// A run that broke a rule.
#[derive(Debug, Clone)]
pub struct Broken {
    /// What was played.
    pub story: &'static str,
    /// With what.
    pub mishaps: Mishaps,
    /// What came of it.
    pub played: Played,
}

/// A story as it goes when nothing goes wrong.
#[derive(Debug, Clone)]
pub struct Calm<'s> {
    /// The story.
    pub story: &'s Story,
    /// What came of it.
    pub played: Played,
}

/// Plays every story undisturbed.
pub fn calm(stories: &[Story]) -> anyhow::Result<Vec<Calm<'_>>> {
    crew::each(stories, |story| play(story, &Mishaps::none()).map(|played| Calm { story, played }))
        .into_iter()
        .collect()
}

/// The runs in which one request meets one of these.
pub fn single<'s>(calm: &[Calm<'s>], mishaps: &[Mishap]) -> Vec<Case<'s>> {
    let mut cases = Vec::new();
    for Calm { story, played } in calm {
        for (place, line) in played.journal.iter().take(played.requests).enumerate() {
            let possible = mishaps
                .iter()
                .filter(|mishap| suits(story, **mishap) && has_room(story, place, **mishap))
                .filter(|mishap| mishap.fate(line.service, &line.kind).is_some());
            cases.extend(possible.map(|mishap| Case { story, mishaps: Mishaps::at([(place + 1, *mishap)]) }));
        }
    }
    cases
}

/// Whether the story has rules for such a mishap.
fn suits(story: &Story, mishap: Mishap) -> bool {
    !mishap.is_crash() || story.attendance == Attendance::Optional
}

/// Whether it is a place for one: a crash has a place everywhere.
fn has_room(story: &Story, place: usize, mishap: Mishap) -> bool {
    mishap.is_crash() || place.is_multiple_of(story.stride)
}

/// So many runs with two mishaps each, chosen by a seed.
pub fn pairs<'s>(calm: &[Calm<'s>], seed: u64, runs: usize) -> Vec<Case<'s>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let all: Vec<Mishap> = Mishap::CRASHES.into_iter().chain(Mishap::FAULTS).collect();
    // One that asks for nothing meets nothing.
    let busy: Vec<&Calm<'_>> = calm.iter().filter(|calm| calm.played.requests > 0).collect();
    let mut cases = Vec::new();
    while cases.len() < runs {
        let Some(Calm { story, played }) = random.choice(&busy) else { return cases };
        let first = random.usize(1..=played.requests);
        // What comes after the first mishap is longer than the undisturbed story, and mostly interesting near it.
        let second = first + 1 + random.usize(0..20);
        let [one, other] = [(); 2].map(|()| random.choice(&all).copied().unwrap_or(Mishap::Refuse));
        if ![one, other].iter().all(|mishap| suits(story, *mishap)) {
            continue;
        }
        cases.push(Case { story, mishaps: Mishaps::at([(first, one), (second, other)]) });
    }
    cases
}

/// Looks for a run of these stories that breaks a rule because of a bug: undisturbed, then with each crash at each request.
pub fn caught(bug: Bug, stories: &[Story]) -> anyhow::Result<Option<Broken>> {
    for story in stories {
        let calm = [Calm { story, played: play_buggy(story, &Mishaps::none(), bug)? }];
        let undisturbed = Case { story, mishaps: Mishaps::none() };
        for Case { story, mishaps } in [undisturbed].into_iter().chain(single(&calm, &Mishap::CRASHES)) {
            let played = play_buggy(story, &mishaps, bug)?;
            if !played.violations.is_empty() {
                return Ok(Some(Broken { story: story.name, mishaps, played }));
            }
        }
    }
    Ok(None)
}

/// Makes the runs, and gives those that broke a rule.
pub fn broken(cases: &[Case<'_>]) -> anyhow::Result<Vec<Broken>> {
    let run = |case: &Case<'_>| -> anyhow::Result<Option<Broken>> {
        let played = play(case.story, &case.mishaps)?;
        let story = case.story.name;
        Ok((!played.violations.is_empty()).then(|| Broken { story, mishaps: case.mishaps.clone(), played }))
    };
    crew::each(cases, run).into_iter().filter_map(Result::transpose).collect()
}
