//! The sandbox's Step Functions, over the wire and in process, under the paused clock.

#[cfg(test)]
mod client;

#[cfg(test)]
mod activities;
#[cfg(test)]
mod article;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod data;
#[cfg(test)]
mod definitions;
#[cfg(test)]
mod executions;
#[cfg(test)]
mod functions;
#[cfg(test)]
mod retries;
