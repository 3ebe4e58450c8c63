//! A real Envoy: what its admin port says goes through port-forward, redactor and archive to the rules.
//!
//! The Envoy gets, from files as from a control plane, what istiod would send to the gateway proxy of
//! the healthy installation. It binds no port but that of its admin interface, on loopback, and
//! connects to nobody.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use oc_mcpgw::archive::load::load;
use oc_mcpgw::archive::path;
use oc_mcpgw::archive::read::Memory;
use oc_mcpgw::serve::Cluster;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::gather::{Served, archive, files, json as json_file, program, text};

/// The program: what `.ci/run` installed, or one on the path. Says so when there is none, because
/// then something is not tested.
fn envoy() -> Option<PathBuf> {
    let named = std::env::var_os("MCPGW_TEST_ENVOY").map(PathBuf::from);
    let installed =
        Path::new(env!("CARGO_BIN_EXE_oc-mcpgw")).parent().map(|debug| debug.join("../tools/envoy"));
    let on_path = std::env::var_os("PATH").and_then(|list| {
        std::env::split_paths(&list).map(|dir| dir.join("envoy")).find(|path| path.is_file())
    });
    let found = named.or(installed.filter(|path| path.is_file())).or(on_path);
    if found.is_none() {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "not tested: there is no envoy; .ci/run installs one").expect("standard error");
    }
    found
}

/// What a control plane sends.
#[derive(Debug, Clone)]
struct Config {
    node: Value,
    listeners: Vec<Value>,
    routes: Vec<Value>,
    clusters: Vec<Value>,
    endpoints: Vec<Value>,
}

fn section<'a>(dump: &'a Value, name: &str) -> &'a Value {
    let configs = dump["configs"].as_array().expect("sections");
    let found =
        configs.iter().find(|s| s["@type"].as_str().is_some_and(|kind| kind.ends_with(&format!(".{name}"))));
    found.unwrap_or_else(|| panic!("no {name}"))
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Calls this for every object in a value.
fn each(value: &mut Value, change: &mut dyn FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            change(map);
            map.values_mut().for_each(|value| each(value, change));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| each(value, change)),
        _ => {}
    }
}

/// The smallest module that Envoy takes for a filter, in base64: it exports the version of the
/// interface, an allocator that gives nothing, and its memory.
fn wasm() -> String {
    let section = |id: u8, content: &[u8]| {
        let mut section = vec![id, u8::try_from(content.len()).expect("a short section")];
        section.extend_from_slice(content);
        section
    };
    let mut exports = vec![4];
    for (name, kind, index) in [
        ("proxy_abi_version_0_2_1", 0, 0),
        ("_initialize", 0, 0),
        ("proxy_on_memory_allocate", 0, 1),
        ("memory", 2, 0),
    ] {
        exports.push(u8::try_from(name.len()).expect("a short name"));
        exports.extend_from_slice(name.as_bytes());
        exports.extend([kind, index]);
    }
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    // Types: nothing to nothing, i32 to i32. Two functions, one page of memory.
    module.extend(section(1, &[2, 0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f]));
    module.extend(section(3, &[2, 0, 1]));
    module.extend(section(5, &[1, 0, 1]));
    module.extend(section(7, &exports));
    // Bodies: end; i32.const 0, end.
    module.extend(section(10, &[2, 2, 0, 0x0b, 4, 0, 0x41, 0, 0x0b]));
    base64::engine::general_purpose::STANDARD.encode(module)
}

impl Config {
    /// What the proxy of the installation's gateway is configured with.
    fn of(fixture: &Fixture, pod: &str) -> Self {
        let file = path::envoy("gateway-system", pod, "config_dump.json");
        let dump: Value = serde_json::from_slice(&fixture.files()[&file]).expect("a dump");
        let all = |name: &str, items: &str, item: &str| -> Vec<Value> {
            list(section(&dump, name), items)
                .map(|entry| entry.pointer(item).expect("an item").clone())
                .collect()
        };
        Self {
            node: section(&dump, "BootstrapConfigDump")["bootstrap"]["node"].clone(),
            listeners: all("ListenersConfigDump", "/dynamic_listeners", "/active_state/listener"),
            routes: all("RoutesConfigDump", "/dynamic_route_configs", "/route_config"),
            clusters: all("ClustersConfigDump", "/dynamic_active_clusters", "/cluster"),
            endpoints: all("EndpointsConfigDump", "/dynamic_endpoint_configs", "/endpoint_config"),
        }
    }

