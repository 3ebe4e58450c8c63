//! What the running parts of an installation answer: Envoy's admin port for each gateway proxy, the
//! broker's status. Derived from the objects, the way istiod and the controller derive it.

use std::collections::BTreeMap;

use base64::Engine as _;
use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::{Installation, identity};
use crate::archive::path;
use crate::model::Object;
use crate::model::workloads::{Component, components};

/// The answers of every gateway proxy and of every broker: path in an archive, content.
pub(super) fn answers(installation: &Installation) -> Vec<(String, Vec<u8>)> {
    let mut answers = Vec::new();
    for gateway in installation.objects.iter().filter(|o| identity(o).0 == "Gateway") {
        let (_, namespace, name) = identity(gateway);
        let label = "/metadata/labels/gateway.networking.k8s.io~1gateway-name";
        for pod in pods(installation, namespace, |p| p.pointer(label).is_some_and(|l| l == name)) {
            let proxy = Proxy { installation, gateway, pod };
            for (file, content) in proxy.answers() {
                answers.push((path::envoy(namespace, identity(pod).2, file), content));
            }
        }
    }
    let broker = "/metadata/labels/app.kubernetes.io~1managed-by";
    for pod in installation.objects.iter().filter(|o| {
        identity(o).0 == "Pod"
            && o.pointer(broker).is_some_and(|l| l == "mcp-gateway-controller")
            && super::workloads::is_ready(o)
    }) {
        let (_, namespace, name) = identity(pod);
        let status = broker_status(installation, namespace);
        answers.push((path::broker(namespace, name, "status.json"), pretty(&status)));
        answers.push((path::broker(namespace, name, "healthz.txt"), b"ok\n".to_vec()));
    }
    for pod in installation.objects.iter().filter(|o| identity(o).0 == "Pod" && super::workloads::is_ready(o))
    {
        let (_, namespace, name) = identity(pod);
        let object = Object::new(pod.clone(), "pod".into(), None);
        let part = match object.as_ref().and_then(components::of_pod) {
            Some(Component::Controller) => "controller",
            Some(Component::Authorino) => "authorino",
            _ => continue,
        };
        for (file, content) in [("healthz.txt", "ok"), ("readyz.txt", "ok"), ("metrics.txt", METRICS)] {
            let file = path::component(part, namespace, name, file);
            answers.push((file, content.as_bytes().to_vec()));
        }
    }
    answers
}

