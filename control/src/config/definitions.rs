//! Instances and checks that configuration files define.
//!
//! They follow the rules of the bodies that register the same over HTTP, and are judged when the file is read, so
//! that an error names it. `crate::definitions` writes them into the registry.

use callboard_proto::InstanceId;
use callboard_proto::NodeName;
use callboard_proto::api::agent::ServiceRequest;
use callboard_proto::api::check::{CheckRequest, NewCheck};
use callboard_proto::api::decode::{Unknown, from_value};
use serde_json::Value;

use crate::definitions::Defined;

/// The most definitions of one node: instances and checks counted together.
const DEFINITIONS_MAX: usize = 10_000;

/// What files define, in the order in which they were read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Definitions {
    services: Vec<ServiceRequest>,
    checks: Vec<CheckRequest>,
}

impl Definitions {
    /// Takes the definitions out of the tree of one file.
    pub(super) fn take(&mut self, tree: &mut Value) -> Result<(), String> {
        let node = NodeName::parse("node").unwrap_or_default();
        for key in ["service", "services"] {
            for (place, value) in taken(tree, key).into_iter().enumerate() {
                let wrong = |reason: String| format!("{key}.{place}: {reason}");
                let request: ServiceRequest =
                    from_value(one_list_of_checks(value), Unknown::Refuse).map_err(|error| wrong(error.detail()))?;
                request.clone().validate(&node).map_err(|error| wrong(error.0))?;
                self.services.push(request);
            }
        }
        for key in ["check", "checks"] {
            for (place, value) in taken(tree, key).into_iter().enumerate() {
                let wrong = |reason: String| format!("{key}.{place}: {reason}");
                let request: CheckRequest =
                    from_value(value, Unknown::Refuse).map_err(|error| wrong(error.detail()))?;
                alone(request.clone(), &node).map_err(wrong)?;
                self.checks.push(request);
            }
        }
        match self.services.len() + self.checks.len() {
            count if count > DEFINITIONS_MAX => {
                Err(format!("services: {count} definitions; at most {DEFINITIONS_MAX} are kept"))
            }
            _ => Ok(()),
        }
    }

    /// The rows that they mean on a node.
    ///
    /// # Errors
    /// Never for definitions that were read from a file: those were judged then.
    pub fn rows(&self, node: &NodeName) -> Result<Vec<Defined>, String> {
        let services = self.services.iter().map(|request| {
            let (instance, checks) = request.clone().validate(node).map_err(|error| error.0)?;
            Ok(Defined { instance: Some(instance), checks })
        });
        let checks = self.checks.iter().map(|request| {
            let check = alone(request.clone(), node)?;
            Ok(Defined { instance: None, checks: vec![check] })
        });
        services.chain(checks).collect()
    }

    /// What contradicts: an id that stands for two, or a program where none may be run.
    pub(super) fn contradiction(&self, scripts: bool) -> Option<String> {
        let mut seen = std::collections::BTreeSet::new();
        let ids = self.services.iter().map(|service| if service.id.is_empty() { &service.name } else { &service.id });
        for id in ids {
            if !seen.insert(id) {
                return Some(format!("two definitions have the id {id:?}"));
            }
        }
        let of_services = self.services.iter().flat_map(|service| service.check.iter().chain(&service.checks));
        let script = of_services.chain(&self.checks).find(|check| !check.args.is_empty());
        script.filter(|_| !scripts).map(|check| {
            let program = &check.args[0];
            format!("a check runs {program:?}; set enable_local_script_checks to true to allow that")
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services.len() + self.checks.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A check that is not inside a service.
fn alone(request: CheckRequest, node: &NodeName) -> Result<NewCheck, String> {
    let instance = match request.service_id.as_str() {
        "" => InstanceId::none(),
        text => InstanceId::parse(text).map_err(|error| format!("service_id: {error}"))?,
    };
    request.validate(node, instance, None, None).map_err(|error| error.0)
}

fn taken(tree: &mut Value, key: &str) -> Vec<Value> {
    match tree.as_object_mut().and_then(|tree| tree.remove(key)) {
        Some(Value::Array(items)) => items,
        Some(item) => vec![item],
        None => Vec::new(),
    }
}

/// HCL writes several checks as several blocks named `check`.
fn one_list_of_checks(mut service: Value) -> Value {
    if let Some(map) = service.as_object_mut()
        && let Some(Value::Array(_)) = map.get("check")
        && let Some(Value::Array(mut blocks)) = map.remove("check")
    {
        if let Some(Value::Array(more)) = map.remove("checks") {
            blocks.extend(more);
        }
        map.insert("checks".to_owned(), Value::Array(blocks));
    }
    service
}
