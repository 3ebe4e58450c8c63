//! The `Table` form: the columns that `kubectl get` prints, computed as the API server does.

mod age;
mod columns;
mod custom;
mod jsonpath;
mod pod;
mod resources;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::catalog::Resource;
use super::request::Query;
use super::status::Status;
use crate::model::{self, Object};

/// One column.
struct Column {
    name: String,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    kind: &'static str,
    /// Columns above 0 are for `-o wide`.
    priority: i64,
    cell: Cell,
}

/// How the value of a column is found. Ages count to the time that is given.
enum Cell {
    Builtin(fn(&Object, DateTime<Utc>) -> model::json::Value),
    Custom(custom::CustomColumn),
}

/// Makes tables of one kind in one version.
pub(crate) struct Printer {
    columns: Vec<Column>,
    now: DateTime<Utc>,
    include: Include,
    meta: &'static str,
}

/// What of an object a row carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Printer {
    /// Finds the columns of a kind: its CRD's, else those that its API server has for it.
    pub(crate) fn new(
        resource: &Resource,
        version: &str,
        query: &Query,
        meta: &'static str,
        now: DateTime<Utc>,
    ) -> Result<Self, Status> {
        let include = match query.get("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::Nothing,
            Some("Object") => Include::Object,
            Some(other) => {
                return Err(Status::bad_request(format!("unrecognized includeObject value: \"{other}\"")));
            }
        };
        let columns = match resource.columns.as_ref().and_then(|columns| columns.get(version)) {
            Some(columns) => custom::columns(columns),
            None => columns::of(&resource.group, &resource.kind)
                .unwrap_or_else(|| custom::known(&resource.group, &resource.kind)),
        };
        Ok(Self { columns, now, include, meta })
    }

    /// The table of some objects; `shape` gives them in the version that was asked for.
    pub(crate) fn table<'a>(
        &self,
        metadata: &Value,
        objects: impl Iterator<Item = &'a Object>,
        shape: impl Fn(&Object) -> Value,
        partial: impl Fn(&Object) -> Value,
    ) -> Value {
        let definitions: Vec<Value> = self
            .columns
            .iter()
            .map(|column| {
                let format = if column.name == "Name" { "name" } else { "" };
                json!({
                    "name": column.name, "type": column.kind, "format": format, "description": "",
                    "priority": column.priority,
                })
            })
            .collect();
        let rows: Vec<Value> = objects
            .map(|object| {
                let cells: Vec<_> = self.columns.iter().map(|column| self.cell(column, object)).collect();
                match self.include {
                    Include::Nothing => json!({"cells": cells}),
                    Include::Metadata => json!({"cells": cells, "object": partial(object)}),
                    Include::Object => json!({"cells": cells, "object": shape(object)}),
                }
            })
            .collect();
        json!({
            "kind": "Table", "apiVersion": format!("meta.k8s.io/{}", self.meta), "metadata": metadata,
            "columnDefinitions": definitions, "rows": rows,
        })
    }

    fn cell(&self, column: &Column, object: &Object) -> model::json::Value {
        match &column.cell {
            Cell::Builtin(cell) => cell(object, self.now),
            Cell::Custom(custom) => custom.cell(object, self.now),
        }
    }
}

/// The name of an object, the first column of every table.
fn name(object: &Object, _: DateTime<Utc>) -> model::json::Value {
    object.name().into()
}

/// How old an object is.
fn age_of(object: &Object, now: DateTime<Utc>) -> model::json::Value {
    age::since(object.created(), now).into()
}
