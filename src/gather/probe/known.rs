//! What the probes need to know of the objects, taken while they stream by: nothing is read twice.

use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::super::list::Sink;
use super::super::out::metadata;
use crate::archive::write::WriteError;
use crate::model::kinds::{self, Kind};
use crate::model::{Bundle, Object};

/// The kinds that say whom to ask for what.
static WANTED: &[&Kind] = &[
    &kinds::MCP_GATEWAY_EXTENSION,
    &kinds::MCP_SERVER_REGISTRATION,
    &kinds::GATEWAY,
    &kinds::HTTP_ROUTE,
    &kinds::SERVICE,
    &kinds::AUTH_POLICY,
    &kinds::SERVICE_ENTRY,
];

/// Decides the name of a Gateway's Deployment and Service.
const NAME_OVERRIDE: &str = "gateway.istio.io/name-override";

/// The objects that were kept.
#[derive(Debug, Default)]
pub(crate) struct Known {
    objects: Mutex<Vec<Value>>,
}

impl Known {
    /// Whether objects of this kind are kept.
    pub(crate) fn wants(kind: &Kind) -> bool {
        WANTED.contains(&kind)
    }

    /// Keeps objects, without what no probe needs.
    pub(crate) fn keep<'a>(&self, objects: impl IntoIterator<Item = &'a Value>) {
        self.add(objects.into_iter().map(trimmed).collect());
    }

    fn add(&self, trimmed: Vec<Value>) {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).extend(trimmed);
    }

    /// Everything that was kept, as a bundle of its own.
    pub(crate) fn bundle(&self) -> Bundle {
        let objects = std::mem::take(&mut *self.objects.lock().unwrap_or_else(PoisonError::into_inner));
        let mut bundle = Bundle::default();
        for object in objects.into_iter().filter_map(|value| Object::new(value, "known".into(), None)) {
            bundle.add_object(object);
        }
        bundle
    }
}

fn trimmed(object: &Value) -> Value {
    let mut kept = Map::new();
    for field in ["apiVersion", "kind", "spec"] {
        kept.insert(field.to_owned(), object.get(field).cloned().unwrap_or_default());
    }
    kept.insert(
        "metadata".to_owned(),
        json!({
            "name": metadata(object, "name"),
            "namespace": metadata(object, "namespace"),
            "labels": object.pointer("/metadata/labels"),
            "annotations": {NAME_OVERRIDE: object.pointer("/metadata/annotations").and_then(|a| a.get(NAME_OVERRIDE))},
            "creationTimestamp": object.pointer("/metadata/creationTimestamp"),
        }),
    );
    Value::Object(kept)
}

/// Keeps what a list gives, and hands it on.
pub(crate) struct Tap<'s> {
    sink: &'s mut dyn Sink,
    kind: &'static Kind,
    api_version: String,
    kept: Vec<Value>,
}

impl<'s> Tap<'s> {
    pub(crate) fn new(sink: &'s mut dyn Sink, kind: &'static Kind, version: &str) -> Self {
        let api_version = super::super::out::api_version(kind, version);
        Self { sink, kind, api_version, kept: Vec::new() }
    }

    /// Hands over what was kept.
    pub(crate) fn into(self, known: &Known) {
        known.add(self.kept);
    }
}

impl Sink for Tap<'_> {
    fn restart(&mut self) {
        self.kept.clear();
        self.sink.restart();
    }

    fn item(&mut self, item: Value) -> Result<(), WriteError> {
        let mut kept = trimmed(&item);
        kept["apiVersion"] = json!(self.api_version);
        kept["kind"] = json!(self.kind.kind);
        self.kept.push(kept);
        self.sink.item(item)
    }
}
