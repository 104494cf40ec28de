//! A container as a script on tokio's clock.

use std::collections::VecDeque;

use tokio::{sync::watch, time::Instant};

use super::{
    Shared,
    container::{Exit, Order},
    logs::ContainerLog,
    process::{next, until},
    programs::{OnTerm, Script, Step},
};

/// The exit code of a death by KILL, and by TERM.
const KILLED: i32 = 137;
const TERMINATED: i32 = 143;

/// Plays a script to its end.
pub(crate) async fn run(
    shared: &Shared,
    script: Script,
    log: &ContainerLog,
    orders: &mut watch::Receiver<Order>,
) -> Exit {
    let (steps, on_term) = script.into_parts();
    let mut steps = VecDeque::from(steps);
    let mut on_term = Some(on_term);
    let mut killed_at: Option<Instant> = None;
    // The end of the pause that the script makes; `None` within a pause is for ever.
    let mut pause: Option<Option<Instant>> = None;
    orders.mark_changed();
    loop {
        if let Some(end) = pause {
            tokio::select! {
                biased;
                order = next(orders) => match order {
                    Order::Run => {}
                    Order::Kill => return Exit::code(KILLED),
                    Order::Stop(at) => {
                        killed_at = Some(at);
                        match on_term.take() {
                            Some(OnTerm::Die) => return Exit::code(TERMINATED),
                            Some(OnTerm::Run(handler)) => {
                                steps = handler.into();
                                pause = None;
                            }
                            Some(OnTerm::Ignore) | None => {}
                        }
                    }
                },
                () = until(killed_at) => return Exit::code(KILLED),
                () = until(end) => pause = None,
            }
            continue;
        }
        match steps.pop_front() {
            Some(Step::Print(bytes)) => {
                log.append(&bytes, shared.now());
                shared.news.send_replace(());
            }
            Some(Step::After(duration)) => pause = Some(Some(Instant::now() + duration)),
            Some(Step::Forever) => pause = Some(None),
            Some(Step::Exit(code)) => return Exit::code(code),
            Some(Step::Die { code, reason }) => return Exit { code, reason, message: None, started: true },
            None => return Exit::code(0),
        }
    }
}
