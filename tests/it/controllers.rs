//! What the controllers do next: from specs and from what commands have done, the statuses and objects that a
//! cluster would have a while later.
//!
//! A status becomes healthy only where the specs let it: what the controllers refused before, they refuse again
//! ([`refused_again`]) while its cause is there.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use oc_mcpgw::demo::Installation;
use serde_json::{Value, json};

use crate::commands::Done;
use crate::fixture::Fixture;

/// Whether the kubelet, which tries again and again, can now start the pods of a Deployment: what a command made
/// is in their namespace, and is a Secret or a right of their account.
fn is_helped(fixture: &Fixture, done: &Done, deployment: &Value) -> bool {
    let namespace = deployment["metadata"]["namespace"].as_str().unwrap_or_default();
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let waits = fixture
        .installation
        .get("Pod", namespace, &fixture.pod_of(namespace, name))
        .is_some_and(|pod| pod["status"].to_string().contains("\"waiting\""));
    // Pods that were refused are made as soon as the quota allows them.
    let refused = deployment["status"].to_string().contains("exceeded quota");
    if refused && done.touched.iter().any(|(kind, of, _)| kind == "ResourceQuota" && of == namespace) {
        return true;
    }
    let made = |(kind, of, _): &(String, String, String)| {
        of == namespace && matches!(kind.as_str(), "Secret" | "rolebinding")
    };
    waits && done.touched.iter().any(made)
}

/// What the cluster makes of the objects: statuses and derived objects, and the logs of a later hour. Without
/// commands (`None`) nothing restarts, nothing that was deleted comes back and Envoy answers as before.
pub fn work(fixture: &mut Fixture, healthy: &Installation, done: Option<&Done>) {
    let (mut started, mut granted) = (BTreeSet::new(), false);
    if let Some(done) = done {
        managed(fixture, healthy, done);
        deployed(fixture, healthy, done);
        started = rollouts(fixture, healthy, done);
        granted = done.touched.iter().any(|(kind, ..)| kind.ends_with("rolebinding"));
    }
    statuses(fixture, healthy, &started, granted);
    let later: BTreeSet<String> = healthy
        .objects
        .iter()
        .filter(|o| o["kind"] == "Event")
        .map(|o| o["metadata"]["name"].to_string())
        .collect();
    fixture
        .installation
        .objects
        .retain(|o| o["kind"] != "Event" || later.contains(&o["metadata"]["name"].to_string()));
    fixture.installation.logs.clone_from(&healthy.logs);
    if done.is_some() {
        seen(fixture, healthy);
    }
    let pods: BTreeSet<(String, String)> = fixture
        .installation
        .objects
        .iter()
        .filter(|o| o["kind"] == "Pod")
        .map(identity)
        .map(|(_, namespace, name)| (namespace, name))
        .collect();
    fixture.installation.logs.retain(|l| pods.contains(&(l.namespace.clone(), l.pod.clone())));
    if done.is_some() {
        fixture.installation.objects.retain(|o| o["kind"] != "EndpointSlice");
        fixture.installation.apply("");
        fixture.installation.refresh_answers();
    }
}

