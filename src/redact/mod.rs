//! The gate: nothing reaches a writer unless it went through here.
//!
//! [`Redacted`], [`RedactedPath`] and [`RedactedObject`] can only be made in this module, and the
//! archive writer takes nothing else, so the compiler holds the promise that nothing secret is
//! written. There is no flag around it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod base64;
mod candidates;
mod findings;
mod joined;
mod jwt;
mod learned;
mod lines;
mod matcher;
mod names;
mod needles;
pub mod obfuscate;
mod objects;
mod patterns;
mod placeholder;
pub mod report;
mod secret;
mod stream;
mod text;
mod urls;
mod user_rules;
mod value;
pub mod verify;
mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde_json::Value;

use crate::model::broker_config;

pub use findings::RedactedReport;
use joined::Borders;
use learned::Learned;
pub use learned::LearnedScanner;
use obfuscate::{Obfuscator, What};
use objects::Walk;
use placeholder::{Key, Kind, Style};
pub use stream::TextStream;
use text::{Engine, Found};
pub use user_rules::{RulesError, UserRules};

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

    /// Cuts the bytes in two; `at` beyond their end leaves the second part empty.
    #[must_use]
    pub fn split_at(mut self, at: usize) -> (Self, Self) {
        let rest = self.0.split_off(at.min(self.0.len()));
        (self, Self(rest))
    }

    /// Gives back memory that the bytes do not need; for what is kept for a while.
    pub fn shrink(&mut self) {
        self.0.shrink_to_fit();
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
pub struct Options {
    /// The rules of the user.
    pub rules: UserRules,
    /// Which names get pseudonyms. Whoever collects does that, when all names are known.
    pub obfuscate: BTreeSet<What>,
}

/// Redacts objects, text, streams and paths. Cheap to clone; clones share what was learned, the
/// key of the placeholders and the counts.
#[derive(Debug, Clone)]
pub struct Redactor {
    inner: Arc<Inner>,
    /// What is replaced after the secrets, if anything is.
    obfuscator: Option<Obfuscator>,
}

/// What the clones of a redactor share.
#[derive(Debug)]
struct Inner {
    key: Key,
    engine: &'static Engine,
    learned: Learned,
    rules: UserRules,
    counts: Mutex<report::Counts>,
}

impl Inner {
    fn token(&self, value: &[u8]) -> String {
        self.key.token(value)
    }

    fn placeholder(&self, kind: Kind, style: Style, value: &[u8]) -> String {
        text::placeholder_of(&self.key, kind, style, value)
    }

    /// What is secret in a text, sorted.
    fn scan(&self, text: &[u8]) -> Vec<Found> {
        self.scan_up_to(text, text.len())
    }

    /// What begins before a place; of what begins behind it only some. The text behind it is looked into all the
    /// same, to see where secrets end.
    fn scan_up_to(&self, text: &[u8], limit: usize) -> Vec<Found> {
        let mut found = Vec::new();
        let borders = Borders::of(text);
        self.learned.scan(text, limit, &borders, &mut found);
        self.rules.scan(text, &mut found);
        self.engine.scan(text, limit, &borders, &mut found);
        found
    }

    fn replace(&self, file: &str, text: &[u8], found: &[Found], out: &mut Vec<u8>) {
        let mut counts = BTreeMap::new();
        text::replace(&self.key, text, found, out, &mut |rule| *counts.entry(rule).or_default() += 1);
        self.count_all(file, &counts);
    }

    /// The redacted text, or `None` when it has no secret.
    fn text(&self, file: &str, text: &[u8]) -> Option<Vec<u8>> {
        let found = self.scan(text);
        if found.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(text.len() + 64);
        self.replace(file, text, &found, &mut out);
        Some(out)
    }
}

/// The rows of the table with their expressions, for the benchmark that applies them one after the other.
#[doc(hidden)]
pub fn expressions() -> impl Iterator<Item = (&'static str, &'static str)> {
    patterns::PATTERNS.iter().map(|pattern| (pattern.id, pattern.expression))
}

/// Whether a string is one placeholder and nothing else.
fn is_placeholder(text: &str) -> bool {
    placeholder::recognise(text.as_bytes()).is_some_and(|len| {
        len == text.len() || (text.ends_with('>') && !text[len..text.len() - 1].contains(['<', '>', '\n']))
    })
}

impl Redactor {
    /// Makes a redactor with a fresh random key, which is never stored.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let Options { rules, obfuscate: _ } = options;
        Self {
            inner: Arc::new(Inner {
                key: Key::random(),
                engine: Engine::shared(),
                learned: Learned::default(),
                rules,
                counts: Mutex::default(),
            }),
            obfuscator: None,
        }
    }

    /// The same redactor, which also replaces names. What has gone through it must not go through it
    /// again: an address that is a pseudonym looks like any other.
    #[must_use]
    pub fn obfuscating(&self, obfuscator: &Obfuscator) -> Self {
        Self { inner: Arc::clone(&self.inner), obfuscator: Some(obfuscator.clone()) }
    }

    /// The same redactor for what has its pseudonyms already.
    #[must_use]
    pub fn without_names(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), obfuscator: None }
    }

    /// Redacts a line that is said of a file.
    #[must_use]
    pub fn line(&self, text: &str) -> String {
        let redacted = self.inner.text(crate::archive::path::MANIFEST, text.as_bytes());
        let mut line =
            redacted.map_or_else(|| text.to_owned(), |text| String::from_utf8_lossy(&text).into_owned());
        if let Some(obfuscator) = &self.obfuscator {
            obfuscator.string(&mut line);
        }
        line
    }

    /// What is replaced after the secrets, if anything is.
    #[must_use]
    pub fn obfuscator(&self) -> Option<&Obfuscator> {
        self.obfuscator.as_ref()
    }

    /// Learns the values of a Secret as the API server sent it (`data`, `stringData`), so that
    /// they are found wherever else they stand.
    pub fn learn_secret(&self, secret: &Value) {
        // A Helm release is a whole installation, compressed; nothing else repeats its bytes.
        if secret.get("type").and_then(Value::as_str) == Some("helm.sh/release.v1") {
            return;
        }
        let is_config = broker_config::is_config_secret(secret);
        for (key, value) in crate::model::secret_shape::values(secret) {
            if is_config && key == broker_config::KEY {
                // A file of settings: only the credentials in it are secrets.
                broker_config::credentials(&value)
                    .iter()
                    .for_each(|credential| self.learn(credential.as_bytes()));
                continue;
            }
            self.inner.learned.learn_entry(self.inner.engine, &key, &value);
        }
    }

    /// Learns one value, whatever it is called.
    pub fn learn(&self, value: &[u8]) {
        self.inner.learned.learn_value(self.inner.engine, value);
    }

    /// Whether the user's rules say that this file is left out.
    #[must_use]
    pub fn drops(&self, path: &str) -> bool {
        self.inner.rules.drops(path)
    }

    /// Redacts a path of the archive.
    #[must_use]
    pub fn path(&self, path: &str) -> RedactedPath {
        let found: Vec<Found> =
            self.inner.scan(path.as_bytes()).into_iter().map(|f| Found { style: Style::Url, ..f }).collect();
        let mut redacted = path.to_owned();
        if !found.is_empty() {
            let mut out = Vec::new();
            self.inner.replace(path, path.as_bytes(), &found, &mut out);
            redacted = String::from_utf8_lossy(&out).into_owned();
        }
        if let Some(obfuscator) = &self.obfuscator {
            obfuscator.string(&mut redacted);
        }
        RedactedPath(redacted)
    }

    /// Redacts one object, structure first, then every string in it.
    #[must_use]
    pub fn object(&self, file: &RedactedPath, mut object: Value) -> RedactedObject {
        Walk { inner: &self.inner, file: file.as_str() }.object(&mut object, 0);
        if let Some(obfuscator) = &self.obfuscator {
            obfuscator.object(&mut object);
        }
        RedactedObject(object)
    }

    /// The projection of a gateway's config Secret for `mcpgw/config-secret/<namespace>.yaml`: every
    /// credential replaced by its shape. `None` when this Secret holds no broker configuration.
    #[must_use]
    pub fn config_secret(&self, file: &RedactedPath, secret: &Value) -> Option<Redacted> {
        let redacted = self.object(file, secret.clone());
        let annotations = redacted.value().pointer("/metadata/annotations")?;
        let text = annotations.get(broker_config::ANNOTATION)?.as_str()?;
        let projection: Value = serde_json::from_str(text).ok()?;
        Some(RedactedObject(projection).to_yaml())
    }

    /// How often which rule redacted something in which file, for the redaction report.
    #[must_use]
    pub fn report_counts(&self) -> report::RedactionReport {
        let obfuscated = self.obfuscator.as_ref().map(Obfuscator::counts).unwrap_or_default();
        report::RedactionReport { obfuscated, ..self.inner.report() }
    }

    /// Redacts a text that is whole in memory.
    #[must_use]
    pub fn text(&self, file: &RedactedPath, text: &[u8]) -> Redacted {
        let redacted = self.inner.text(file.as_str(), text).unwrap_or_else(|| text.to_vec());
        match &self.obfuscator {
            Some(obfuscator) => Redacted(obfuscator.text(&redacted).unwrap_or(redacted)),
            None => Redacted(redacted),
        }
    }

    /// Searches a text that arrives in pieces for the values that are known by now.
    #[must_use]
    pub fn learned_scanner(&self) -> LearnedScanner {
        LearnedScanner::new(self.inner.learned.needles())
    }

    /// Redacts a text that arrives in pieces, in bounded memory.
    #[must_use]
    pub fn stream(&self, file: &RedactedPath) -> TextStream {
        TextStream::new(Arc::clone(&self.inner), file.as_str(), self.obfuscator.clone())
    }

    /// Redacts a file of our own making (manifest, failures, reports) or an answer in JSON that was
    /// parsed, structure first, as pretty-printed JSON.
    #[must_use]
    pub fn json<T: Serialize>(&self, file: &RedactedPath, value: &T) -> Redacted {
        let mut value = serde_json::to_value(value).unwrap_or_default();
        Walk { inner: &self.inner, file: file.as_str() }.object(&mut value, 0);
        if let Some(obfuscator) = &self.obfuscator {
            obfuscator.object(&mut value);
        }
        let mut text = serde_json::to_vec_pretty(&value).unwrap_or_default();
        text.push(b'\n');
        Redacted(text)
    }
}
