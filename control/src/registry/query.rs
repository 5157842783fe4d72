//! Prepared queries: how they are written, and which one a name means.
//!
//! A query is kept as the JSON that it was accepted as, and read from it once. Names differ in more than letter case;
//! those of templates are prefixes, and the longest one that fits answers, unless a query has the very name. A query
//! bound to a session ends with it. What a query finds is not decided here.

use std::fmt;
use std::sync::Arc;

use callboard_proto::Index;
use callboard_proto::prepared::{InvalidQuery, Pattern, QueryDefinition, uuid_form};
use callboard_proto::text::Text;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::command::{Outcome, Refusal};
use super::{Change, Registry, Topic};

/// The JSON of a query. It may hold a token, so it is not printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryBody(pub Text);

impl fmt::Debug for QueryBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A write of queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum QueryCommand {
    /// Makes one. Its id is new.
    Create(QueryBody),
    /// Replaces one.
    Update(QueryBody),
    /// Removes one.
    Delete(Text),
}

/// A stored query.
#[derive(Debug, Clone)]
pub struct QueryRow {
    /// The query, read.
    pub definition: Arc<QueryDefinition>,
    /// What it is made with, if it is a template.
    pattern: Pattern,
    /// The query as JSON.
    pub(super) body: QueryBody,
    /// When it was made.
    pub created: Index,
    /// When it last changed.
    pub modified: Index,
}

/// All queries.
#[derive(Debug, Clone, Default)]
pub(super) struct QueryTable {
    /// By id.
    pub(super) rows: OrdMap<Text, QueryRow>,
    /// Ids by folded name.
    names: OrdMap<Text, Text>,
    /// Ids of templates by folded prefix.
    templates: OrdMap<Text, Text>,
    /// Ids by session.
    bound: OrdMap<(Text, Text), ()>,
    /// When any query last changed or went.
    pub(super) changed: Index,
}

/// What a name means.
#[derive(Debug)]
pub struct Resolved<'a> {
    /// The row that it was found by.
    pub row: &'a QueryRow,
    /// The query to run.
    pub query: Arc<QueryDefinition>,
}

impl QueryRow {
    /// Reads a row from what is stored of it.
    pub(super) fn read(body: QueryBody, created: Index, modified: Index) -> Result<QueryRow, String> {
        let definition: QueryDefinition =
            serde_json::from_str(&body.0).map_err(|error| format!("a prepared query: {error}"))?;
        let pattern = definition.pattern().map_err(|error| error.0)?;
        Ok(QueryRow { definition: Arc::new(definition), pattern, body, created, modified })
    }
}

fn folded(name: &str) -> Text {
    name.to_ascii_lowercase().into()
}

impl QueryTable {
    pub(super) fn insert(&mut self, row: QueryRow) {
        let (id, definition) = (Text::from(row.definition.id.as_str()), row.definition.clone());
        self.remove(&id);
        let name = folded(&definition.name);
        if definition.is_template() {
            self.templates.insert(name, id.clone());
        } else if !name.is_empty() {
            self.names.insert(name, id.clone());
        }
        if !definition.session.is_empty() {
            self.bound.insert((definition.session.as_str().into(), id.clone()), ());
        }
        self.rows.insert(id, row);
    }

    fn remove(&mut self, id: &Text) -> Option<QueryRow> {
        let row = self.rows.remove(id)?;
        let names = if row.definition.is_template() { &mut self.templates } else { &mut self.names };
        names.remove(&folded(&row.definition.name));
        self.bound.remove(&(row.definition.session.as_str().into(), id.clone()));
        Some(row)
    }

    /// Whether another query has a name, as a query or as a template.
    fn has_name(&self, definition: &QueryDefinition) -> bool {
        let names = if definition.is_template() { &self.templates } else { &self.names };
        names.get(&folded(&definition.name)).is_some_and(|id| **id != *definition.id)
    }
}