/// The controller gives the brokers of extensions that it looks at the hosts that their specs want, else those of
/// before.
fn deployed(fixture: &mut Fixture, healthy: &Installation, done: &Done) {
    const HOSTS: [(&str, &str); 2] =
        [("--mcp-gateway-public-host", "publicHost"), ("--mcp-gateway-private-host", "privateHost")];
    let flags = |object: &Value| -> Vec<String> {
        let lists = ["/spec/template/spec/containers/0/command", "/spec/containers/0/command"];
        let words = lists.iter().find_map(|list| object.pointer(list)).and_then(Value::as_array).cloned();
        words.unwrap_or_default().iter().filter_map(|word| Some(word.as_str()?.to_owned())).collect()
    };
    for (_, namespace, name) in done.touched.iter().filter(|(kind, ..)| kind == "MCPGatewayExtension") {
        let Some(extension) = fixture.installation.get("MCPGatewayExtension", namespace, name).cloned()
        else {
            continue;
        };
        let before = healthy.get("Deployment", namespace, "mcp-gateway").map(flags).unwrap_or_default();
        for object in &mut fixture.installation.objects {
            if object["metadata"]["namespace"] != **namespace {
                continue;
            }
            for list in ["/spec/template/spec/containers/0/command", "/spec/containers/0/command"] {
                for word in object.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                    let of_flag = |word: &str, flag: &str| word.split('=').next() == Some(flag);
                    let host = HOSTS.iter().find(|(flag, _)| word.as_str().is_some_and(|w| of_flag(w, flag)));
                    let Some((flag, field)) = host else { continue };
                    let wanted = extension["spec"][*field].as_str().map(|host| format!("{flag}={host}"));
                    let kept = || before.iter().find(|word| of_flag(word, flag)).cloned();
                    if let Some(wanted) = wanted.or_else(kept) {
                        *word = json!(wanted);
                    }
                }
            }
        }
    }
}

/// The controller logs what it does about registrations that it has not seen before.
fn seen(fixture: &mut Fixture, healthy: &Installation) {
    let registrations: Vec<_> = fixture
        .installation
        .objects
        .iter()
        .filter(|o| o["kind"] == "MCPServerRegistration")
        .map(identity)
        .collect();
    let controller = fixture.pod_of("mcp-system", "mcp-gateway-controller");
    for (_, namespace, name) in registrations {
        if healthy.get("MCPServerRegistration", &namespace, &name).is_none() {
            let line = format!(
                "time=2026-09-14T10:29:00.000Z level=INFO msg=\"main reconcile logic starting for\" controller=mcpserverregistration \
                 namespace={namespace} name={name}\n"
            );
            fixture.installation.append_log("mcp-system", &controller, "mcp-controller", &line);
        }
    }
}

/// Whether a controller says what it said before, because the cause is still there.
fn refused_again(installation: &Installation, object: &Value, started: &BTreeSet<(String, String)>) -> bool {
    let (kind, namespace, name) = identity(object);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let said = object["status"].to_string();
    match kind.as_str() {
        "Gateway" => {
            let options = &object["spec"]["infrastructure"]["parametersRef"]["name"];
            let no_options =
                options.as_str().is_some_and(|o| installation.get("ConfigMap", &namespace, o).is_none());
            let of_it = |o: &&Value| {
                o["kind"] == "Service"
                    && o["metadata"]["namespace"] == *namespace
                    && o["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"] == *name
            };
            let unreachable = match installation.objects.iter().find(of_it) {
                Some(service) => {
                    service["spec"]["type"] == "LoadBalancer"
                        && list(&service["status"]["loadBalancer"]["ingress"]).is_empty()
                }
                // A deployment by hand names its Service.
                None => object["spec"]["addresses"].is_null(),
            };
            no_options || unreachable && said.contains("\"Programmed\"")
        }
        "HTTPRoute" => list(&object["spec"]["rules"]).iter().any(|rule| {
            let filters = list(&rule["filters"]);
            let backends = list(&rule["backendRefs"]);
            filters.iter().any(|f| f["type"] == "ExtensionRef")
                || backends.iter().any(|b| {
                    let kind = b["kind"].as_str().unwrap_or("Service");
                    let host = b["name"].as_str().is_some_and(|name| name.contains('.'));
                    !matches!(kind, "Service" | "Hostname") || (kind == "Service" && host)
                })
        }),
        "AuthPolicy" => {
            let restarted = started.iter().any(|(_, name)| name.starts_with("kuadrant-operator"));
            let section = &object["spec"]["targetRef"]["sectionName"];
            let attached = installation
                .objects
                .iter()
                .filter(|o| o["kind"] == "HTTPRoute")
                .flat_map(|o| list(&o["spec"]["parentRefs"]))
                .any(|parent| parent["sectionName"] == *section);
            said.contains("MissingDependency") && !restarted
                || section.is_string() && said.contains("not in the path") && !attached
        }
        "AuthConfig" => {
            let hosts = list(&object["spec"]["hosts"]);
            let others = installation.objects.iter().filter(|o| o["kind"] == "AuthConfig");
            said.contains("HostsNotLinked")
                && others
                    .filter(|o| identity(o) != (kind.clone(), namespace.clone(), name.clone()))
                    .any(|o| list(&o["spec"]["hosts"]).iter().any(|host| hosts.contains(host)))
        }
        _ => false,
    }
}

