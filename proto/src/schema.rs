//! JSON Schemas of the words whose form on the wire is written by hand. Everything else derives its own.
//!
//! Who asks: the control node, for the description of its interface. Behind the feature `schema`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::api::config::ConfigShown;
use crate::api::decode::Ignored;
use crate::api::kv::Base64;
use crate::api::session::LockDelay;
use crate::config_entry::{ConfigEntry, EntryKind};
use crate::coordinate::{Coordinate, Written};
use crate::duration::GoDuration;
use crate::text::{Map, Tags, Text};

/// Writes the schema of a type that is always written inline.
macro_rules! inline {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

inline!(GoDuration, "Duration", {
    "type": "string",
    "description": "A duration as Go writes it, such as 10s or 1m30s; in requests also a number of nanoseconds"
});
inline!(LockDelay, "LockDelay", {
    "type": ["string", "integer"],
    "description": "A duration; a number counts seconds below 1000, and nanoseconds from there on"
});
inline!(Base64, "Base64", { "type": ["string", "null"], "contentEncoding": "base64" });
inline!(Ignored, "Ignored", { "description": "Passed over" });

impl JsonSchema for Coordinate {
    fn schema_name() -> Cow<'static, str> {
        Written::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

impl<V: JsonSchema> JsonSchema for Map<V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("MapOf{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": generator.subschema_for::<V>()})
    }
}

impl JsonSchema for Tags {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Tags".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <Vec<Text>>::json_schema(generator)
    }
}

/// What every config entry has; the rest depends on the kind.
fn entry(required: &[&str]) -> Schema {
    let kinds: Vec<&str> = EntryKind::ALL.iter().map(|kind| kind.as_str()).collect();
    json_schema!({
        "type": "object",
        "properties": {
            "Kind": {"type": "string", "enum": kinds},
            "Name": {"type": "string"},
            "CreateIndex": {"type": "integer", "minimum": 0},
            "ModifyIndex": {"type": "integer", "minimum": 0},
        },
        "required": required,
    })
}

impl JsonSchema for ConfigEntry {
    fn schema_name() -> Cow<'static, str> {
        "ConfigEntry".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        entry(&["Kind", "Name"])
    }
}

impl JsonSchema for ConfigShown {
    fn schema_name() -> Cow<'static, str> {
        "ConfigShown".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        entry(&["Kind", "Name", "CreateIndex", "ModifyIndex"])
    }
}
