//! What containers do in a simulation: the few words of a shell that scenarios need, on tokio's clock.

use std::sync::{Arc, Mutex, PoisonError};

use runjob_sandbox::kube::{Container, OnTerm, Programs, Script, Step};

/// Containers that have begun, in order.
#[derive(Debug, Clone, Default)]
pub struct Begun(Arc<Mutex<Vec<Container>>>);

impl Begun {
    /// How many containers of that Job have begun before.
    fn of_job(&self, job: &str) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|one| one.job == job).count()
    }

    fn note(&self, container: &Container) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(container.clone());
    }
}

/// The programs of a simulation. An image of a host `….invalid` cannot be pulled.
///
/// A script is made of `echo TEXT`, `sleep SECONDS`, `exit CODE`, `trap` (TERM is ignored for what follows: the container prints `got-term` and
/// ends a second later) and `lucky N` (exits with 1 unless the Job has begun at least `N` containers), parted by `; `.
pub fn programs() -> Programs {
    let begun = Begun::default();
    Programs::scripted(move |container| {
        if container.image.contains(".invalid") {
            return None;
        }
        begun.note(container);
        Some(script(container.command.last().map_or("", String::as_str), begun.of_job(&container.job)))
    })
}

fn script(text: &str, number: usize) -> Script {
    let mut steps = Vec::new();
    let mut on_term = OnTerm::Die;
    for word in text.split("; ") {
        let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
        match verb {
            "echo" => steps.push(Step::print(format!("{rest}\n"))),
            "sleep" => steps.push(Step::seconds(rest.parse().unwrap_or_default())),
            "exit" => steps.push(Step::Exit(rest.parse().unwrap_or_default())),
            "trap" => on_term = OnTerm::Run(vec![Step::print("got-term\n"), Step::seconds(1), Step::Exit(3)]),
            "lucky" if rest.parse().is_ok_and(|least: usize| number < least) => steps.push(Step::Exit(1)),
            _ => {}
        }
    }
    Script::new(steps).on_term(on_term)
}