/// Controllers write statuses for the specs that are there; of Deployments those whose pods were started anew.
/// `granted` says whether a right was.
pub fn statuses(
    fixture: &mut Fixture,
    healthy: &Installation,
    started: &BTreeSet<(String, String)>,
    granted: bool,
) {
    let before = fixture.installation.clone();
    for object in &mut fixture.installation.objects {
        let (kind, namespace, name) = identity(object);
        if matches!(kind.as_str(), "Pod" | "ReplicaSet" | "Node" | "CustomResourceDefinition" | "Service") {
            continue;
        }
        if kind == "Deployment" && !started.contains(&(namespace.clone(), name.clone())) {
            continue;
        }
        let forbidden = !granted && object["status"].to_string().contains("is forbidden: User");
        if forbidden || refused_again(&before, object, started) {
            continue;
        }
        let same = healthy.get(&kind, &namespace, &name);
        let named = || healthy.objects.iter().find(|o| o["kind"] == *kind && o["metadata"]["name"] == *name);
        // What a person made is seen by the same controllers.
        let any = || {
            let of_people = matches!(kind.as_str(), "HTTPRoute" | "AuthPolicy");
            healthy.objects.iter().find(|o| of_people && o["kind"] == *kind)
        };
        let alike = same.or_else(named).or_else(any);
        let Some(status) = alike.and_then(|o| o.get("status")) else { continue };
        let generation = object["metadata"]["generation"].clone();
        let mut status = status.clone();
        observed(&mut status, &generation);
        match kind.as_str() {
            "HTTPRoute" => status["parents"] = parents(object, &status),
            "Gateway" => status["listeners"] = listeners(object, &status),
            "Deployment" => {
                let count = object["spec"]["replicas"].as_u64().unwrap_or(1);
                for field in ["replicas", "readyReplicas", "availableReplicas", "updatedReplicas"] {
                    status[field] = json!(count);
                }
            }
            _ => {}
        }
        object["status"] = status;
    }
}

/// An entry for each parentRef.
fn parents(route: &Value, status: &Value) -> Value {
    let template = &status["parents"][0];
    let entry = |parent: &Value| {
        let mut entry = template.clone();
        entry["parentRef"] = parent.clone();
        entry
    };
    route["spec"]["parentRefs"].as_array().into_iter().flatten().map(entry).collect()
}

/// An entry for each listener.
fn listeners(gateway: &Value, status: &Value) -> Value {
    let listeners = gateway["spec"]["listeners"].as_array().cloned().unwrap_or_default();
    let before = gateway["status"]["listeners"].as_array().cloned().unwrap_or_default();
    let known = status["listeners"].as_array().cloned().unwrap_or_default();
    let entry = |listener: &Value| {
        let known = match listener["protocol"].as_str() {
            Some("HTTP" | "HTTPS" | "TLS" | "TCP" | "UDP") => &known,
            // Nobody can serve it, however often the controller looks.
            _ => &before,
        };
        let template = known.last().cloned().unwrap_or_default();
        let mut entry = known.iter().find(|k| k["name"] == listener["name"]).cloned().unwrap_or(template);
        entry["name"] = listener["name"].clone();
        entry
    };
    listeners.iter().map(entry).collect()
}

