//! Giving parameters their values.

use std::path::Path;

use minijinja::value::{Value, ValueKind};

use crate::inventory::Inventory;
use crate::kind::{Field, Kind};
use crate::playbook::{Argument, ArgumentValue};
use crate::template::{self, Scope, Templates};

/// A parameter that could not be given a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong.
    pub message: String,
    /// With which parameter.
    pub parameter: String,
}

/// What binding needs to know.
#[derive(Clone, Copy)]
pub struct Binder<'a> {
    /// Renders.
    pub templates: &'a Templates,
    /// Knows nodes and clusters by name.
    pub inventory: &'a Inventory,
    /// The project's folder.
    pub root: &'a Path,
}

impl Binder<'_> {
    /// Adds every parameter to a copy of `scope`: as given, else by its default, else under its own name from the scope.
    pub fn bind(
        &self,
        parameters: &[Field],
        arguments: &[Argument],
        scope: &Scope,
    ) -> Result<Scope, Error> {
        let mut bound = scope.clone();
        for parameter in parameters {
            let given = arguments
                .iter()
                .find(|argument| argument.name == parameter.name);
            let value = match given.map(|argument| &argument.value) {
                Some(ArgumentValue::Text(text)) => {
                    self.templates.value(text, scope).map_err(|error| Error {
                        message: format!("`{}`: {error}", parameter.name),
                        parameter: parameter.name.clone(),
                    })?
                }
                Some(ArgumentValue::Plain(json)) => template::value(json),
                Some(ArgumentValue::Default(json)) => match scope.get(&parameter.name) {
                    Some(value) => value.clone(),
                    None => template::value(json),
                },
                None => match (
                    scope.get(&parameter.name),
                    &parameter.default,
                    parameter.optional,
                ) {
                    (Some(value), _, _) => value.clone(),
                    (None, Some(default), _) => template::value(default),
                    (None, None, true) => Value::from(()),
                    (None, None, false) => {
                        return Err(Error {
                            message: format!(
                                "the parameter `{}` ({}) is not given",
                                parameter.name,
                                parameter.kind.noun()
                            ),
                            parameter: parameter.name.clone(),
                        });
                    }
                },
            };
            bound.set(parameter.name.clone(), self.typed(parameter, value)?);
        }
        Ok(bound)
    }

    /// As [`Binder::bind`], without the parameters that are known only when the step starts.
    pub fn bind_known(
        &self,
        parameters: &[Field],
        arguments: &[Argument],
        scope: &Scope,
    ) -> Result<Scope, Error> {
        let is_late = |parameter: &Field| {
            let given = arguments.iter().find(|given| given.name == parameter.name);
            given.is_some_and(|given| self.is_late(given))
        };
        let known = parameters.iter().filter(|parameter| !is_late(parameter));
        let known: Vec<Field> = known.cloned().collect();
        self.bind(&known, arguments, scope)
    }

    /// The arguments that are known before anything runs.
    pub fn known(&self, arguments: &[Argument]) -> Vec<Argument> {
        let known = arguments.iter().filter(|given| !self.is_late(given));
        known.cloned().collect()
    }

    /// Whether an argument reads what only a run knows: itself, or what an earlier step gives.
    fn is_late(&self, argument: &Argument) -> bool {
        let ArgumentValue::Text(text) = &argument.value else {
            return false;
        };
        let names = self.templates.names(text);
        let mut roots = names.iter().filter_map(|name| name.split('.').next());
        roots.any(|root| template::names::RUN.contains(&root))
    }

    fn typed(&self, parameter: &Field, value: Value) -> Result<Value, Error> {
        let wrong = |found: &str| Error {
            message: format!(
                "`{}` is {}, but {found} is not",
                parameter.name,
                parameter.kind.noun()
            ),
            parameter: parameter.name.clone(),
        };
        if value.is_none() && parameter.optional {
            return Ok(value);
        }
        match &parameter.kind {
            Kind::Node | Kind::Cluster if value.kind() == ValueKind::Map => Ok(value),
            Kind::Node => match value.as_str().and_then(|name| self.inventory.node(name)) {
                Some(node) => Ok(node.value()),
                None => Err(wrong(value.as_str().unwrap_or("this"))),
            },
            Kind::Cluster => match value.as_str().and_then(|name| self.inventory.cluster(name)) {
                Some(cluster) => Ok(cluster.value()),
                None => Err(wrong(value.as_str().unwrap_or("this"))),
            },
            kind => {
                let json = template::to_json(&value);
                if kind.accepts(&json, self.root) {
                    return Ok(value);
                }
                // What was typed on a command line is text; numbers and truths are read from it.
                let read = json
                    .as_str()
                    .and_then(|text| serde_json::from_str(text).ok())
                    .filter(|read| kind.accepts(read, self.root));
                match read {
                    Some(read) => Ok(template::value(&read)),
                    None => Err(wrong(json.as_str().unwrap_or("this"))),
                }
            }
        }
    }
}