    /// Makes of it what an Envoy without istiod accepts: sources are files, no port is bound, what is
    /// resolved by name is given, and certificates are there.
    fn write(mut self, directory: &Path) -> PathBuf {
        // Envoy wants a file of its own for each route configuration, endpoint list and secret.
        let place = |kind: &str, name: &str| {
            let name: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            directory.join(format!("{kind}-{name}.json"))
        };
        let source =
            |path: &Path| json!({"path_config_source": {"path": path}, "resource_api_version": "V3"});
        let write = |path: &Path, resources: &[Value]| {
            let answer = json!({"version_info": "1", "resources": resources});
            std::fs::write(path, answer.to_string()).expect("a file");
        };
        let key =
            rcgen::generate_simple_self_signed(vec!["mcp.example.com".to_owned()]).expect("a certificate");
        let (certificate, key) = (key.cert.pem(), key.signing_key.serialize_pem());
        for listener in &mut self.listeners {
            listener["bind_to_port"] = false.into();
            each(listener, &mut |map| {
                if let Some(name) = map.get("route_config_name").and_then(Value::as_str) {
                    let path = place("rds", name);
                    map.insert("config_source".to_owned(), source(&path));
                }
                // The module would be fetched over the network; this one does nothing.
                if let Some(vm) = map.get_mut("vm_config") {
                    vm["code"] = json!({"local": {"inline_bytes": wasm()}});
                }
                let secrets = map.get_mut("tls_certificate_sds_secret_configs").and_then(Value::as_array_mut);
                for secret in secrets.into_iter().flatten() {
                    let name = secret["name"].as_str().expect("a name").to_owned();
                    let path = place("sds", &name);
                    write(
                        &path,
                        &[json!({
                            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                            "name": name,
                            "tls_certificate": {"certificate_chain": {"inline_string": certificate},
                                "private_key": {"inline_string": key}},
                        })],
                    );
                    secret["sds_config"] = source(&path);
                }
            });
        }
        for route in &self.routes {
            write(&place("rds", route["name"].as_str().expect("a name")), std::slice::from_ref(route));
        }
        for cluster in &mut self.clusters {
            // Names of a cluster do not resolve here, and nothing shall be asked.
            let path = place("eds", cluster["name"].as_str().expect("a name"));
            cluster["type"] = "EDS".into();
            cluster["eds_cluster_config"] = json!({"eds_config": source(&path)});
        }
        for endpoints in &self.endpoints {
            write(
                &place("eds", endpoints["cluster_name"].as_str().expect("a name")),
                std::slice::from_ref(endpoints),
            );
        }
        let (lds, cds) = (directory.join("lds.json"), directory.join("cds.json"));
        write(&lds, &self.listeners);
        write(&cds, &self.clusters);
        let bootstrap = json!({
            "node": self.node,
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "dynamic_resources": {"lds_config": source(&lds), "cds_config": source(&cds)},
        });
        let file = directory.join("bootstrap.json");
        std::fs::write(&file, bootstrap.to_string()).expect("a file");
        file
    }
}

/// A running Envoy; it ends when it is dropped.
struct Envoy {
    child: Child,
    admin: SocketAddr,
    directory: tempfile::TempDir,
}