/// What a controller owns and writes again when it is gone and something made it look.
fn managed(fixture: &mut Fixture, healthy: &Installation, done: &Done) {
    let installation = &mut fixture.installation;
    let looked = |kinds: &[&str]| done.touched.iter().any(|(kind, ..)| kinds.contains(&kind.as_str()));
    let label =
        |object: &Value, key: &str| object["metadata"]["labels"][key].as_str().unwrap_or_default().to_owned();
    let mut back = Vec::new();
    for object in &healthy.objects {
        let (kind, namespace, name) = identity(object);
        if installation.get(&kind, &namespace, &name).is_some() {
            continue;
        }
        let gateway = label(object, "gateway.networking.k8s.io/gateway-name");
        let of_gateway = |gateway: &str| installation.get("Gateway", &namespace, gateway).is_some();
        let extension = (
            label(object, "mcp.kuadrant.io/extension-namespace"),
            label(object, "mcp.kuadrant.io/extension-name"),
        );
        let is_back = match kind.as_str() {
            "EnvoyFilter" => {
                looked(&["MCPGatewayExtension", "EnvoyFilter", "Gateway", "clusterrolebinding"])
                    && installation
                        .get("MCPGatewayExtension", &extension.0, &extension.1)
                        .is_some_and(|e| e["spec"]["targetRef"]["namespace"] == *namespace)
            }
            "Service" if !gateway.is_empty() => {
                looked(&["Gateway", "Service", "ResourceQuota"]) && of_gateway(&gateway)
            }
            "Secret" => name == "mcp-gateway-config" && looked(&["Secret"]),
            "HTTPRoute" if name == "mcp-gateway-route" => {
                let writes = |o: &Value| {
                    o["kind"] == "MCPGatewayExtension" && o["spec"]["httpRouteManagement"] != "Disabled"
                };
                let mut here =
                    installation.objects.iter().filter(|o| o["metadata"]["namespace"] == *namespace);
                looked(&["MCPGatewayExtension", "HTTPRoute"]) && here.any(writes)
            }
            // A class that is known again deploys the proxy.
            _ => {
                let owner = object["metadata"]["ownerReferences"][0]["name"].as_str().unwrap_or_default();
                let of_proxy = healthy.objects.iter().any(|o| {
                    o["metadata"]["namespace"] == *namespace
                        && o["metadata"]["name"] == *owner
                        && !label(o, "gateway.networking.k8s.io/gateway-name").is_empty()
                });
                looked(&["Gateway"]) && (!gateway.is_empty() || of_proxy)
            }
        };
        if is_back {
            let mut object = object.clone();
            if name == "mcp-gateway-config" {
                object["data"]["config.yaml"] = json!(written(installation, &object));
            }
            back.push(object);
        }
    }
    installation.objects.extend(back);
    moved(installation, healthy, done);
    // The controller copies the Gateway's revision to its filter.
    let revisions: BTreeMap<(String, String), Value> = installation
        .objects
        .iter()
        .filter(|o| o["kind"] == "Gateway" && o["metadata"]["labels"]["istio.io/rev"].is_string())
        .map(|o| {
            let (_, namespace, name) = identity(o);
            ((namespace, name), o["metadata"]["labels"]["istio.io/rev"].clone())
        })
        .collect();
    for filter in installation.objects.iter_mut().filter(|o| o["kind"] == "EnvoyFilter") {
        let (_, namespace, _) = identity(filter);
        let selected =
            &filter["spec"]["workloadSelector"]["labels"]["gateway.networking.k8s.io/gateway-name"];
        let gateway = selected.as_str().unwrap_or_default().to_owned();
        if !label(filter, "mcp.kuadrant.io/extension-name").is_empty()
            && let Some(revision) = revisions.get(&(namespace, gateway))
        {
            filter["metadata"]["labels"]["istio.io/rev"] = revision.clone();
        }
    }
}