// How they are written.
impl Registry {
    pub(super) fn apply_query(&mut self, command: QueryCommand, change: &mut Change<'_>) -> Outcome {
        let (body, is_new) = match command {
            QueryCommand::Create(body) => (body, true),
            QueryCommand::Update(body) => (body, false),
            QueryCommand::Delete(id) => return self.delete_query(&id, change),
        };
        let row = match QueryRow::read(body, change.at, change.at) {
            Ok(row) => row,
            Err(reason) => return Outcome::Refused(Refusal::Query(reason)),
        };
        let definition = row.definition.clone();
        let known = self.queries.rows.get(&*definition.id);
        let refuse = |refusal| Outcome::Refused(refusal);
        if known.is_none() != is_new {
            return refuse(match is_new {
                true => Refusal::Query(format!("query ID {:?} exists already", definition.id)),
                false => Refusal::UnknownQuery,
            });
        }
        if known.is_some_and(|known| known.body == row.body) {
            return Outcome::Done;
        }
        let name = &definition.name;
        if !definition.session.is_empty() && !self.sessions.contains_key(&*definition.session) {
            return refuse(Refusal::InvalidSession(definition.session.as_str().into()));
        }
        if self.queries.has_name(&definition) {
            return refuse(Refusal::Query(format!("query name {name:?} aliases an existing query name")));
        }
        if uuid_form(name).is_some_and(|id| self.queries.rows.contains_key(&*id)) {
            return refuse(Refusal::Query(format!("query name {name:?} aliases an existing query ID")));
        }
        let created = known.map_or(change.at, |known| known.created);
        self.queries.insert(QueryRow { created, ..row });
        self.queries.changed = change.touch(Topic::Queries);
        Outcome::Done
    }

    fn delete_query(&mut self, id: &Text, change: &mut Change<'_>) -> Outcome {
        if self.queries.remove(id).is_none() {
            return Outcome::Refused(Refusal::UnknownQuery);
        }
        self.queries.changed = change.touch(Topic::Queries);
        Outcome::Done
    }

    /// Removes the queries that end with a session.
    pub(super) fn end_queries_of(&mut self, session: &Text, change: &mut Change<'_>) {
        let bound = self.queries.bound.range((session.clone(), Text::default())..);
        let bound = bound.take_while(|((other, _), ())| other == session).map(|((_, id), ())| id.clone());
        for id in bound.collect::<Vec<_>>() {
            self.delete_query(&id, change);
        }
    }
}

// How they are read.
impl Registry {
    /// One query.
    #[must_use]
    pub fn query(&self, id: &str) -> Option<&QueryRow> {
        self.queries.rows.get(id)
    }

    /// All queries, by id.
    pub fn queries(&self) -> impl Iterator<Item = &QueryRow> {
        self.queries.rows.values()
    }

    /// When any query last changed or went.
    #[must_use]
    pub fn queries_index(&self) -> Index {
        self.queries.changed
    }

    /// What an id or a name means, if anything.
    ///
    /// # Errors
    /// When a template is asked for by its id, or cannot be made for this name.
    pub fn resolve_query(&self, id_or_name: &str) -> Result<Option<Resolved<'_>>, InvalidQuery> {
        if let Some(row) = uuid_form(id_or_name).and_then(|id| self.queries.rows.get(&*id)) {
            if row.definition.is_template() {
                let text = "prepared query templates can only be resolved up by name, not by ID";
                return Err(InvalidQuery(text.to_owned()));
            }
            return Ok(Some(Resolved { row, query: row.definition.clone() }));
        }
        let name = folded(id_or_name);
        let of = |id: &Text| self.queries.rows.get(id);
        if let Some(row) = self.queries.names.get(&name).and_then(of) {
            return Ok(Some(Resolved { row, query: row.definition.clone() }));
        }
        let cuts = (0..=name.len()).rev().filter(|place| name.is_char_boundary(*place));
        let Some(row) = cuts.filter_map(|place| self.queries.templates.get(&name[..place])).find_map(of) else {
            return Ok(None);
        };
        let query = row.pattern.render(&row.definition, id_or_name)?;
        Ok(Some(Resolved { row, query: Arc::new(query) }))
    }

    /// Every query stands where it belongs, and its session lives.
    pub(super) fn audit_queries(&self) -> Result<(), String> {
        let fact = |holds: bool, text: &dyn Fn() -> String| if holds { Ok(()) } else { Err(text()) };
        let table = &self.queries;
        fact(table.changed <= self.index, &|| "queries are past the index".to_owned())?;
        let (mut named, mut bound) = (0, 0);
        for (id, row) in &table.rows {
            let definition = &row.definition;
            fact(**id == *definition.id, &|| format!("query {} stands under {id}", definition.id))?;
            fact(row.modified <= table.changed, &|| format!("query {id} is newer than its table"))?;
            let names = if definition.is_template() { &table.templates } else { &table.names };
            if definition.is_template() || !definition.name.is_empty() {
                named += 1;
                let found = names.get(&folded(&definition.name));
                fact(found == Some(id), &|| format!("query {id} is missing under its name"))?;
            }
            if !definition.session.is_empty() {
                bound += 1;
                let lives = self.sessions.contains_key(&*definition.session);
                fact(lives, &|| format!("query {id} is bound to no session"))?;
            }
        }
        fact(named == table.names.len() + table.templates.len(), &|| "a name of no query".to_owned())?;
        fact(bound == table.bound.len(), &|| "a session is bound to no query".to_owned())
    }
}
