//! From objects to files: the one place where what was read meets the redactor and the writer.

use std::collections::HashSet;

use serde_json::Value;

use super::list::Sink;
use super::progress::Progress;
use crate::archive::path;
use crate::archive::write::{Member, WriteError, Writer};
use crate::model::Kind;
use crate::redact::{Redacted, RedactedObject, Redactor};

/// Where everything goes. Clones go to the same place.
#[derive(Debug, Clone)]
pub(crate) struct Out {
    pub(crate) writer: Writer,
    pub(crate) redactor: Redactor,
    pub(crate) progress: Progress,
}

/// Whether all objects of a kind in a namespace share one file: the layout that readers of
/// must-gathers know for kinds without a CustomResourceDefinition.
pub(crate) fn in_one_file(kind: &Kind) -> bool {
    kind.namespaced
        && matches!(
            kind.group,
            "" | "apps" | "autoscaling" | "discovery.k8s.io" | "networking.k8s.io" | "route.openshift.io"
        )
}

/// `group/version`, or the version alone for the core group.
pub(crate) fn api_version(kind: &Kind, version: &str) -> String {
    if kind.group.is_empty() { version.to_owned() } else { format!("{}/{version}", kind.group) }
}

/// Gives an item of a list the `apiVersion` and `kind` that the list said for all.
pub(crate) fn complete(kind: &Kind, version: &str, mut item: Value) -> Value {
    if let Some(object) = item.as_object_mut() {
        object.entry("apiVersion").or_insert_with(|| api_version(kind, version).into());
        object.entry("kind").or_insert_with(|| kind.kind.into());
    }
    item
}

/// A field of the metadata, empty when there is none.
pub(crate) fn metadata<'a>(item: &'a Value, field: &str) -> &'a str {
    item.pointer(&format!("/metadata/{field}")).and_then(Value::as_str).unwrap_or_default()
}

impl Out {
    /// Writes one object as a file of its own.
    pub(crate) fn object(&self, kind: &Kind, object: Value, source: String) -> Result<(), WriteError> {
        let namespace = if kind.namespaced { metadata(&object, "namespace") } else { "" };
        let place = path::object(kind, namespace, metadata(&object, "name"));
        self.object_at(&place, object, source)
    }

    /// Writes one object to this file.
    pub(crate) fn object_at(&self, place: &str, object: Value, source: String) -> Result<(), WriteError> {
        let place = self.redactor.path(place);
        let object = self.redactor.object(&place, object);
        self.progress.object();
        self.writer.add(place, source, &object.to_yaml())
    }

    /// Writes a text as a file.
    pub(crate) fn text(&self, place: &str, source: &str, text: &[u8]) -> Result<(), WriteError> {
        let place = self.redactor.path(place);
        let text = self.redactor.text(&place, text);
        self.writer.add(place, source.to_owned(), &text)
    }

    /// Writes a value of our own making as JSON.
    pub(crate) fn json<T: serde::Serialize>(
        &self,
        place: &str,
        source: &str,
        value: &T,
    ) -> Result<(), WriteError> {
        let place = self.redactor.path(place);
        let json = self.redactor.json(&place, value);
        self.writer.add(place, source.to_owned(), &json)
    }
}

/// The file of all objects of a kind in one namespace, written item by item.
pub(crate) struct ListFile {
    out: Out,
    place: String,
    api_version: String,
    kind: &'static Kind,
    source: String,
    member: Option<Member>,
    items: usize,
}

impl ListFile {
    pub(crate) fn new(
        out: &Out,
        kind: &'static Kind,
        version: &str,
        namespace: &str,
        source: String,
    ) -> Self {
        Self::at(out, path::list(kind, namespace), kind, version, source)
    }

    pub(crate) fn at(out: &Out, place: String, kind: &'static Kind, version: &str, source: String) -> Self {
        Self {
            out: out.clone(),
            place,
            api_version: api_version(kind, version),
            kind,
            source,
            member: None,
            items: 0,
        }
    }

    /// The member, begun with its header.
    fn member(&mut self, empty: bool) -> Result<&mut Member, WriteError> {
        if self.member.is_none() {
            let place = self.out.redactor.path(&self.place);
            let items = if empty { "items: []\n" } else { "items:\n" };
            let header = format!("apiVersion: {}\nkind: {}List\n{items}", self.api_version, self.kind.kind);
            let header = self.out.redactor.text(&place, header.as_bytes());
            let mut member = self.out.writer.member(place, self.source.clone());
            member.write(&header)?;
            self.member = Some(member);
        }
        // Just set above.
        self.member.as_mut().ok_or_else(|| unreachable_member(&self.place))
    }

    /// Redacts and appends one object, and gives what was written.
    pub(crate) fn add(&mut self, item: Value) -> Result<RedactedObject, WriteError> {
        let place = self.out.redactor.path(&self.place);
        let object = self.out.redactor.object(&place, item);
        self.add_redacted(&object)?;
        Ok(object)
    }

    /// Appends an object that is redacted already.
    pub(crate) fn add_redacted(&mut self, object: &RedactedObject) -> Result<(), WriteError> {
        self.items += 1;
        self.out.progress.object();
        let yaml: Redacted = object.to_yaml_item();
        self.member(false)?.write(&yaml)
    }

    /// Throws away what was written so far; dropped unfinished, a member leaves no trace.
    pub(crate) fn forget(&mut self) {
        self.member = None;
        self.items = 0;
    }

    /// Ends the file; an empty list is written, too.
    pub(crate) fn finish(mut self, truncated: bool) -> Result<(), WriteError> {
        let empty = self.items == 0;
        self.member(empty)?;
        match self.member.take() {
            Some(member) => member.finish(truncated),
            None => Err(unreachable_member(&self.place)),
        }
    }
}

fn unreachable_member(place: &str) -> WriteError {
    WriteError::Io { path: place.to_owned(), source: std::io::Error::other("the file was not begun") }
}

/// Writes each item into the list's file.
pub(crate) struct ToListFile {
    pub(crate) file: ListFile,
    version: String,
}

impl ToListFile {
    pub(crate) fn new(file: ListFile, version: &str) -> Self {
        Self { file, version: version.to_owned() }
    }
}

impl Sink for ToListFile {
    fn restart(&mut self) {
        self.file.forget();
    }

    fn item(&mut self, item: Value) -> Result<(), WriteError> {
        let item = complete(self.file.kind, &self.version, item);
        self.file.add(item).map(drop)
    }
}

/// Writes each item as a file of its own.
pub(crate) struct ToObjects {
    out: Out,
    kind: &'static Kind,
    version: String,
    source: String,
    /// What was written before the list was begun anew.
    written: HashSet<(String, String)>,
}

impl ToObjects {
    pub(crate) fn new(out: &Out, kind: &'static Kind, version: &str, source: String) -> Self {
        Self { out: out.clone(), kind, version: version.to_owned(), source, written: HashSet::new() }
    }
}

impl Sink for ToObjects {
    fn restart(&mut self) {}

    fn item(&mut self, item: Value) -> Result<(), WriteError> {
        let id = (metadata(&item, "namespace").to_owned(), metadata(&item, "name").to_owned());
        if id.1.is_empty() || !self.written.insert(id) {
            return Ok(());
        }
        let item = complete(self.kind, &self.version, item);
        if self.kind == &crate::model::kinds::NAMESPACE {
            let place = path::namespace(metadata(&item, "name"));
            return self.out.object_at(&place, item, self.source.clone());
        }
        self.out.object(self.kind, item, self.source.clone())
    }
}
