//! Rows that a filter judges by their JSON form, and what may be asked of each: lists that are short and seldom filtered.
//!
//! A shape names the fields of one kind of row; a [`Document`] is a row of that shape. What the JSON leaves out has the
//! zero value of its kind. Rows that are filtered all the time lend their fields instead (`rows`).

use std::marker::PhantomData;

use serde::Serialize;
use serde_json::Value as Json;

use super::json::member;
use super::schema::{Field, Fields, Kind, Leaf, Schema, Value};

/// The fields of one kind of row.
pub trait Shape {
    /// Returns them, always the same.
    fn schema() -> &'static Schema;
}

/// A row in its JSON form.
#[derive(Debug)]
pub struct Document<S> {
    json: Json,
    shape: PhantomData<fn(S)>,
}

impl<S> Document<S> {
    /// Takes the JSON form of a row; one that has none has no fields.
    pub fn of(row: &impl Serialize) -> Document<S> {
        Document { json: serde_json::to_value(row).unwrap_or(Json::Null), shape: PhantomData }
    }
}

impl<S: Shape> Fields for Document<S> {
    fn schema() -> &'static Schema {
        S::schema()
    }

    fn get(&self, field: usize) -> Value<'_> {
        S::schema().fields.get(field).map_or(Value::Missing, |field| Value::Json(member(&self.json, field.name)))
    }
}

const TEXT: Kind = Kind::Leaf(Leaf::Text);
const NUMBER: Kind = Kind::Leaf(Leaf::Number);
const BOOL: Kind = Kind::Leaf(Leaf::Bool);
const LIST: Kind = Kind::Leaf(Leaf::List);

macro_rules! shapes {
    ($($about:literal $name:ident { $($field:literal $kind:expr,)* })*) => {$(
        #[doc = $about]
        #[derive(Debug)]
        pub enum $name {}

        impl Shape for $name {
            fn schema() -> &'static Schema {
                static SCHEMA: Schema = Schema { fields: &[$(Field { name: $field, kind: $kind }),*] };
                &SCHEMA
            }
        }
    )*};
}

shapes! {
    "Members of the cluster." Members {
        "Name" TEXT,
        "Addr" TEXT,
        "Port" NUMBER,
        "Tags" Kind::Map,
        "Status" NUMBER,
    }
    "Policies of access control." Policies {
        "ID" TEXT,
        "Name" TEXT,
        "Description" TEXT,
        "Datacenters" LIST,
        "Hash" TEXT,
    }
    "Roles of access control." Roles {
        "ID" TEXT,
        "Name" TEXT,
        "Description" TEXT,
        "Policies" Kind::Objects(Links::schema),
        "ServiceIdentities" Kind::Objects(ServiceIdentities::schema),
        "NodeIdentities" Kind::Objects(NodeIdentities::schema),
        "TemplatedPolicies" Kind::Objects(TemplatedPolicies::schema),
        "Hash" TEXT,
    }
    "Tokens of access control; secrets cannot be asked about." Tokens {
        "AccessorID" TEXT,
        "Description" TEXT,
        "Policies" Kind::Objects(Links::schema),
        "Roles" Kind::Objects(Links::schema),
        "ServiceIdentities" Kind::Objects(ServiceIdentities::schema),
        "NodeIdentities" Kind::Objects(NodeIdentities::schema),
        "TemplatedPolicies" Kind::Objects(TemplatedPolicies::schema),
        "Local" BOOL,
        "AuthMethod" TEXT,
        "Hash" TEXT,
    }
    "Auth methods." AuthMethods {
        "Name" TEXT,
        "Type" TEXT,
        "DisplayName" TEXT,
        "Description" TEXT,
        "TokenLocality" TEXT,
    }
    "Binding rules." BindingRules {
        "ID" TEXT,
        "Description" TEXT,
        "AuthMethod" TEXT,
        "Selector" TEXT,
        "BindType" TEXT,
        "BindName" TEXT,
    }
    "Config entries of any kind; what a kind does not have is empty." ConfigEntries {
        "Kind" TEXT,
        "Name" TEXT,
        "Meta" Kind::Map,
        "Protocol" TEXT,
        "Mode" TEXT,
        "ExternalSNI" TEXT,
        "MutualTLSMode" TEXT,
        "MeshGateway" Kind::Object(MeshGateways::schema),
        "DefaultSubset" TEXT,
        "ConnectTimeout" TEXT,
        "Services" Kind::Objects(Named::schema),
        "Sources" Kind::Objects(Sources::schema),
    }
    "Links to policies and roles." Links {
        "ID" TEXT,
        "Name" TEXT,
    }
    "Rights of services." ServiceIdentities {
        "ServiceName" TEXT,
        "Datacenters" LIST,
    }
    "Rights of nodes." NodeIdentities {
        "NodeName" TEXT,
        "Datacenter" TEXT,
    }
    "Rights that templates stand for." TemplatedPolicies {
        "TemplateName" TEXT,
        "Datacenters" LIST,
    }
    "The way of traffic to other datacenters." MeshGateways {
        "Mode" TEXT,
    }
    "What has a name." Named {
        "Name" TEXT,
    }
    "Callers of a service." Sources {
        "Name" TEXT,
        "Action" TEXT,
        "Type" TEXT,
        "Description" TEXT,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Filter;
    use super::*;

    #[track_caller]
    fn check<S: Shape>(row: &Json, table: &[(&str, bool)]) {
        for (text, expect) in table {
            let filter = Filter::<Document<S>>::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(filter.matches(&Document::of(row)), *expect, "{text}");
        }
    }

    #[test]
    fn rows_are_judged_by_their_json() {
        let role = json!({"ID": "r", "Name": "web", "Policies": [{"ID": "p", "Name": "read"}, {"ID": "q", "Name": "ops"}],
            "ServiceIdentities": [{"ServiceName": "web", "Datacenters": ["dc1"]}]});
        check::<Roles>(
            &role,
            &[
                ("Name == web", true),
                ("Policies.Name == ops", true),
                ("Policies.Name != ops", false),
                ("dc1 in ServiceIdentities.Datacenters", true),
                ("NodeIdentities is empty", true),
                ("Description is empty and Name matches `^w`", true),
            ],
        );
        let entry = json!({"Kind": "service-defaults", "Name": "web", "Protocol": "http", "Meta": {"team": "a"}});
        check::<ConfigEntries>(
            &entry,
            &[
                ("Name == \"other\"", false),
                ("Kind == \"service-defaults\" and Protocol != tcp", true),
                ("Meta.team == a", true),
                ("Meta.floor == a", false),
                ("Meta.floor != a", true),
                ("Meta.floor is empty", true),
                ("team in Meta", true),
                ("floor in Meta", false),
                ("MeshGateway.Mode == local", false),
            ],
        );
        check::<Tokens>(
            &json!({"AccessorID": "a", "Local": true}),
            &[("Local == true", true), ("Local != true", false)],
        );
        check::<Members>(
            &json!({"Name": "n1", "Status": 1, "Tags": {"dc": "dc1"}}),
            &[("Status == 1", true), ("Tags.dc == dc1", true)],
        );
        assert!(Filter::<Document<Tokens>>::parse("SecretID == x").is_err(), "nobody finds secrets by trying");
    }

    #[test]
    fn no_row_is_kept_where_there_can_be_none() {
        let row = Document::<Policies>::of(&json!({"ID": "p"}));
        assert!(Filter::all().matches(&row) && !Filter::none().matches(&row));
    }
}
