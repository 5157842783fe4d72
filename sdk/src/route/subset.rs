//! A named part of a service: which of its endpoints a filter of the registry's language keeps.
//!
//! The filter is written for rows of `/v1/health/service/…`; an endpoint shows what it has kept of its row: of `Service` the
//! fields `ID`, `Service`, `Address`, `Port`, `Tags`, `Meta` and `Weights.Passing`, of `Node` its name. A filter that names
//! anything else is refused when the rules are compiled, rather than read as empty.

use std::sync::Arc;

use callboard_proto::config_entry::Subset as Entry;
use callboard_proto::filter::{Field, Fields, Filter, Keyed, Kind, Leaf, Many, Schema, Value};

use super::compile::RuleError;
use crate::endpoint::{Endpoint, Health};

/// Selects endpoints of a service.
#[derive(Debug, Clone)]
pub struct Subset(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    // Tells this definition from earlier ones of the same name.
    definition: String,
    service: String,
    only_passing: bool,
    filter: Filter<Row<'static>>,
}

impl Subset {
    /// Compiles a subset's definition.
    ///
    /// # Errors
    /// [`RuleError::Filter`] when the filter is none, or names what endpoints do not keep.
    pub fn new(service: &str, name: &str, entry: &Entry) -> Result<Self, RuleError> {
        let filter = Filter::parse(&entry.filter).map_err(|error| RuleError::Filter {
            service: service.to_owned(),
            subset: name.to_owned(),
            reason: error.to_string(),
        })?;
        let definition = format!("{name}: {} ({})", entry.filter, entry.only_passing);
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            definition,
            service: service.to_owned(),
            only_passing: entry.only_passing,
            filter,
        })))
    }

    /// Names it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns what tells it from every other definition within the service.
    #[must_use]
    pub fn definition(&self) -> &str {
        &self.0.definition
    }

    /// Says whether an endpoint is in it.
    #[must_use]
    pub fn holds(&self, endpoint: &Endpoint) -> bool {
        let Inner { service, only_passing, filter, .. } = &*self.0;
        (!only_passing || endpoint.health() == Health::Passing) && filter.matches_like(&Row::of(endpoint, service))
    }
}

const TEXT: Kind = Kind::Leaf(Leaf::Text);
const NUMBER: Kind = Kind::Leaf(Leaf::Number);
const LIST: Kind = Kind::Leaf(Leaf::List);

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

static ROW: Schema =
    Schema { fields: &[field("Service", Kind::Object(|| &SERVICE)), field("Node", Kind::Object(|| &NODE))] };
static SERVICE: Schema = Schema {
    fields: &[
        field("ID", TEXT),
        field("Service", TEXT),
        field("Address", TEXT),
        field("Port", NUMBER),
        field("Tags", LIST),
        field("Meta", Kind::Map),
        field("Weights", Kind::Object(|| &WEIGHTS)),
    ],
};
static WEIGHTS: Schema = Schema { fields: &[field("Passing", NUMBER)] };
static NODE: Schema = Schema { fields: &[field("Node", TEXT)] };

/// Shows an endpoint as a row.
struct Row<'a> {
    service: ServiceRow<'a>,
    node: NodeRow<'a>,
}

struct ServiceRow<'a> {
    endpoint: &'a Endpoint,
    name: &'a str,
    tags: Tags<'a>,
    meta: Meta<'a>,
    weights: WeightsRow,
}

struct NodeRow<'a>(&'a str);
struct WeightsRow(i64);
struct Tags<'a>(&'a [String]);
struct Meta<'a>(&'a Endpoint);

impl<'a> Row<'a> {
    fn of(endpoint: &'a Endpoint, name: &'a str) -> Self {
        let service = ServiceRow {
            endpoint,
            name,
            tags: Tags(endpoint.tags()),
            meta: Meta(endpoint),
            weights: WeightsRow(endpoint.weight().into()),
        };
        Self { service, node: NodeRow(endpoint.node()) }
    }
}

impl Fields for Row<'_> {
    fn schema() -> &'static Schema {
        &ROW
    }

    fn get(&self, field: usize) -> Value<'_> {
        match field {
            0 => Value::Object(&self.service),
            1 => Value::Object(&self.node),
            _ => Value::Missing,
        }
    }
}

impl Fields for ServiceRow<'_> {
    fn schema() -> &'static Schema {
        &SERVICE
    }

    fn get(&self, field: usize) -> Value<'_> {
        match field {
            0 => Value::Text(self.endpoint.id()),
            1 => Value::Text(self.name),
            2 => Value::Text(self.endpoint.host()),
            3 => Value::Number(self.endpoint.port().into()),
            4 => Value::Many(&self.tags),
            5 => Value::Keyed(&self.meta),
            6 => Value::Object(&self.weights),
            _ => Value::Missing,
        }
    }
}

impl Fields for NodeRow<'_> {
    fn schema() -> &'static Schema {
        &NODE
    }

    fn get(&self, field: usize) -> Value<'_> {
        if field == 0 { Value::Text(self.0) } else { Value::Missing }
    }
}

impl Fields for WeightsRow {
    fn schema() -> &'static Schema {
        &WEIGHTS
    }

    fn get(&self, field: usize) -> Value<'_> {
        if field == 0 { Value::Number(self.0) } else { Value::Missing }
    }
}

impl Many for Tags<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn any(&self, test: &mut dyn FnMut(Value<'_>) -> bool) -> bool {
        self.0.iter().any(|tag| test(Value::Text(tag)))
    }
}

impl Keyed for Meta<'_> {
    fn is_empty(&self) -> bool {
        self.0.meta().is_empty()
    }

    fn at(&self, key: &str) -> Value<'_> {
        self.0.meta().get(key).map_or(Value::Missing, |value| Value::Text(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &str, holds: bool) {
        let endpoint = Endpoint::new("web-1", "10.0.0.7", 8080)
            .on_node("n1")
            .weighted(3, 1)
            .tagged(vec!["canary".into()])
            .with_meta([("version".to_owned(), "v2".to_owned())].into());
        let entry = Entry { filter: filter.into(), only_passing: false };
        assert_eq!(Subset::new("web", "s", &entry).unwrap().holds(&endpoint), holds, "{filter}");
    }

    #[test]
    fn an_endpoint_is_judged_as_its_row() {
        check("", true);
        check("Service.Meta.version == v2", true);
        check("Service.Meta.version == v1", false);
        check("Service.Meta.none is empty", true);
        check("canary in Service.Tags and Service.Port == 8080", true);
        check("\"stable\" in Service.Tags", false);
        check("Service.ID matches \"^web-\" and Service.Service == web and Node.Node == n1", true);
        check("Service.Weights.Passing == 3 and Service.Address == \"10.0.0.7\"", true);
        check("Service.Tags is not empty and not (Service.Meta is empty)", true);
    }

    #[test]
    fn what_endpoints_do_not_keep_is_refused() {
        for filter in ["Checks.Status == passing", "Node.Meta.rack == a", "nonsense(("] {
            let error = Subset::new("web", "s", &Entry { filter: filter.into(), only_passing: false }).unwrap_err();
            assert!(matches!(error, RuleError::Filter { .. }), "{filter}: {error}");
        }
    }

    #[test]
    fn only_passing_leaves_out_who_warns() {
        let subset = Subset::new("web", "s", &Entry { filter: String::new(), only_passing: true }).unwrap();
        let warns = Endpoint::new("web-1", "h", 1).with_health(Health::Warning);
        assert!(!subset.holds(&warns) && subset.holds(&warns.with_health(Health::Passing)));
    }
}