/// A registration that was moved or made again is written under its new name.
fn moved(installation: &mut Installation, healthy: &Installation, done: &Done) {
    for (_, namespace, name) in done.touched.iter().filter(|(kind, ..)| kind == "MCPServerRegistration") {
        let there = installation.get("MCPServerRegistration", namespace, name).is_some();
        if !there || healthy.get("MCPServerRegistration", namespace, name).is_some() {
            continue;
        }
        let registrations = installation.objects.iter().filter(|o| o["kind"] == "MCPServerRegistration");
        let registered: BTreeSet<(String, String)> =
            registrations.map(identity).map(|(_, namespace, name)| (namespace, name)).collect();
        let secrets = installation
            .objects
            .iter_mut()
            .filter(|o| o["kind"] == "Secret" && o["metadata"]["name"] == "mcp-gateway-config");
        for secret in secrets {
            let mut config = config(secret);
            for server in config["servers"].as_array_mut().into_iter().flatten() {
                let of = server["name"].as_str().and_then(|n| n.split_once('/')).unwrap_or_default();
                if of.1 == name && !registered.contains(&(of.0.to_owned(), of.1.to_owned())) {
                    server["name"] = json!(format!("{namespace}/{name}"));
                }
            }
            secret["data"]["config.yaml"] = json!(encoded(&config));
        }
    }
}

/// The config Secret's content with the servers that are registered.
fn written(installation: &Installation, secret: &Value) -> String {
    let mut config = config(secret);
    config["servers"].as_array_mut().expect("servers").retain(|server| {
        let (namespace, name) = server["name"].as_str().and_then(|n| n.split_once('/')).unwrap_or_default();
        installation.get("MCPServerRegistration", namespace, name).is_some()
    });
    encoded(&config)
}

fn config(secret: &Value) -> Value {
    let data = secret["data"]["config.yaml"].as_str().expect("data");
    let yaml = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
    serde_yaml::from_slice(&yaml).expect("YAML")
}

fn encoded(config: &Value) -> String {
    base64::engine::general_purpose::STANDARD.encode(config.to_string())
}

/// Pods of Deployments that were changed are new ones, as healthy as a new pod is.
fn rollouts(fixture: &mut Fixture, healthy: &Installation, done: &Done) -> BTreeSet<(String, String)> {
    let mut before = done.touched.clone();
    // A changed extension changes its broker.
    if before.iter().any(|(kind, ..)| kind == "MCPGatewayExtension") {
        before.push(("Deployment".to_owned(), "mcp-system".to_owned(), "mcp-gateway".to_owned()));
    }
    for deployment in fixture.installation.objects.iter().filter(|o| o["kind"] == "Deployment") {
        if is_helped(fixture, done, deployment) {
            before.push(identity(deployment));
        }
    }
    for (_, namespace, name) in before.iter().filter(|(kind, ..)| kind == "Deployment") {
        let first = fixture.installation.pod_of(namespace, name);
        let set = first.rsplit_once('-').expect("a pod's name").0.to_owned();
        fixture.installation.objects.retain(|object| {
            let of = object["metadata"]["namespace"] == **namespace
                && matches!(object["kind"].as_str(), Some("Pod" | "ReplicaSet"));
            !(of && object["metadata"]["name"].as_str().is_some_and(|n| n.starts_with(&set)))
        });
        // The pod has the same name as before, and with it the healthy one's log.
        let template =
            fixture.installation.get("Deployment", namespace, name).map(|d| d["spec"]["template"].clone());
        let same = healthy
            .get("Deployment", namespace, name)
            .is_some_and(|d| Some(&d["spec"]["template"]) == template.as_ref());
        if same {
            let kept = healthy.objects.iter().filter(|o| {
                matches!(o["kind"].as_str(), Some("Pod" | "ReplicaSet"))
                    && o["metadata"]["namespace"] == **namespace
                    && o["metadata"]["name"].as_str().is_some_and(|n| n.starts_with(&set))
            });
            let kept: Vec<Value> = kept.cloned().collect();
            fixture.installation.objects.extend(kept);
        }
    }
    fixture.installation.apply("");
    let of_deployments = before.into_iter().filter(|(kind, ..)| kind == "Deployment");
    of_deployments.map(|(_, namespace, name)| (namespace, name)).collect()
}

/// Every generation in a status becomes the present one.
fn observed(status: &mut Value, generation: &Value) {
    match status {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                if key == "observedGeneration" {
                    *value = generation.clone();
                } else {
                    observed(value, generation);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| observed(item, generation)),
        _ => {}
    }
}

/// Kind, namespace and name.
pub fn identity(object: &Value) -> (String, String, String) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}
