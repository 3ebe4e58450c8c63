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
    /// How many MCP servers each of them has registered.
    pub servers: usize,
    /// How many pods each server has.
    pub pods: usize,
    /// The size of the log of each pod, in bytes.
    pub log_bytes: u64,
}

/// The team that is the model of all others.
const MODEL: &str = "team-weather";

/// Hands over every object of the installation, and the log (its path and owner) of every pod.
pub fn installation(size: Size, mut object: impl FnMut(Value), mut log: impl FnMut(LogFile)) {
    let healthy = demo::healthy();
    let model_pod = healthy.pod_of(MODEL, "weather");
    let of_model: Vec<(bool, String)> = healthy
        .objects
        .iter()
        .filter(|o| {
            o["metadata"]["namespace"] == MODEL
                || (o["kind"] == "Namespace" && o["metadata"]["name"] == MODEL)
        })
        .filter(|o| o["kind"] != "Event")
        .map(|o| (o["kind"] == "Pod", o.to_string()))
        .collect();
    healthy.objects.into_iter().for_each(&mut object);
    for number in 0..size.namespaces {
        let namespace = format!("team-{number:04}");
        for server in 0..size.servers {
            let id = number * size.servers + server;
            let name = format!("srv{id}");
            for (is_pod, text) in &of_model {
                for pod in 0..if *is_pod { size.pods } else { 1 } {
                    let pod_name = format!("{name}-864kj26mj-{pod:05}");
                    let text = text
                        .replace(MODEL, &namespace)
                        .replace(&model_pod, &pod_name)
                        .replace("weather", &name);
                    let mut value: Value = serde_json::from_str(&text).expect("still JSON");
                    renumber(&mut value, &format!("{id:05x}{pod:03x}"));
                    object(value);
                    if *is_pod {
                        log(LogFile {
                            file: path::log(&namespace, &pod_name, "server", false),
                            namespace: namespace.clone(),
                            pod: pod_name,
                            container: "server".into(),
                            bytes: size.log_bytes,
                            ..LogFile::default()
                        });
                    }
                }
            }
        }
    }
}

/// The namespaces of the built-in installation that make a tenant: a Gateway, its extension and broker, one server.
const TENANT: [&str; 3] = ["gateway-system", "mcp-system", MODEL];

/// Hands over every object of an installation in which each of many tenants has a Gateway, an extension, policies and a
/// server of its own, in namespaces of its own.
pub fn tenants(count: usize, mut object: impl FnMut(Value)) {
    let healthy = demo::healthy();
    let of_tenant = |o: &&Value| {
        let metadata = &o["metadata"];
        let namespace = if o["kind"] == "Namespace" { &metadata["name"] } else { &metadata["namespace"] };
        let ours = TENANT.iter().any(|tenant| namespace == tenant);
        // The broker's configuration names servers of others.
        ours && o["kind"] != "Event" && metadata["name"] != "mcp-gateway-config"
    };
    let model: Vec<String> = healthy.objects.iter().filter(of_tenant).map(Value::to_string).collect();
    healthy.objects.into_iter().for_each(&mut object);
    for number in 0..count {
        for text in &model {
            let mut text = text.clone();
            for namespace in TENANT {
                text = text.replace(namespace, &format!("{namespace}-{number:05}"));
            }
            let mut value: Value = serde_json::from_str(&text).expect("still JSON");
            renumber(&mut value, &format!("{number:08x}"));
            object(value);
        }
    }
}

/// Builds it.
pub fn cluster(size: Size) -> Arc<Cluster> {
    let healthy = demo::healthy();
    let mut bundle: Bundle = healthy.bundle();
    let files = oc_mcpgw::archive::read::Memory(healthy.files(&demo::Refused::default()));
    let mut logs = Vec::new();
    let mut log_files = Vec::new();
    installation(
        size,
        |value| bundle.add_object(Object::new(value, "big.yaml".into(), None).expect("an object")),
        |log| {
            logs.push((log.file.clone(), log.bytes));
            log_files.push(log);
        },
    );
    log_files.into_iter().for_each(|log| bundle.add_log(log));
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
pub struct Log {
    seed: u64,
    line: u64,
    left: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Log {
    /// The log at a path, of this size.
    pub fn new(path: &str, bytes: u64) -> Self {
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