impl Envoy {
    fn start(program: &Path, config: Config) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let bootstrap = config.write(directory.path());
        let address = directory.path().join("admin");
        let log = std::fs::File::create(directory.path().join("log")).expect("a file");
        let child = Command::new(program)
            .arg("--config-path")
            .arg(bootstrap)
            .arg("--admin-address-path")
            .arg(&address)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("envoy");
        let mut envoy = Self { child, admin: SocketAddr::from(([127, 0, 0, 1], 0)), directory };
        let patience = Instant::now() + Duration::from_secs(40);
        loop {
            let ended = envoy.child.try_wait().expect("envoy").is_some() || envoy.log().contains("rejected");
            assert!(!ended && Instant::now() < patience, "envoy is not ready: {}", envoy.log());
            let told = std::fs::read_to_string(&address).unwrap_or_default();
            if let Ok(admin) = told.trim().parse() {
                envoy.admin = admin;
                if envoy.ask("/ready").contains("LIVE\n") {
                    return envoy;
                }
            }
            std::thread::yield_now();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn ask(&self, path: &str) -> String {
        use std::io::Read as _;
        let Ok(mut stream) = std::net::TcpStream::connect(self.admin) else { return String::new() };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        // An Envoy that is not ready yet may close.
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gathers the installation with this Envoy in the place of its gateway proxy: the archive's files and
/// the codes of the findings.
fn gathered(
    fixture: &Fixture,
    pod: &str,
    envoy: &Envoy,
) -> (std::collections::BTreeMap<String, Vec<u8>>, Vec<String>) {
    let source = Memory(fixture.files());
    let bundle = load(&source).expect("a bundle");
    let cluster = Cluster::new(bundle, Arc::new(source));
    cluster.lead_to("gateway-system", pod, 15000, envoy.admin);
    let served = Served::cluster(&cluster, Arc::new(|_| None));
    let output = served.gather(&[]);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let archive = archive(&output, served.directory.path());
    let verified = program().arg("verify").arg(&archive).output().expect("the program");
    let files = files(&archive);
    assert_eq!(verified.status.code(), Some(0), "{}", text(&verified.stdout));
    let report = json_file(&files, "mcpgw/analysis/report.json");
    let codes = report["findings"].as_array().expect("findings").iter();
    let codes = codes.map(|finding| {
        format!(
            "{} {}",
            finding["code"].as_str().unwrap_or_default(),
            finding["title"].as_str().unwrap_or_default()
        )
    });
    (files, codes.collect())
}

fn parts() -> (Fixture, String) {
    let fixture = Fixture::healthy();
    let pod = fixture.pod_of("gateway-system", "mcp-gateway-istio");
    (fixture, pod)
}

#[test]
fn a_real_envoy_that_is_right_gives_no_finding() {
    let Some(program) = envoy() else { return };
    let (fixture, pod) = parts();
    let envoy = Envoy::start(&program, Config::of(&fixture, &pod));
    let (files, codes) = gathered(&fixture, &pod, &envoy);
    assert_eq!(codes, Vec::<String>::new(), "{}", envoy.log());
    for name in ["config_dump.json", "listeners.json", "clusters.json", "certs.json", "server_info.json"] {
        let answer = json_file(&files, &path::envoy("gateway-system", &pod, name));
        assert!(answer.as_object().is_some_and(|answer| !answer.is_empty()), "{name}: {answer}");
    }
    let file = |name: &str| text(&files[&path::envoy("gateway-system", &pod, name)]);
    assert_eq!(file("ready.txt"), "LIVE\n");
    assert!(file("stats.txt").contains("listener_manager.lds.update_success: 1\n"));
    assert!(file("server_info.json").contains("RELEASE/BoringSSL"), "a real one");
    let dump = file("config_dump.json");
    assert!(dump.contains("envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"));
    assert!(dump.contains("<redacted:code") && !dump.contains(&wasm()), "a module may hold anything");
    assert!(!dump.contains("BEGIN PRIVATE KEY") && !dump.contains("BEGIN EC PRIVATE"), "keys are redacted");
    let original = envoy.ask("/config_dump?include_eds");
    assert!(original.len() > dump.len() / 2, "{} bytes became {}", original.len(), dump.len());
}

#[test]
fn a_real_envoy_without_the_router_is_found() {
    let Some(program) = envoy() else { return };
    let (fixture, pod) = parts();
    let mut config = Config::of(&fixture, &pod);
    for listener in &mut config.listeners {
        each(listener, &mut |map| {
            if let Some(filters) = map.get_mut("http_filters").and_then(Value::as_array_mut) {
                filters.retain(|filter| !filter.to_string().contains("ExternalProcessor"));
            }
        });
    }
    let envoy = Envoy::start(&program, config);
    let (_, codes) = gathered(&fixture, &pod, &envoy);
    assert!(codes.iter().any(|code| code.starts_with("MG223 ")), "{codes:#?}");
}

#[test]
fn what_a_real_envoy_rejects_is_found() {
    let Some(program) = envoy() else { return };
    let (fixture, pod) = parts();
    let config = Config::of(&fixture, &pod);
    let envoy = Envoy::start(&program, config);
    // Envoy reads the next update, and does not take it: the time is out of bounds.
    let lds = envoy.directory.path().join("lds.json");
    let update = std::fs::read_to_string(&lds).expect("a file");
    let update = update.replace("\"message_timeout\":\"10s\"", "\"message_timeout\":\"86400s\"");
    std::fs::write(envoy.directory.path().join("next"), update).expect("a file");
    // Envoy looks again when a file is moved into the place.
    std::fs::rename(envoy.directory.path().join("next"), lds).expect("a file");
    let patience = Instant::now() + Duration::from_secs(40);
    while !envoy.ask("/stats?filter=lds.update_rejected").contains("lds.update_rejected: 1\n") {
        assert!(Instant::now() < patience, "{}", envoy.log());
        std::thread::yield_now();
    }
    let (_, codes) = gathered(&fixture, &pod, &envoy);
    let rejected = codes.iter().find(|code| code.starts_with("MG226 "));
    let rejected = rejected.unwrap_or_else(|| panic!("{codes:#?}"));
    assert!(rejected.contains("listener 0.0.0.0_8080: Proto constraint validation failed"), "{rejected}");
}

/// Changes what istiod sends, and says what must be found of it, as the beginnings of code and title.
fn found(change: impl FnOnce(&mut Config), expected: &[&str]) {
    let Some(program) = envoy() else { return };
    let (fixture, pod) = parts();
    let mut config = Config::of(&fixture, &pod);
    change(&mut config);
    let envoy = Envoy::start(&program, config);
    let (_, codes) = gathered(&fixture, &pod, &envoy);
    for begin in expected {
        assert!(
            codes.iter().any(|code| code.starts_with(begin)),
            "no {begin:?} in {codes:#?}\n{}",
            envoy.log()
        );
    }
    let known = |code: &String| expected.iter().any(|begin| code.starts_with(&begin[..6]));
    assert!(codes.iter().all(known), "only {expected:?} is expected: {codes:#?}");
}

/// The endpoints of the cluster through which Envoy asks the router.
fn of_router(config: &mut Config) -> &mut Value {
    let name =
        |e: &Value| e["cluster_name"].as_str().is_some_and(|n| n.starts_with("outbound|50051||mcp-gateway"));
    config.endpoints.iter_mut().find(|e| name(e)).expect("the router's endpoints")
}

#[test]
fn a_real_envoy_whose_router_is_unhealthy_is_found() {
    found(
        |config| {
            for group in of_router(config)["endpoints"].as_array_mut().expect("groups") {
                for endpoint in group["lb_endpoints"].as_array_mut().expect("endpoints") {
                    endpoint["health_status"] = "UNHEALTHY".into();
                }
            }
        },
        &["MG224 Proxy gateway-system/"],
    );
}

#[test]
fn a_real_envoy_whose_router_has_no_endpoint_is_found() {
    found(|config| of_router(config)["endpoints"] = json!([]), &["MG224 Proxy gateway-system/"]);
}

#[test]
fn a_real_envoy_with_two_routers_is_found() {
    found(
        |config| {
            for listener in &mut config.listeners {
                each(listener, &mut |map| {
                    if let Some(filters) = map.get_mut("http_filters").and_then(Value::as_array_mut) {
                        let router =
                            filters.iter().find(|f| f.to_string().contains("ExternalProcessor")).cloned();
                        filters.splice(0..0, router);
                    }
                });
            }
        },
        &["MG229 Proxy gateway-system/"],
    );
}

#[test]
fn a_real_envoy_without_a_route_or_a_cluster_is_found() {
    found(
        |config| {
            for route in &mut config.routes {
                let hosts = route["virtual_hosts"].as_array_mut().expect("virtual hosts");
                hosts.retain(|host| host["domains"][0] != "weather.mcp.local");
            }
            config.clusters.retain(|cluster| cluster["name"] != "kuadrant-auth-service");
        },
        &["MG228 HTTPRoute team-weather/weather", "MG814 AuthPolicy gateway-system/mcp-"],
    );
}

#[test]
fn a_real_envoy_without_the_listener_is_found() {
    found(|config| config.listeners.clear(), &["MG225 Proxy gateway-system/"]);
}