/// A few of the numbers of every controller-runtime.
const METRICS: &str = "\
# HELP controller_runtime_reconcile_errors_total Total number of reconciliation errors per controller
# TYPE controller_runtime_reconcile_errors_total counter
controller_runtime_reconcile_errors_total{controller=\"main\"} 0
workqueue_depth{controller=\"main\",name=\"main\",priority=\"\"} 0
";

/// One proxy of a Gateway.
struct Proxy<'a> {
    installation: &'a Installation,
    gateway: &'a Value,
    pod: &'a Value,
}

impl Proxy<'_> {
    fn answers(&self) -> [(&'static str, Vec<u8>); 7] {
        let clusters = self.clusters();
        let dump = json!({"configs": [
            self.bootstrap(),
            self.cluster_dump(&clusters),
            self.endpoint_dump(&clusters),
            self.listener_dump(),
            {"@type": admin("ScopedRoutesConfigDump")},
            self.route_dump(),
            {"@type": admin("SecretsConfigDump")},
        ]});
        [
            ("config_dump.json", pretty(&dump)),
            ("listeners.json", pretty(&self.listener_statuses())),
            ("clusters.json", pretty(&self.cluster_statuses(&clusters))),
            ("stats.txt", STATS.as_bytes().to_vec()),
            ("certs.json", pretty(&json!({"certificates": []}))),
            ("server_info.json", pretty(&self.server_info())),
            ("ready.txt", b"LIVE\n".to_vec()),
        ]
    }

    fn name(&self) -> &str {
        identity(self.gateway).2
    }

    fn namespace(&self) -> &str {
        identity(self.gateway).1
    }

    fn version(&self) -> String {
        let time = self.installation.time - chrono::Duration::hours(3);
        format!("{}/41", time.to_rfc3339_opts(SecondsFormat::Secs, true))
    }

    fn updated(&self) -> String {
        (self.installation.time - chrono::Duration::hours(3)).to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    fn node(&self) -> Value {
        let (_, namespace, pod) = identity(self.pod);
        let ip = self.pod.pointer("/status/podIP").and_then(Value::as_str).unwrap_or_default();
        let image = self.pod.pointer("/spec/containers/0/image").and_then(Value::as_str).unwrap_or_default();
        json!({
            "id": format!("router~{ip}~{pod}.{namespace}~{namespace}.svc.cluster.local"),
            "cluster": format!("{}.{namespace}", identity(self.gateway).2),
            "metadata": {
                "NAMESPACE": namespace,
                "NAME": pod,
                "LABELS": self.pod.pointer("/metadata/labels"),
                "ISTIO_VERSION": image.rsplit(':').next(),
                "CLUSTER_ID": "Kubernetes",
            },
        })
    }

    fn bootstrap(&self) -> Value {
        json!({
            "@type": admin("BootstrapConfigDump"),
            "bootstrap": {
                "node": self.node(),
                "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": [
                    {"prefix": "cluster_manager"}, {"prefix": "listener_manager"}, {"prefix": "server"},
                    {"prefix": "cluster.xds-grpc"}, {"prefix": "wasm"},
                ]}}},
            },
            "last_updated": self.updated(),
        })
    }

    fn server_info(&self) -> Value {
        json!({"version": "demo/1.37.0/Clean/RELEASE/BoringSSL", "state": "LIVE", "hot_restart_version": "disabled",
            "uptime_current_epoch": "187794s", "uptime_all_epochs": "187794s", "node": self.node()})
    }

    /// The ports of the listeners, each with its listeners.
    fn ports(&self) -> BTreeMap<u64, Vec<&Value>> {
        let mut ports: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
        for listener in items(self.gateway, "/spec/listeners") {
            ports.entry(listener["port"].as_u64().unwrap_or_default()).or_default().push(listener);
        }
        ports
    }

    fn listener_statuses(&self) -> Value {
        let statuses = self
            .ports()
            .into_keys()
            .map(|port| json!({"name": format!("0.0.0.0_{port}"), "local_address": socket("0.0.0.0", port)}));
        json!({"listener_statuses": statuses.collect::<Vec<_>>()})
    }

    fn listener_dump(&self) -> Value {
        let listeners: Vec<Value> = self
            .ports()
            .into_iter()
            .map(|(port, listeners)| {
                let chains: Vec<Value> = if listeners.iter().all(|l| l["protocol"] == "HTTP") {
                    vec![json!({"filters": [self.connection_manager(port, &format!("http.{port}"))]})]
                } else {
                    listeners.iter().map(|listener| self.tls_chain(port, listener)).collect()
                };
                json!({
                    "name": format!("0.0.0.0_{port}"),
                    "active_state": {
                        "version_info": self.version(),
                        "listener": {
                            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
                            "name": format!("0.0.0.0_{port}"),
                            "address": socket("0.0.0.0", port),
                            "filter_chains": chains,
                        },
                        "last_updated": self.updated(),
                    },
                })
            })
            .collect();
        json!({"@type": admin("ListenersConfigDump"), "version_info": self.version(), "dynamic_listeners": listeners})
    }

    fn tls_chain(&self, port: u64, listener: &Value) -> Value {
        let secret =
            listener.pointer("/tls/certificateRefs/0/name").and_then(Value::as_str).unwrap_or_default();
        let name = listener["name"].as_str().unwrap_or_default();
        let route = format!(
            "https.{port}.{name}.{}-istio-autogenerated-k8s-gateway-{name}.{}",
            self.name(),
            self.namespace()
        );
        let mut chain = json!({
            "filters": [self.connection_manager(port, &route)],
            "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": format!("kubernetes-gateway://{}/{secret}", self.namespace())}]},
            }},
        });
        if let Some(host) = listener.get("hostname") {
            chain["filter_chain_match"] = json!({"server_names": [host]});
        }
        chain
    }

    fn connection_manager(&self, port: u64, route: &str) -> Value {
        json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": format!("outbound_0.0.0.0_{port}"),
                "rds": {"config_source": {"ads": {}, "resource_api_version": "V3"}, "route_config_name": route},
                "http_filters": self.http_filters(port),
            },
        })
    }

    /// The filters that EnvoyFilters of the proxy's namespace insert, and the router.
    fn http_filters(&self, port: u64) -> Vec<Value> {
        let mut first = Vec::new();
        let mut before_router = Vec::new();
        let filters = self.installation.objects.iter().filter(|o| {
            let (kind, namespace, _) = identity(o);
            kind == "EnvoyFilter" && namespace == self.namespace() && self.is_selected(o)
        });
        for patch in
            filters.flat_map(|f| items(f, "/spec/configPatches")).filter(|p| p["applyTo"] == "HTTP_FILTER")
        {
            let on_port = patch.pointer("/match/listener/portNumber").and_then(Value::as_u64);
            if on_port.is_some_and(|p| p != port) {
                continue;
            }
            let filter = patch.pointer("/patch/value").cloned().unwrap_or_default();
            if patch.pointer("/patch/operation").is_some_and(|o| o == "INSERT_FIRST") {
                first.push(filter);
            } else {
                before_router.push(filter);
            }
        }
        first.extend(before_router);
        first.push(json!({"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}));
        first
    }

    fn is_selected(&self, filter: &Value) -> bool {
        if filter.pointer("/spec/targetRefs").is_some() {
            return items(filter, "/spec/targetRefs")
                .any(|t| t["kind"] == "Gateway" && t["name"] == self.name());
        }
        let labels = filter.pointer("/spec/workloadSelector/labels").and_then(Value::as_object);
        labels.is_none_or(|l| {
            l.iter().all(|(key, value)| self.pod["metadata"]["labels"].get(key) == Some(value))
        })
    }

    fn route_dump(&self) -> Value {
        let configs: Vec<Value> = self
            .ports()
            .into_iter()
            .flat_map(|(port, listeners)| {
                let (plain, tls): (Vec<&Value>, Vec<&Value>) =
                    listeners.into_iter().partition(|l| l["protocol"] == "HTTP");
                let mut configs: Vec<(String, Vec<&Value>)> = tls
                    .into_iter()
                    .map(|listener| {
                        let name = listener["name"].as_str().unwrap_or_default();
                        let of = format!(
                            "https.{port}.{name}.{}-istio-autogenerated-k8s-gateway-{name}.{}",
                            self.name(),
                            self.namespace()
                        );
                        (of, vec![listener])
                    })
                    .collect();
                if !plain.is_empty() {
                    configs.push((format!("http.{port}"), plain));
                }
                configs
                    .into_iter()
                    .map(move |(name, listeners)| self.route_config(port, &name, &listeners))
                    .collect::<Vec<_>>()
            })
            .collect();
        json!({"@type": admin("RoutesConfigDump"), "dynamic_route_configs": configs})
    }

    fn route_config(&self, port: u64, name: &str, listeners: &[&Value]) -> Value {
        let mut hosts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for route in self.installation.objects.iter().filter(|o| identity(o).0 == "HTTPRoute") {
            let attached = items(route, "/status/parents").any(|parent| {
                parent.pointer("/parentRef/name").is_some_and(|n| n == self.name())
                    && parent
                        .pointer("/parentRef/namespace")
                        .and_then(Value::as_str)
                        .unwrap_or(identity(route).1)
                        == self.namespace()
                    && items(parent, "/conditions").any(|c| c["type"] == "Accepted" && c["status"] == "True")
                    && parent
                        .pointer("/parentRef/sectionName")
                        .is_none_or(|s| listeners.iter().any(|l| l["name"] == *s))
            });
            if attached {
                // A route without hostnames has those of its listeners.
                let own: Vec<&str> = items(route, "/spec/hostnames").filter_map(Value::as_str).collect();
                let of_listeners =
                    || listeners.iter().map(|l| l["hostname"].as_str().unwrap_or("*")).collect();
                for host in if own.is_empty() { of_listeners() } else { own } {
                    hosts.entry(host.to_owned()).or_default().extend(envoy_routes(route));
                }
            }
        }
        let virtual_hosts: Vec<Value> = hosts
            .into_iter()
            .map(|(host, routes)| json!({"name": format!("{host}:{port}"), "domains": [host], "routes": routes, "include_request_attempt_count": true}))
            .collect();
        json!({
            "version_info": self.version(),
            "route_config": {
                "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
                "name": name, "virtual_hosts": virtual_hosts, "validate_clusters": false,
            },
            "last_updated": self.updated(),
        })
    }

    /// Every cluster with its endpoints.
    fn clusters(&self) -> Vec<Cluster> {
        let mut clusters = Vec::new();
        for service in self.installation.objects.iter().filter(|o| identity(o).0 == "Service") {
            let (_, namespace, name) = identity(service);
            let slices: Vec<&Value> = self
                .installation
                .objects
                .iter()
                .filter(|o| {
                    identity(o).0 == "EndpointSlice"
                        && identity(o).1 == namespace
                        && o.pointer("/metadata/labels/kubernetes.io~1service-name")
                            .is_some_and(|l| l == name)
                })
                .collect();
            for port in items(service, "/spec/ports") {
                let hosts = slices
                    .iter()
                    .flat_map(|slice| {
                        let target = items(slice, "/ports")
                            .find(|p| p["name"] == port["name"])
                            .and_then(|p| p["port"].as_u64());
                        items(slice, "/endpoints")
                            .filter(|e| e.pointer("/conditions/ready").is_none_or(|r| r == true))
                            .filter_map(move |e| {
                                Some((e.pointer("/addresses/0")?.as_str()?.to_owned(), target?))
                            })
                    })
                    .collect();
                clusters.push(Cluster {
                    name: format!("outbound|{}||{name}.{namespace}.svc.cluster.local", port["port"]),
                    hosts,
                    sni: None,
                });
            }
        }
        for entry in self.installation.objects.iter().filter(|o| identity(o).0 == "ServiceEntry") {
            for host in items(entry, "/spec/hosts").filter_map(Value::as_str) {
                let tls = self
                    .installation
                    .objects
                    .iter()
                    .find(|o| identity(o).0 == "DestinationRule" && o["spec"]["host"] == host);
                let sni = tls
                    .and_then(|rule| rule.pointer("/spec/trafficPolicy/tls/sni"))
                    .and_then(Value::as_str)
                    .map(str::to_owned);
                for port in items(entry, "/spec/ports") {
                    let number = port["number"].as_u64().unwrap_or_default();
                    clusters.push(Cluster {
                        name: format!("outbound|{number}||{host}"),
                        hosts: vec![("198.51.100.77".to_owned(), number)],
                        sni: sni.clone(),
                    });
                }
            }
        }
        for patch in self
            .installation
            .objects
            .iter()
            .filter(|o| {
                identity(o).0 == "EnvoyFilter" && identity(o).1 == self.namespace() && self.is_selected(o)
            })
            .flat_map(|f| items(f, "/spec/configPatches"))
            .filter(|p| p["applyTo"] == "CLUSTER")
        {
            let address =
                "/patch/value/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
            let Some(name) = patch.pointer("/patch/value/name").and_then(Value::as_str) else { continue };
            let Some(socket) = patch.pointer(address) else { continue };
            let service = socket["address"].as_str().unwrap_or_default();
            let port = socket["port_value"].as_u64().unwrap_or_default();
            let same = clusters.iter().find(|c| c.name == format!("outbound|{port}||{service}"));
            let hosts = same.map(|c| c.hosts.clone()).unwrap_or_default();
            clusters.push(Cluster { name: name.to_owned(), hosts, sni: None });
        }
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        clusters
    }

    fn cluster_dump(&self, clusters: &[Cluster]) -> Value {
        let active: Vec<Value> = clusters
            .iter()
            .map(|cluster| {
                let mut config = json!({
                    "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                    "name": cluster.name,
                    "type": if cluster.name.contains('|') { "EDS" } else { "STRICT_DNS" },
                    "connect_timeout": "10s",
                });
                if let Some(sni) = &cluster.sni {
                    config["transport_socket"] = json!({"name": "envoy.transport_sockets.tls", "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": sni}});
                }
                json!({"version_info": self.version(), "cluster": config, "last_updated": self.updated()})
            })
            .collect();
        json!({"@type": admin("ClustersConfigDump"), "version_info": self.version(), "dynamic_active_clusters": active})
    }

    fn endpoint_dump(&self, clusters: &[Cluster]) -> Value {
        let configs: Vec<Value> = clusters
            .iter()
            .map(|cluster| {
                let hosts: Vec<Value> = cluster
                    .hosts
                    .iter()
                    .map(|(ip, port)| json!({"endpoint": {"address": socket(ip, *port)}, "health_status": "HEALTHY", "load_balancing_weight": 1}))
                    .collect();
                json!({"endpoint_config": {
                    "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
                    "cluster_name": cluster.name, "endpoints": [{"locality": {}, "lb_endpoints": hosts}]}})
            })
            .collect();
        json!({"@type": admin("EndpointsConfigDump"), "dynamic_endpoint_configs": configs})
    }

    fn cluster_statuses(&self, clusters: &[Cluster]) -> Value {
        let statuses: Vec<Value> = clusters
            .iter()
            .map(|cluster| {
                let hosts: Vec<Value> = cluster
                    .hosts
                    .iter()
                    .map(|(ip, port)| {
                        json!({
                            "address": socket(ip, *port),
                            "stats": [
                                {"name": "cx_connect_fail"}, {"name": "cx_total", "value": "4"}, {"name": "rq_error"},
                                {"name": "rq_success", "value": "212"}, {"name": "rq_timeout"}, {"name": "rq_total", "value": "212"},
                                {"type": "GAUGE", "name": "cx_active", "value": "1"}, {"type": "GAUGE", "name": "rq_active"},
                            ],
                            "health_status": {"eds_health_status": "HEALTHY"},
                            "weight": 1,
                        })
                    })
                    .collect();
                json!({"name": cluster.name, "added_via_api": true, "host_statuses": hosts})
            })
            .collect();
        json!({"cluster_statuses": statuses})
    }
}

/// A cluster of Envoy.
struct Cluster {
    name: String,
    hosts: Vec<(String, u64)>,
    sni: Option<String>,
}

/// The routes of Envoy for the rules of an HTTPRoute.
fn envoy_routes(route: &Value) -> Vec<Value> {
    let (_, namespace, name) = identity(route);
    let mut routes = Vec::new();
    for (number, rule) in items(route, "/spec/rules").enumerate() {
        let backend = rule.pointer("/backendRefs/0").cloned().unwrap_or_default();
        let of = backend["namespace"].as_str().unwrap_or(namespace);
        let host = backend["name"].as_str().unwrap_or_default();
        let target = if backend["kind"] == "Hostname" {
            host.to_owned()
        } else {
            format!("{host}.{of}.svc.cluster.local")
        };
        let mut action =
            json!({"cluster": format!("outbound|{}||{target}", backend["port"]), "timeout": "0s"});
        if let Some(rewrite) = items(rule, "/filters").find_map(|f| f.pointer("/urlRewrite/hostname")) {
            action["host_rewrite_literal"] = rewrite.clone();
        }
        let mut matches: Vec<Value> = items(rule, "/matches").map(|m| m["path"]["value"].clone()).collect();
        if matches.is_empty() {
            matches.push(json!("/"));
        }
        for prefix in matches {
            let key = if prefix == "/" { "prefix" } else { "path_separated_prefix" };
            routes.push(json!({
                "name": format!("{namespace}.{name}.{number}"),
                "match": {key: prefix, "case_sensitive": true},
                "route": action,
                "metadata": {"filter_metadata": {"istio": {
                    "config": format!("/apis/networking.istio.io/v1/namespaces/{namespace}/virtual-service/{name}-0-istio-autogenerated-k8s-gateway")}}},
            }));
        }
    }
    routes
}

/// The broker's `/status`: every server of its config Secret is ready.
fn broker_status(installation: &Installation, namespace: &str) -> Value {
    let config = installation
        .get("Secret", namespace, "mcp-gateway-config")
        .and_then(|secret| secret.pointer("/data/config.yaml"))
        .and_then(Value::as_str)
        .and_then(|data| base64::engine::general_purpose::STANDARD.decode(data).ok())
        .and_then(|yaml| serde_yaml::from_slice::<Value>(&yaml).ok())
        .unwrap_or_default();
    let time = installation.time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let servers: Vec<Value> = items(&config, "/servers")
        .map(|server| {
            let text = |key: &str| server[key].as_str().unwrap_or_default();
            json!({
                "id": format!("{}:{}:{}", text("name"), text("prefix"), text("hostname")),
                "name": text("name"), "lastValidated": time, "message": "server is ready", "ready": true,
                "totalTools": 4, "totalPrompts": 0, "invalidTools": 0, "invalidPrompts": 0,
                "protocolValidation": {"isValid": true, "supportedVersion": "2025-11-25", "expectedVersion": "2025-11-25"},
            })
        })
        .collect();
    let count = servers.len();
    json!({"servers": servers, "overallValid": true, "totalServers": count, "healthyServers": count, "unHealthyServers": 0,
        "toolConflicts": 0, "timestamp": time, "scopedSessions": 0})
}

fn pods<'a>(
    installation: &'a Installation,
    namespace: &'a str,
    wanted: impl Fn(&Value) -> bool + 'a,
) -> impl Iterator<Item = &'a Value> {
    installation
        .objects
        .iter()
        .filter(move |o| identity(o).0 == "Pod" && identity(o).1 == namespace && wanted(o))
}

fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter()
}

fn socket(address: &str, port: u64) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

fn admin(section: &str) -> String {
    format!("type.googleapis.com/envoy.admin.v3.{section}")
}

fn pretty(value: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("bug: a JSON value is always valid JSON")
}

/// The few counters that Istio's proxies keep.
const STATS: &str = "\
cluster_manager.cds.update_rejected: 0
cluster_manager.cds.update_success: 41
cluster_manager.warming_clusters: 0
listener_manager.lds.update_rejected: 0
listener_manager.lds.update_success: 12
listener_manager.listener_create_failure: 0
listener_manager.total_listeners_active: 3
listener_manager.total_listeners_warming: 0
cluster.xds-grpc.upstream_cx_active: 1
server.live: 1
server.state: 0
server.uptime: 187794
";
