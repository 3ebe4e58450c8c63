//! What a person or another system does where no command of ours can: for each fault whose remedy ends outside the
//! objects, the state of the installation after somebody did what the remedy says.
//!
//! A row names the fault, a piece of the remedy's text that says so (the fix is what the report told, not what
//! this table wishes), and the steps. `remedies` tries every row: each step changes something, none is
//! superfluous, and after the last one nothing is wrong. A step reaches no further than it says: one Deployment's
//! pods, one object, one pod's log, one kind's statuses, the answers of one place.

use std::collections::BTreeSet;

use oc_mcpgw::demo::Installation;
use serde_json::Value;

use crate::controllers;
use crate::fixture::{Fixture, field};

/// One thing that is different after somebody did what the remedy says.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// The cause is gone and the Deployment (namespace, name) has new pods, which start, are ready and log well.
    Pods(&'static str, &'static str),
    /// A field (kind, namespace, name, pointer, JSON) has this value.
    Set(&'static str, &'static str, &'static str, &'static str, &'static str),
    /// Somebody applied a manifest.
    Applied(&'static str),
    /// Somebody installed what was missing, objects of these kinds.
    Installed(&'static [&'static str]),
    /// An hour later the pod of the Deployment (namespace, name) logs what a healthy one logs.
    Log(&'static str, &'static str),
    /// What answers in the files with this piece in their path (Envoy, a broker, a probe) answers by the objects
    /// that are there.
    Answers(&'static str),
    /// The controller of a kind looks again and writes the statuses of its objects, for the specs that are there.
    Reconciled(&'static str),
    /// The collection is made again by somebody who may read everything.
    Collected,
}

/// What was done about one fault.
#[derive(Debug, Clone, Copy)]
pub struct Fix {
    /// The fault's code and name.
    pub fault: (&'static str, &'static str),
    /// A piece of the text of a root's remedy.
    pub says: &'static str,
    /// What is different afterwards.
    pub steps: &'static [Step],
}

const fn fix(code: &'static str, name: &'static str, says: &'static str, steps: &'static [Step]) -> Fix {
    Fix { fault: (code, name), says, steps }
}

use Step::{Answers, Applied, Collected, Installed, Log, Pods, Reconciled, Set};

const BROKER: Step = Pods("mcp-system", "mcp-gateway");
const WEATHER: Step = Pods("team-weather", "weather");
const ISTIOD: Step = Pods("istio-system", "istiod");
/// The rule that the owner of the policy writes: each user has the roles of the tools.
const TOOL_ACCESS: Step = Set(
    "AuthPolicy",
    "gateway-system",
    "mcp-tool-access",
    "/spec/rules/authorization",
    r#"{"tool-access-check": {"patternMatching": {"patterns": [{"predicate": "('tool:' + request.headers['x-mcp-toolname']) in (has(auth.identity.resource_access) && auth.identity.resource_access.exists(p, p == request.headers['x-mcp-servername']) ? auth.identity.resource_access[request.headers['x-mcp-servername']].roles : [])"}]}}}"#,
);

/// The route that the policy of an otherwise unused listener was made for.
const ADMIN_ROUTE: &str = r"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: admin, namespace: gateway-system}
spec:
  hostnames: [admin.example.com]
  parentRefs:
  - {group: gateway.networking.k8s.io, kind: Gateway, name: mcp-gateway, namespace: gateway-system, sectionName: admin}
  rules:
  - matches: [{path: {type: PathPrefix, value: /}}]
    backendRefs: [{group: '', kind: Service, name: mcp-gateway-istio, port: 15021, weight: 1}]
";

/// Every fault that no printed command repairs.
pub const FIXES: &[Fix] = &[
    // The administrator of the cluster.
    fix("MG001", "the policies were not collected", "Collect again with an account", &[Collected]),
    fix("MG002", "a list was refused", "Collect again with an account", &[Collected]),
    fix(
        "MG003",
        "Istio not installed",
        "Install Istio",
        &[Installed(&["CustomResourceDefinition", "EnvoyFilter"])],
    ),
    fix(
        "MG003",
        "MCP gateway not installed",
        "Install the MCP gateway",
        &[Installed(&[
            "CustomResourceDefinition",
            "MCPGatewayExtension",
            "MCPVirtualServer",
            "MCPServerRegistration",
        ])],
    ),
    fix(
        "MG004",
        "old Kubernetes",
        "Upgrade the cluster",
        &[Set("Node", "", "worker-1", "/status/nodeInfo/kubeletVersion", "\"v1.34.1\"")],
    ),
    fix("MG005", "log from the future", "Repair time synchronisation", &[Log("team-weather", "weather")]),
    fix(
        "MG006",
        "operator failed",
        "Repair what the message names",
        &[Set("ClusterServiceVersion", "mcp-system", "mcp-gateway.v0.9.0", "/status/phase", "\"Succeeded\"")],
    ),
    fix(
        "MG109",
        "node under memory pressure",
        "Repair the node",
        &[Set("Node", "", "worker-2", "/status/conditions/0/status", "\"False\"")],
    ),
    fix(
        "MG204",
        "the load balancer gives no address",
        "Quota 'IN_USE_ADDRESSES' exceeded",
        &[
            Set(
                "Service",
                "gateway-system",
                "mcp-gateway-istio",
                "/status/loadBalancer",
                r#"{"ingress": [{"ip": "198.51.100.20", "ipMode": "VIP"}]}"#,
            ),
            Reconciled("Gateway"),
        ],
    ),
    // Who builds the image or the program.
    fix("MG101", "server image name invalid", "Correct the image name", &[WEATHER]),
    fix("MG102", "server crashes again and again", "last lines of the previous log", &[WEATHER]),
    fix("MG103", "no node for the server", "Add nodes or free memory", &[Pods("team-commerce", "orders")]),
    fix("MG104", "init container waits for ever", "log of the init container", &[WEATHER]),
    fix(
        "MG105",
        "liveness probe kills Authorino",
        "Give the probe more time",
        &[Pods("kuadrant-system", "authorino")],
    ),
    fix("MG106", "server does not become ready", "why the readiness probe fails", &[WEATHER]),
    fix(
        "MG108",
        "Istio missing when the controller starts",
        "Install Istio",
        &[Pods("mcp-system", "mcp-gateway-controller")],
    ),
    fix("MG108", "broker without session store", "Make the session store reachable", &[BROKER]),
    fix("MG108", "inotify limit, silently", "Raise fs.inotify.max_user_instances", &[BROKER]),
    fix(
        "MG208",
        "the proxy pod does not start",
        "Read the kubelet's message",
        &[Pods("gateway-system", "mcp-gateway-istio")],
    ),
    fix(
        "MG312",
        "the broker's image cannot be pulled",
        "Read the kubelet's message",
        &[BROKER, Reconciled("MCPGatewayExtension"), Reconciled("MCPServerRegistration")],
    ),
    fix("MG405", "the server's image cannot be pulled", "Read the kubelet's message", &[WEATHER]),
    fix("MG409", "the server is not ready", "Read the kubelet's message", &[WEATHER]),
    fix(
        "MG804",
        "operator crashes",
        "last lines of the previous log",
        &[Pods("kuadrant-system", "kuadrant-operator-controller-manager")],
    ),
    fix(
        "MG805",
        "Authorino crashes",
        "last lines of the previous log",
        &[Pods("kuadrant-system", "authorino")],
    ),
    fix(
        "MG811",
        "Limitador crashes",
        "last lines of the previous log",
        &[Pods("kuadrant-system", "limitador-limitador")],
    ),
    fix("MG209", "istiod is down", "Read the kubelet's message", &[ISTIOD]),
    fix(
        "MG209",
        "nobody accepts the GatewayClass",
        "Install or repair the control plane",
        &[
            Installed(&["ServiceAccount", "Deployment", "Service", "ReplicaSet", "Pod", "EndpointSlice"]),
            Reconciled("GatewayClass"),
            Reconciled("Gateway"),
            Reconciled("HTTPRoute"),
            Reconciled("MCPServerRegistration"),
            Log("gateway-system", "mcp-gateway-istio"),
            Answers("mcpgw/envoy/"),
        ],
    ),
    // Where there are several right ways, the owner chose one of them.
    fix(
        "MG211",
        "a backend of an unknown kind",
        "one backendRef",
        &[
            Set("HTTPRoute", "team-weather", "weather", "/spec/rules/0/backendRefs/0/kind", "\"Service\""),
            Reconciled("HTTPRoute"),
            Reconciled("MCPServerRegistration"),
        ],
    ),
    fix(
        "MG230",
        "shop on the same port",
        "to another port",
        &[Set("HTTPRoute", "shop", "web", "/spec/parentRefs/0/name", "\"shop-gateway\"")],
    ),
    fix(
        "MG421",
        "a tool without its prefix",
        "Write tools with the prefix",
        &[Set("MCPVirtualServer", "mcp-system", "shop-assistant", "/spec/tools/2", "\"inventory_stock\"")],
    ),
    fix(
        "MG606",
        "calls are refused, discovery is not",
        "Inject a credential for calls",
        &[Log("mcp-system", "mcp-gateway")],
    ),
    fix("MG801", "authorization rules removed", "Add authorization rules", &[TOOL_ACCESS]),
    fix("MG807", "always the same", "always true", &[TOOL_ACCESS]),
    fix("MG807", "metadata that no rule fetches", "no metadata rule", &[TOOL_ACCESS]),
    // The controllers, after what their message names is in order.
    fix(
        "MG808",
        "no route on the path",
        "attach the one that the policy should protect",
        &[
            Applied(ADMIN_ROUTE),
            Reconciled("HTTPRoute"),
            Reconciled("AuthPolicy"),
            Answers("/config_dump.json"),
        ],
    ),
    // The other side: a server, a name service, an identity server, a client.
    fix(
        "MG411",
        "the server has another path",
        "Check the path of the registration",
        &[Answers("mcp-initialize.team-weather.weather")],
    ),
    fix(
        "MG411",
        "the server is no MCP server",
        "MCP server of streamable HTTP",
        &[Answers("mcp-initialize.team-weather.weather")],
    ),
    fix(
        "MG411",
        "the server speaks an old protocol",
        "the server's MCP version",
        &[Answers("mcpgw/broker/")],
    ),
    fix(
        "MG709",
        "the running gateway's 401 has no header",
        "who answers with the 401",
        &[Answers("tools-list.mcp-system.mcp-gateway")],
    ),
    fix(
        "MG317",
        "a policy stops the router's own initialize",
        "pass the router's own initialize",
        &[Log("mcp-system", "mcp-gateway")],
    ),
    fix("MG417", "the server offers nothing", "offers nothing", &[Answers("mcpgw/broker/")]),
    fix(
        "MG218",
        "the host resolves to something else inside",
        "Correct the record",
        &[Answers("dns.mcp-system.mcp-gateway.mcp.example.com")],
    ),
    fix(
        "MG509",
        "the host does not resolve",
        "let the cluster's DNS resolve it",
        &[Answers("mcpgw/broker/"), Reconciled("MCPServerRegistration")],
    ),
    fix(
        "MG509",
        "the host does not resolve in the broker's pod",
        "let the cluster's DNS resolve it",
        &[Answers(".team-platform.tickets.tickets.vendor.example.")],
    ),
    fix(
        "MG510",
        "the host does not answer",
        "Open the way",
        &[Answers("mcpgw/broker/"), Reconciled("MCPServerRegistration")],
    ),
    fix(
        "MG510",
        "the host does not answer the gateway's pod",
        "Open the way",
        &[Answers("https.team-platform.tickets")],
    ),
    fix("MG708", "expired tokens", "Let the client renew its token", &[Log("kuadrant-system", "authorino")]),
    fix(
        "MG712",
        "tokens used for too long",
        "Let the client renew its token",
        &[Log("gateway-system", "mcp-gateway-istio")],
    ),
    fix("MG713", "signing key made anew", "start new sessions once", &[Log("mcp-system", "mcp-gateway")]),
    fix(
        "MG809",
        "tokens without roles",
        "Let the identity server put client roles",
        &[Log("gateway-system", "mcp-gateway-istio")],
    ),
    fix(
        "MG810",
        "issuer does not resolve",
        "Make the issuer reachable",
        &[Log("kuadrant-system", "authorino")],
    ),
    fix(
        "MG810",
        "issuer refuses Authorino's pod",
        "Make the issuer reachable",
        &[Answers("https.gateway-system.mcp-authentication")],
    ),
    fix("MG815", "user without role", "should have the role", &[Log("kuadrant-system", "authorino")]),
    // Envoy, after what its log or its answer names is in order.
    fix("MG224", "router drops all connections", "Make the broker's pod Ready", &[Answers("/clusters.json")]),
    fix(
        "MG225",
        "no listener on the port",
        "why the listener is not programmed",
        &[Answers("/config_dump.json")],
    ),
    fix(
        "MG226",
        "istiod logs a refusal",
        "Correct or remove what the error names",
        &[Log("istio-system", "istiod")],
    ),
    fix(
        "MG226",
        "listener update rejected",
        "Correct or remove what the error names",
        &[Answers("/config_dump.json")],
    ),
    fix(
        "MG235",
        "istiod is out of the proxy's reach",
        "Make istiod reachable",
        &[Log("gateway-system", "mcp-gateway-istio")],
    ),
    fix(
        "MG231",
        "timeouts of one server",
        "Repair what stands behind cluster",
        &[Log("gateway-system", "mcp-gateway-istio")],
    ),
    fix(
        "MG703",
        "metadata answered with 404",
        "Let the rule lead to Service mcp-gateway",
        &[Answers("oauth-metadata.mcp-system.mcp-gateway")],
    ),
    fix("MG814", "auth cluster gone", "Kuadrant operator's log", &[Answers("/config_dump.json")]),
];

/// Takes one step in an installation that was healthy like this one.
#[must_use]
pub fn take(step: Step, mut fixture: Fixture, healthy: &Installation) -> Fixture {
    let installation = &mut fixture.installation;
    match step {
        Pods(namespace, deployment) => {
            let pod = healthy.pod_of(namespace, deployment);
            let set = pod.rsplit_once('-').expect("a pod's name").0;
            let of_them = |object: &Value| {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                object["metadata"]["namespace"] == namespace
                    && matches!(object["kind"].as_str(), Some("Pod" | "ReplicaSet" | "Event"))
                    && name.starts_with(set)
            };
            installation.objects.retain(|object| !of_them(object));
            installation.objects.extend(healthy.objects.iter().filter(|o| of_them(o)).cloned());
            let status =
                healthy.get("Deployment", namespace, deployment).expect("a Deployment")["status"].clone();
            let there = installation.get_mut("Deployment", namespace, deployment);
            *field(there.expect("the Deployment"), "/status") = status;
            installation.logs.retain(|log| log.namespace != namespace || log.pod != pod);
            let logs = healthy.logs.iter().filter(|log| log.namespace == namespace && log.pod == pod);
            installation.logs.extend(logs.cloned());
            // The endpoints follow the pods.
            installation.objects.retain(|object| {
                object["kind"] != "EndpointSlice" || object["metadata"]["namespace"] != namespace
            });
            installation.apply("");
        }
        Set(kind, namespace, name, pointer, value) => {
            let value = serde_json::from_str(value).expect("JSON");
            *field(installation.get_mut(kind, namespace, name).expect("an object to change"), pointer) =
                value;
        }
        Applied(yaml) => installation.apply(yaml),
        Installed(kinds) => {
            let missing: Vec<Value> = healthy
                .objects
                .iter()
                .filter(|object| kinds.iter().any(|kind| object["kind"] == **kind))
                .filter(|object| {
                    let (kind, namespace, name) = controllers::identity(object);
                    installation.get(&kind, &namespace, &name).is_none()
                })
                .cloned()
                .collect();
            installation.objects.extend(missing);
        }
        Log(namespace, deployment) => {
            let pod = healthy.pod_of(namespace, deployment);
            installation.logs.retain(|log| log.namespace != namespace || log.pod != pod);
            let logs = healthy.logs.iter().filter(|log| log.namespace == namespace && log.pod == pod);
            installation.logs.extend(logs.cloned());
        }
        Answers(of) => {
            let mut all = installation.clone();
            all.refresh_answers();
            installation.extras.retain(|(path, _)| !path.contains(of));
            installation.extras.extend(all.extras.into_iter().filter(|(path, _)| path.contains(of)));
        }
        Reconciled(kind) => {
            let mut all = fixture.clone();
            controllers::statuses(&mut all, healthy, &BTreeSet::new(), false);
            let others = fixture.installation.objects.iter_mut().zip(all.installation.objects);
            for (object, written) in others.filter(|(object, _)| object["kind"] == kind) {
                *object = written;
            }
        }
        Collected => fixture = Fixture::from(fixture.installation),
    }
    fixture
}
