//! Secrets of the followed namespaces: read before anything else is written, so that their values
//! are known wherever they stand; what is written are shapes. Where they may not be read, that is
//! said: their values are then recognised elsewhere by their form only.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;

use super::cx::Cx;
use super::discovery::list_path;
use super::list::{ListError, Sink, list};
use super::objects::Scope;
use super::out::{ListFile, complete};
use crate::archive::path;
use crate::archive::write::WriteError;
use crate::model::bundle::{Collection, Outcome};
use crate::model::{broker_config, kinds};
use crate::redact::{RedactedObject, Redactor};

/// How many bytes of Secrets are held until all are known. Beyond it a Secret is reduced to its
/// shape at once.
const HELD: usize = 16 << 20;

/// A Secret on its way to its shape.
enum Held {
    Raw(Value),
    Shape(RedactedObject),
}

/// Learns each Secret as it comes.
struct Learn {
    redactor: Redactor,
    place: crate::redact::RedactedPath,
    room: Arc<Semaphore>,
    used: u32,
    secrets: Vec<Held>,
}

impl Sink for Learn {
    fn restart(&mut self) {
        self.secrets.clear();
        self.room.add_permits(self.used as usize);
        self.used = 0;
    }

    fn item(&mut self, item: Value) -> Result<(), WriteError> {
        let item = complete(&kinds::SECRET, "v1", item);
        // The payload of a Helm release is a whole installation, compressed; nothing else repeats it.
        if item["type"] != "helm.sh/release.v1" {
            self.redactor.learn_secret(&item);
        }
        let size = u32::try_from(data_size(&item) >> 10).unwrap_or(u32::MAX).max(1);
        match self.room.try_acquire_many(size) {
            Ok(permit) => {
                permit.forget();
                self.used = self.used.saturating_add(size);
                self.secrets.push(Held::Raw(item));
            }
            Err(_) => self.secrets.push(Held::Shape(self.redactor.object(&self.place, item))),
        }
        Ok(())
    }
}

fn data_size(secret: &Value) -> usize {
    secret["data"].as_object().map_or(0, |data| data.values().filter_map(Value::as_str).map(str::len).sum())
}

/// Reads and writes the Secrets of every followed namespace.
pub(crate) async fn collect(cx: &Arc<Cx>, scope: &Arc<Scope>) {
    let room = Arc::new(Semaphore::new(HELD >> 10));
    let mut tasks = cx.crew();
    for namespace in scope.namespaces.keys() {
        if scope.existing.as_ref().is_some_and(|existing| !existing.contains(namespace)) {
            record(cx, namespace, Outcome::Complete, 0, Some("the namespace does not exist".to_owned()));
            continue;
        }
        let (cx, namespace, room) = (cx.clone(), namespace.clone(), room.clone());
        tasks.begin(async move { (read(&cx, &namespace, room).await, namespace) }).await;
    }
    let mut all: Vec<(String, Vec<Held>)> = Vec::new();
    for (secrets, namespace) in tasks.end().await {
        if let Some(secrets) = secrets {
            all.push((namespace, secrets));
        }
    }
    // Now every value is known; shapes can be made in which no other Secret's value stands.
    all.sort_by(|a, b| a.0.cmp(&b.0));
    for (namespace, secrets) in all {
        let result = super::work::off_reactor(|| write(cx, &namespace, secrets));
        cx.check(result);
    }
}

fn record(cx: &Cx, namespace: &str, outcome: Outcome, items: usize, why: Option<String>) {
    cx.journal.collected(Collection {
        group: String::new(),
        version: "v1".to_owned(),
        kind: kinds::SECRET.kind.to_owned(),
        resource: kinds::SECRET.plural.to_owned(),
        namespace: Some(namespace.to_owned()),
        outcome,
        items,
        why,
    });
}

/// The Secrets of a namespace.
async fn read(cx: &Cx, namespace: &str, room: Arc<Semaphore>) -> Option<Vec<Held>> {
    let url = list_path(&kinds::SECRET, "v1", Some(namespace));
    let place = cx.out.redactor.path(&path::list(&kinds::SECRET, namespace));
    let mut learn = Learn { redactor: cx.out.redactor.clone(), place, room, used: 0, secrets: Vec::new() };
    let refusal = match list(&cx.api, &url, None, &mut learn).await {
        Ok(listed) => {
            record(cx, namespace, Outcome::Complete, listed.items, listed.note);
            return Some(learn.secrets);
        }
        Err(ListError::Write(error)) => {
            cx.check(Err(error));
            return None;
        }
        Err(ListError::Refused(refusal)) => refusal,
    };
    cx.journal.list_failed(&kinds::SECRET, "v1", Some(namespace), &url, 0, &refusal);
    // There is no second try with metadata only: RBAC does not tell metadata from content.
    None
}

fn write(cx: &Cx, namespace: &str, secrets: Vec<Held>) -> Result<(), WriteError> {
    let source = format!("GET {}", list_path(&kinds::SECRET, "v1", Some(namespace)));
    let mut file = ListFile::new(&cx.out, &kinds::SECRET, "v1", namespace, source);
    for secret in secrets {
        match secret {
            Held::Raw(secret) => {
                config(cx, namespace, &secret)?;
                file.add(secret)?;
            }
            Held::Shape(shape) => {
                config(cx, namespace, shape.value())?;
                file.add_redacted(&shape)?;
            }
        }
    }
    file.finish(false)
}

/// Keeps the structure of a broker's config Secret, from which rules see what the broker reads.
fn config(cx: &Cx, namespace: &str, secret: &Value) -> Result<(), WriteError> {
    if !broker_config::is_config_secret(secret) {
        return Ok(());
    }
    let place = cx.out.redactor.path(&path::config_secret(namespace));
    match cx.out.redactor.config_secret(&place, secret) {
        Some(config) => {
            let url = list_path(&kinds::SECRET, "v1", Some(namespace));
            cx.out.writer.add(place, format!("GET {url}"), &config)
        }
        None => Ok(()),
    }
}
