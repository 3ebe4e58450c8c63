//! A large installation, made up from the built-in one: as many teams as wanted, each with a
//! registration, its route, Service, Deployment and pods, whose logs are made up while they are
//! read, so that gigabytes of them need no memory.

use std::io::Read;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oc_mcpgw::archive::path;
use oc_mcpgw::archive::read::{Entry, ReadError, Source, Visit};
use oc_mcpgw::demo;
use oc_mcpgw::model::bundle::{Bundle, LogFile};
use oc_mcpgw::model::{Object, broker_config};
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

/// Which server of the built-in installation is the model of the others.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    namespace: &'static str,
    name: &'static str,
}

/// A server that runs in the cluster.
pub const INSIDE: Model = Model { namespace: "team-weather", name: "weather" };
/// A server outside the cluster: a ServiceEntry and a DestinationRule stand for it.
pub const OUTSIDE: Model = Model { namespace: "team-platform", name: "tickets" };

/// Hands over every object of the installation, and the log (its path and owner) of every pod.
pub fn installation(size: Size, model: Model, mut object: impl FnMut(Value), mut log: impl FnMut(LogFile)) {
    let healthy = demo::healthy();
    let model_pod = healthy.pod_of(model.namespace, model.name);
    let of_model: Vec<(bool, String)> = healthy
        .objects
        .iter()
        .filter(|o| {
            o["metadata"]["namespace"] == model.namespace
                || (o["kind"] == "Namespace" && o["metadata"]["name"] == model.namespace)
        })
        .filter(|o| o["kind"] != "Event")
        .map(|o| (o["kind"] == "Pod", o.to_string()))
        .collect();
    let team = |number: usize| format!("team-{number:04}");
    let server_name = |number: usize, server: usize| format!("srv{}", number * size.servers + server);
    for mut value in healthy.objects {
        if is_config(&value) {
            let of_team =
                |number| (0..size.servers).map(move |server| (team(number), server_name(number, server)));
            configure(&mut value, model, true, (0..size.namespaces).flat_map(of_team));
        }
        object(value);
    }
    for number in 0..size.namespaces {
        let namespace = team(number);
        for server in 0..size.servers {
            let id = number * size.servers + server;
            let name = server_name(number, server);
            for (is_pod, text) in &of_model {
                for pod in 0..if *is_pod { size.pods } else { 1 } {
                    let pod_name = format!("{name}-864kj26mj-{pod:05}");
                    let text = text
                        .replace(model.namespace, &namespace)
                        .replace(&model_pod, &pod_name)
                        .replace(model.name, &name);
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

/// Whether it is the Secret in which the controller tells a broker its servers.
fn is_config(object: &Value) -> bool {
    object["kind"] == "Secret" && object["metadata"]["name"] == broker_config::NAME
}

/// Stands for the namespace while the name is replaced.
const NAMESPACE: &str = "\u{1}";

/// Writes servers (namespace and name) like the model's into a broker's configuration, besides those that it has or in
/// their place.
fn configure(
    secret: &mut Value,
    model: Model,
    besides: bool,
    servers: impl Iterator<Item = (String, String)>,
) {
    let data = &mut secret["data"][broker_config::KEY];
    let text = STANDARD.decode(data.as_str().expect("a configuration")).expect("base64");
    let mut text = String::from_utf8(text).expect("YAML");
    let start = text.find(&format!("- name: {}/{}", model.namespace, model.name)).expect("the model");
    let end = text[start + 1..].find("- name:").map_or(text.len(), |length| start + 1 + length);
    let entry = text[start..end].to_owned();
    if !besides {
        text = "servers:\n".to_owned();
    }
    for (namespace, name) in servers {
        for line in entry.split_inclusive('\n') {
            // All have the model's credential.
            if line.trim_start().starts_with("credential:") {
                text.push_str(line);
                continue;
            }
            let own = line.replace(model.namespace, NAMESPACE).replace(model.name, &name);
            text.push_str(&own.replace(NAMESPACE, &namespace));
        }
    }
    *data = STANDARD.encode(text).into();
}

/// The namespaces of the built-in installation that make a tenant: a Gateway, its extension and broker, one server.
const TENANT: [&str; 3] = ["gateway-system", "mcp-system", INSIDE.namespace];

/// Hands over every object of an installation in which each of many tenants has a Gateway, an extension, policies and a
/// server of its own, in namespaces of its own.
pub fn tenants(count: usize, mut object: impl FnMut(Value)) {
    let healthy = demo::healthy();
    let of_tenant = |o: &&Value| {
        let metadata = &o["metadata"];
        let namespace = if o["kind"] == "Namespace" { &metadata["name"] } else { &metadata["namespace"] };
        let ours = TENANT.iter().any(|tenant| namespace == tenant);
        // One controller serves all tenants.
        let of_controller =
            metadata["name"].as_str().is_some_and(|name| name.starts_with("mcp-gateway-controller"));
        ours && o["kind"] != "Event" && !of_controller
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
            if is_config(&value) {
                let server = (format!("{}-{number:05}", INSIDE.namespace), INSIDE.name.to_owned());
                configure(&mut value, INSIDE, false, std::iter::once(server));
            }
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
        INSIDE,
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
