//! State machines that were created.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    core::Core,
    definition::{self, Definition, Kind, Problem, Resource},
    errors::ServiceError,
    limits,
};

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) arn: String,
    pub(super) name: String,
    pub(super) role: String,
    pub(super) created: Timestamp,
    pub(super) definition: Definition,
    text: String,
}

impl Core {
    /// Creates a machine. The same request again gives the same machine.
    pub(super) fn create_machine(
        &self,
        name: &str,
        text: &str,
        role: Option<String>,
    ) -> Result<Arc<Machine>, ServiceError> {
        limits::name(name)?;
        let definition = definition::parse(text).map_err(ServiceError::InvalidDefinition)?;
        self.check_native_states(&definition)?;
        let role = role.unwrap_or_else(|| self.config.default_role());
        let arn = self.config.arn("stateMachine", name);
        let mut state = self.state();
        if let Some(machine) = state.machines.get(&arn) {
            let same = machine.text == text && machine.role == role;
            return if same { Ok(machine.clone()) } else { Err(ServiceError::StateMachineAlreadyExists(arn)) };
        }
        let machine = Arc::new(Machine {
            arn: arn.clone(),
            name: name.to_owned(),
            role,
            created: self.clock.now(),
            definition,
            text: text.to_owned(),
        });
        state.machines.insert(arn, machine.clone());
        Ok(machine)
    }

    fn check_native_states(&self, definition: &Definition) -> Result<(), ServiceError> {
        if self.config.native_activity.is_some() {
            return Ok(());
        }
        let is_native = |kind: &Kind| matches!(kind, Kind::Task(task) if matches!(task.resource, Resource::Native(_)));
        let natives = definition.states.iter().filter(|(_, state)| is_native(&state.kind));
        let problems: Vec<_> = natives
            .map(|(name, _)| Problem {
                state: Some(name.clone()),
                what: "no activity stands in for arn:aws:states:::eks:…; set native_activity in the sandbox's Config"
                    .to_owned(),
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(ServiceError::InvalidDefinition(problems)) }
    }
}
