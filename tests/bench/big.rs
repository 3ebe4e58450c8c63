//! A large installation, made up from the built-in one: as many teams as wanted, each with a
//! registration, its route, Service, Deployment and pods, whose logs are made up while they are
//! read, so that gigabytes of them need no memory.

use std::io::Read;
use std::sync::Arc;

use oc_mcpgw::archive::path;
use oc_mcpgw::archive::read::{Entry, ReadError, Source, Visit};
use oc_mcpgw::demo;
use oc_mcpgw::model::Object;
use oc_mcpgw::model::bundle::{Bundle, LogFile};
use oc_mcpgw::serve::Cluster;
use serde_json::Value;

/// How large it is to be.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// How many teams, each in a namespace of its own.
    pub namespaces: usize,
    /// How many pods each of them has.
    pub pods: usize,
    /// The size of the log of each pod, in bytes.
    pub log_bytes: u64,
}

/// The team that is the model of all others.
const MODEL: &str = "team-weather";

/// Builds it.
pub fn cluster(size: Size) -> Arc<Cluster> {
    let healthy = demo::healthy();
    let mut bundle: Bundle = healthy.bundle();
    let files = oc_mcpgw::archive::read::Memory(healthy.files(&demo::Refused::default()));
    let of_model: Vec<&Value> = healthy
        .objects
        .iter()
        .filter(|o| {
            o["metadata"]["namespace"] == MODEL
                || (o["kind"] == "Namespace" && o["metadata"]["name"] == MODEL)
        })
        .filter(|o| o["kind"] != "Event")
        .collect();
    let model_pod = healthy.pod_of(MODEL, "weather");
    let mut logs = Vec::new();
    for number in 0..size.namespaces {
        let namespace = format!("team-{number:04}");
        for object in &of_model {
            let pods = if object["kind"] == "Pod" { size.pods } else { 1 };
            for pod in 0..pods {
                let name = format!("weather-864kj26mj-{pod:05}");
                let text = object
                    .to_string()
                    .replace(MODEL, &namespace)
                    .replace(&model_pod, &name)
                    .replace("weather_", &format!("w{number}_"))
                    .replace("weather.mcp", &format!("w{number}.mcp"));
                let mut value: Value = serde_json::from_str(&text).expect("still JSON");
                renumber(&mut value, &format!("{number:04x}{pod:04x}"));
                bundle.add_object(Object::new(value, "big.yaml".into(), None).expect("an object"));
                if object["kind"] == "Pod" {
                    let file = path::log(&namespace, &name, "server", false);
                    logs.push((file.clone(), size.log_bytes));
                    bundle.add_log(LogFile {
                        file,
                        namespace: namespace.clone(),
                        pod: name,
                        container: "server".into(),
                        bytes: size.log_bytes,
                        ..LogFile::default()
                    });
                }
            }
        }
    }
    logs.sort();
    Cluster::new(bundle, Arc::new(MadeUp { files, logs }))
}

/// Gives every copy UIDs of its own; owners and owned change alike.
fn renumber(value: &mut Value, with: &str) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(uid) if key == "uid" && uid.len() > 8 => uid.replace_range(..8, with),
                    other => renumber(other, with),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| renumber(item, with)),
        _ => {}
    }
}

/// The files of the model, and logs that exist only while they are read.
struct MadeUp {
    files: oc_mcpgw::archive::read::Memory,
    logs: Vec<(String, u64)>,
}

impl Source for MadeUp {
    fn walk(&self, visit: &mut dyn FnMut(&Entry, &mut dyn Read) -> Visit) -> Result<Vec<String>, ReadError> {
        for (path, bytes) in &self.logs {
            let entry = Entry { path: path.clone(), bytes: *bytes };
            if visit(&entry, &mut Log::new(path, *bytes)) == Visit::Stop {
                return Ok(Vec::new());
            }
        }
        self.files.walk(visit)
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let mut content = Vec::new();
        let mut failed = None;
        let found =
            self.stream(path, &mut |reader| failed = reader.take(limit).read_to_end(&mut content).err())?;
        match failed {
            Some(source) => Err(ReadError::Io { path: path.to_owned(), source }),
            None => Ok(found.then_some(content)),
        }
    }

    fn stream(&self, path: &str, visit: &mut dyn FnMut(&mut dyn Read)) -> Result<bool, ReadError> {
        let Ok(at) = self.logs.binary_search_by(|(log, _)| log.as_str().cmp(path)) else {
            return self.files.stream(path, visit);
        };
        visit(&mut Log::new(path, self.logs[at].1));
        Ok(true)
    }
}

/// Lines as a busy MCP server writes them, each different, up to a number of bytes.
struct Log {
    seed: u64,
    line: u64,
    left: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Log {
    fn new(path: &str, bytes: u64) -> Self {
        let seed = path.bytes().fold(7_u64, |seed, b| seed.wrapping_mul(31).wrapping_add(u64::from(b)));
        Self { seed, line: 0, left: bytes, buffer: Vec::new(), at: 0 }
    }
}

impl Read for Log {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
            for _ in 0..200 {
                let number = self.seed.wrapping_add(self.line.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let second = self.line / 40;
                let line = format!(
                    "2026-09-14T{:02}:{:02}:{:02}.{:09}Z {{\"level\":\"info\",\"msg\":\"tools/call\",\"tool\":\"forecast\",\
                     \"session\":\"{number:016x}\",\"took_ms\":{}}}\n",
                    second / 3600 % 10,
                    second / 60 % 60,
                    second % 60,
                    number % 1_000_000_000,
                    number % 900,
                );
                self.buffer.extend_from_slice(line.as_bytes());
                self.line += 1;
            }
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let length = out.len().min(self.buffer.len() - self.at).min(left);
        out[..length].copy_from_slice(&self.buffer[self.at..self.at + length]);
        self.at += length;
        self.left -= length as u64;
        Ok(length)
    }
}
