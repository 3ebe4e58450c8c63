//! MG509-MG511: whether servers outside the cluster can be reached.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::External;
use crate::declare_rule;
use crate::model::istio::visibility::{host_matches, is_visible};
use crate::model::json::Value;
use crate::model::logs::ErrorClass;
use crate::model::mcp::Id;
use crate::model::network::{Direction, Peer, Port, forbidding};
use crate::model::probes::{Fault, Purpose, Recorded};
use crate::model::{Object, kinds};
use crate::rules::registrations::{Failure, failures};
use crate::rules::{Context, Findings, Rule, remedy};
use crate::shell::{Command, shell};

/// The failures of servers outside the cluster, with what leads to them.
fn failing<'c, 'a>(
    context: &'c Context<'a>,
    wanted: fn(ErrorClass) -> bool,
) -> Vec<(External<'a>, Failure<'c, 'a>)> {
    let all = context.externals();
    let mut of_server: HashMap<Id<'_>, Vec<usize>> = HashMap::new();
    for (at, external) in all.iter().enumerate() {
        for registration in &external.registrations {
            of_server.entry((registration.namespace(), registration.name())).or_default().push(at);
        }
    }
    let mut taken = vec![false; all.len()];
    failures(context)
        .into_iter()
        .filter(|failure| wanted(failure.class))
        .filter_map(|failure| {
            let server = failure.registration.object;
            let mut ways = of_server.get(&(server.namespace(), server.name()))?.iter().copied();
            let at = ways.find(|&at| !taken[at])?;
            taken[at] = true;
            Some((all[at].clone(), failure))
        })
        .collect()
}

/// The servers outside the cluster that could not be resolved (or reached) when that was tried from
/// inside an existing pod, and of which the broker has not said so itself.
fn probed<'c, 'a>(
    context: &'c Context<'a>,
    purpose: Purpose,
    said: &[&Object],
) -> Vec<(External<'a>, &'c Recorded<'a>)> {
    let mut failed: HashMap<&str, &Recorded<'_>> = HashMap::new();
    for recorded in context.probes() {
        let probe = &recorded.probe;
        if probe.purpose == purpose && probe.error.as_ref().is_some_and(Fault::is_evidence) {
            failed.entry(&probe.request.host).or_insert(recorded);
        }
    }
    let said: HashSet<Id<'_>> = said.iter().map(|object| (object.namespace(), object.name())).collect();
    let is_said = |external: &External<'_>| {
        external.registrations.iter().any(|server| said.contains(&(server.namespace(), server.name())))
    };
    let others = context.externals().iter().filter(|external| !is_said(external));
    others.filter_map(|external| Some((external.clone(), *failed.get(external.backend.name)?))).collect()
}

/// The question of a probe once more, for the program that was asked. What the bundle says was run is not repeated:
/// a bundle is not to put commands into a pod.
fn question(program: &str, host: &str, port: &str) -> Command {
    let url = format!("https://{host}{port}/");
    match program {
        "getent" => shell!("getent ahosts {}", host),
        "nslookup" => shell!("nslookup {}", host),
        "wget" => shell!("wget -S -O /dev/null -T 8 {}", url),
        "pilot-agent" => shell!("pilot-agent wait --timeoutSeconds 1 --url {}", url),
        _ => shell!("curl -sSv -o /dev/null --max-time 10 {}", url),
    }
}

/// The finding of a probe that failed.
fn report_probe(
    findings: &mut Findings,
    rule: &'static Rule,
    external: &External<'_>,
    probe: &Recorded<'_>,
    (what, remedy): (&str, &str),
) {
    let Some(registration) = external.registrations.first() else { return };
    let (via, host) = (&probe.probe.request.via, external.backend.name);
    let draft = findings.report(
        rule,
        registration,
        format!("The host {host} of MCPServerRegistration {} {what}", registration.full_name()),
        probe.error_evidence(),
        remedy,
    );
    draft
        .object(external.route.reference())
        .evidence(external.route.evidence(&external.backend.pointer("/name")));
    let program = via.command.first().map_or("curl", String::as_str);
    let port = external.backend.port.filter(|port| *port != 443);
    let command = question(program, host, &port.map_or(String::new(), |port| format!(":{port}")));
    draft.command(match &via.container {
        Some(name) => shell!("oc -n {} exec {} -c {} -- {}", via.namespace, via.pod, name, command),
        None => shell!("oc -n {} exec {} -- {}", via.namespace, via.pod, command),
    });
    draft.verify(shell!("oc mcpgw check --probe exec --only {}", rule.code));
}

declare_rule! {
    /// The name of a server outside the cluster does not resolve
    ///
    /// ## What it means
    /// The broker asked the cluster's DNS for the external host and got no address.
    ///
    /// ## How it is decided
    /// The error that the broker shows for the server (in `/status` or its log, as for MG417) is of the class
    /// DNS: `no such host`, `server misbehaving`, …; or, where the broker has not said so, the name did not
    /// resolve when that was tried inside a pod of the gateway or broker (`--probe exec`,
    /// `mcpgw/probes/dns.*.json`).
    ///
    /// ## Causes
    /// A typo in the host; a cluster without access to public DNS; an egress policy that blocks port
    /// 53 for the broker's namespace.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE exec deployment/mcp-gateway -- nslookup HOST`
    ///
    /// ## How to fix
    /// Correct the host, or the cluster's DNS forwarding.
    ///
    /// ## When it may be a false alarm
    /// A short outage of DNS. With a proxy for outgoing requests the broker need not resolve the name itself,
    /// and a probe that failed proves nothing.
    pub(super) static EXTERNAL_DNS = {
        code: "MG509", name: "external-dns", severity: Error, section: "1.5",
        needs: ["broker /status", "broker log", "probes", "httproutes", "mcpgatewayextensions", "mcpserverregistrations", "pods"], since: "0.1.0",
        caused_by: ["MG511"], check: external_dns,
    }
}

fn external_dns(context: &Context<'_>, findings: &mut Findings) {
    let mut said = Vec::new();
    for (external, failure) in failing(context, |class| class == ErrorClass::Dns) {
        let host = external.backend.name;
        let object = failure.registration.object;
        said.push(object);
        findings
            .report(
                &EXTERNAL_DNS,
                object,
                format!("The host {host} of MCPServerRegistration {} does not resolve", object.full_name()),
                failure.evidence,
                "Correct the host name, or let the cluster's DNS resolve it.",
            )
            .object(external.route.reference())
            .evidence(external.route.evidence(&external.backend.pointer("/name")))
            .command(shell!(
                "oc -n {} exec {} -- nslookup {}",
                failure.pod.namespace(),
                failure.pod.name(),
                host
            ))
            .verify(shell!(
                "oc get --raw /api/v1/namespaces/{}/services/mcp-gateway:8080/proxy/status/{}",
                failure.pod.namespace(),
                object.full_name()
            ));
    }
    for (external, probe) in probed(context, Purpose::Dns, &said) {
        let remedy = "Correct the host name, or let the cluster's DNS resolve it.";
        report_probe(findings, &EXTERNAL_DNS, &external, probe, ("does not resolve", remedy));
    }
}

declare_rule! {
    /// A server outside the cluster cannot be reached
    ///
    /// ## What it means
    /// The broker has an address for the external host, but no connection: refused, no answer in time,
    /// no route, or the TLS handshake fails.
    ///
    /// ## How it is decided
    /// The class of the error that the broker shows for the server in `/status` or its log (as for MG417):
    /// refused, timeout, no route, connection broken, certificate or TLS, plain HTTP where TLS was expected
    /// or the reverse, or a proxy for outgoing requests that cannot be used. Or, where the broker has not
    /// said so, the host resolved, but did not answer when that was tried inside a pod of the gateway or
    /// broker (`--probe exec`, `mcpgw/probes/https.*.json`).
    ///
    /// ## Causes
    /// A firewall or egress policy (MG511), a proxy that must be used, a private CA that the broker
    /// does not trust, a server that is down.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE exec deployment/mcp-gateway -- wget -S -O /dev/null -T 8 https://HOST`
    ///
    /// ## How to fix
    /// Open the way, set the proxy's environment variables, or name the CA in `caCertSecretRef`.
    ///
    /// ## When it may be a false alarm
    /// An outage of the server itself. A probe in the gateway's pod does not use the proxy that the broker
    /// may be told to use.
    pub(super) static EXTERNAL_UNREACHABLE = {
        code: "MG510", name: "external-unreachable", severity: Error, section: "1.5",
        needs: ["broker /status", "broker log", "probes", "httproutes", "mcpgatewayextensions", "mcpserverregistrations", "pods"], since: "0.1.0",
        caused_by: ["MG511"], check: external_unreachable,
    }
}

fn external_unreachable(context: &Context<'_>, findings: &mut Findings) {
    let unreachable = |class: ErrorClass| {
        matches!(
            class,
            ErrorClass::Refused
                | ErrorClass::Timeout
                | ErrorClass::Unreachable
                | ErrorClass::Certificate
                | ErrorClass::Tls
                | ErrorClass::Reset
                | ErrorClass::Proxy
                | ErrorClass::HttpOnHttps
                | ErrorClass::HttpsOnHttp
        )
    };
    let mut said = Vec::new();
    for (external, failure) in failing(context, unreachable) {
        let host = external.backend.name;
        let object = failure.registration.object;
        said.push(object);
        let remedy = match failure.class {
            ErrorClass::Certificate | ErrorClass::Tls => {
                "Name the CA that signed the server's certificate in caCertSecretRef, or correct the host."
            }
            _ => "Open the way from the broker to the host: firewall, egress policy, proxy.",
        };
        findings
            .report(
                &EXTERNAL_UNREACHABLE,
                object,
                format!(
                    "The host {host} of MCPServerRegistration {} cannot be reached: {}",
                    object.full_name(),
                    failure.class.describe()
                ),
                failure.evidence,
                remedy,
            )
            .object(external.route.reference())
            .evidence(external.route.evidence(&external.backend.pointer("/name")))
            .command(shell!(
                "oc -n {} exec {} -- wget -qO- -T 5 https://{}",
                failure.pod.namespace(),
                failure.pod.name(),
                host
            ))
            .verify(shell!(
                "oc get --raw /api/v1/namespaces/{}/services/mcp-gateway:8080/proxy/status/{}",
                failure.pod.namespace(),
                object.full_name()
            ));
    }
    for (external, probe) in probed(context, Purpose::Https, &said) {
        let fault = probe.probe.error.clone().unwrap_or_default();
        // A name that does not resolve is MG509.
        if fault.reason == "UnknownHost" {
            continue;
        }
        let what = format!("cannot be reached: {}", fault.message);
        let remedy = if fault.reason == "TlsError" {
            "Name the CA that signed the server's certificate in caCertSecretRef, or correct the host."
        } else {
            "Open the way from the cluster to the host: firewall, egress policy, proxy."
        };
        report_probe(findings, &EXTERNAL_UNREACHABLE, &external, probe, (&what, remedy));
    }
}

declare_rule! {
    /// A policy forbids the way out of the cluster
    ///
    /// ## What it means
    /// The broker and the gateway's proxies connect to external servers themselves; a policy of their
    /// namespaces does not allow that.
    ///
    /// ## How it is decided
    /// One pod of the broker and one of each Gateway of the route is judged, for TCP to the port of the
    /// backendRef (443 without one). The first of these that forbids the connection is reported:
    /// - an AdminNetworkPolicy that denies it; or NetworkPolicies that select the pod for egress, of which
    ///   none allows the port to addresses outside (a rule without `to`, or with an `ipBlock`); or, behind
    ///   them, a BaselineAdminNetworkPolicy;
    /// - an EgressFirewall of the namespace that denies all addresses, or the host by name, without allowing
    ///   the host before;
    /// - `outboundTrafficPolicy: REGISTRY_ONLY` of the mesh or the Sidecar, for a broker with a sidecar,
    ///   where no ServiceEntry that its namespace sees has the host.
    ///
    /// ## Causes
    /// A default-deny policy.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get networkpolicies,egressfirewalls -o yaml`.
    ///
    /// ## How to fix
    /// Allow egress to the host's port. The printed NetworkPolicy allows the port to all addresses: narrow it
    /// with an `ipBlock` where that is too much. Look again afterwards, as a second policy may stand behind
    /// the first.
    ///
    /// ## When it may be a false alarm
    /// An `ipBlock` or a range of addresses is taken as allowed whatever it is; policies of other network
    /// plugins (Calico, Cilium) are not read.
    pub(super) static EGRESS_BLOCKED = {
        code: "MG511", name: "egress-blocked", severity: Warning, section: "1.5",
        needs: ["networkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies", "egressfirewalls", "namespaces", "pods", "gateways", "httproutes", "mcpgatewayextensions", "mcpserverregistrations"], since: "0.1.0",
        caused_by: [], check: egress_blocked,
    }
}

/// The entry of an EgressFirewall that denies a host: the first that applies decides.
fn denied_by(firewall: &Object, host: &str, port: i64) -> Option<usize> {
    for (index, rule) in firewall.array("/spec/egress").iter().enumerate() {
        let ports = rule.get("ports").and_then(Value::as_array).unwrap_or_default();
        let of_port = ports.iter().any(|entry| {
            entry.get("protocol").and_then(Value::as_str).unwrap_or("TCP") == "TCP"
                && entry.get("port").and_then(Value::as_i64).is_none_or(|p| p == port)
        });
        if !ports.is_empty() && !of_port {
            continue;
        }
        let denies = rule.get("type").and_then(Value::as_str) == Some("Deny");
        let to = |key: &str| rule.pointer(&format!("/to/{key}")).and_then(Value::as_str);
        let applies = match (to("dnsName"), to("cidrSelector")) {
            (Some(name), _) => host_matches(name, host),
            // The address of the host is not known: it may lie in any range that is allowed, and lies for sure
            // only in the range of everything.
            (None, Some(range)) => range.ends_with("/0") || !denies,
            (None, None) => false,
        };
        if applies {
            return denies.then_some(index);
        }
    }
    None
}

/// Where the mesh is told to let pods with a sidecar reach registered hosts only, if this pod has one and no
/// ServiceEntry that it sees has the host: its Sidecar, the mesh's configuration, or Istio's resource.
fn registry_only<'a>(
    context: &Context<'a>,
    pod: &Object,
    host: &str,
    findings: &mut Findings,
) -> Option<(&'a Object, String)> {
    let name = |c: &Value| c.get("name").and_then(Value::as_str) == Some("istio-proxy");
    let sidecar = pod.label("gateway.networking.k8s.io/gateway-name").is_none()
        && ["/spec/containers", "/spec/initContainers"].iter().any(|list| pod.array(list).iter().any(name));
    let bundle = context.bundle;
    let registered = || context.mesh().covering(host).any(|entry| is_visible(entry, pod.namespace()));
    if !sidecar || registered() {
        return None;
    }
    if let Err(missing) = bundle.collected(&kinds::SIDECAR, Some(pod.namespace())) {
        findings.cannot_tell(&EGRESS_BLOCKED, missing);
    }
    const MODE: &str = "/spec/outboundTrafficPolicy/mode";
    let own = bundle.list_in(&kinds::SIDECAR, pod.namespace()).find(|s| {
        let labels = s.get("/spec/workloadSelector/labels").and_then(Value::as_object);
        labels.is_none_or(|l| l.iter().all(|(key, value)| pod.label(key) == value.as_str()))
            && s.get(MODE).is_some()
    });
    if let Some(own) = own {
        return (own.str(MODE) == "REGISTRY_ONLY").then(|| (own, MODE.to_owned()));
    }
    let of_mesh = "/spec/values/meshConfig/outboundTrafficPolicy/mode";
    let mesh = bundle.list(&kinds::ISTIO).find(|istio| istio.str(of_mesh) == "REGISTRY_ONLY");
    let map = bundle
        .list(&kinds::CONFIG_MAP)
        .find(|map| map.name().starts_with("istio") && map.str("/data/mesh").contains("mode: REGISTRY_ONLY"));
    mesh.map(|istio| (istio, of_mesh.to_owned())).or(map.map(|map| (map, "/data/mesh".to_owned())))
}

/// Makes a host known to a namespace: shows it the ServiceEntry that it does not see, else writes one.
fn register(context: &Context<'_>, namespace: &str, host: &str, port: i64) -> Command {
    let hidden = context.mesh().covering(host).filter(|entry| !entry.array("/spec/exportTo").is_empty());
    if let Some(entry) = hidden.min_by_key(|entry| entry.full_name()) {
        return remedy::patch(entry, json!([{"op": "add", "path": "/spec/exportTo/-", "value": namespace}]));
    }
    let protocol = if port == 443 { "TLS" } else { "HTTP" };
    shell!(
        "oc apply -f - <<'EOF'\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: {}\n  \
         namespace: {}\nspec:\n  exportTo: [\".\"]\n  hosts: [{}]\n  location: MESH_EXTERNAL\n  \
         ports:\n  - {{name: external, number: {}, protocol: {}}}\n  resolution: DNS\nEOF",
        host.replace('.', "-"),
        namespace,
        host,
        port,
        protocol
    )
}

fn egress_blocked(context: &Context<'_>, findings: &mut Findings) {
    for external in context.externals() {
        let port = external.backend.port.unwrap_or(443);
        let mut pods: Vec<&Object> = Vec::new();
        let facts = context.chain().routes.get(&(external.route.namespace(), external.route.name()));
        for gateway in facts.into_iter().flat_map(|f| &f.attachments).filter_map(|a| a.gateway.found()) {
            pods.extend(context.workloads().gateway_pods(gateway).into_iter().take(1));
        }
        let registrations = external.registrations.iter();
        for registration in registrations
            .filter_map(|object| context.chain().registration_of(object.namespace(), object.name()))
        {
            for at in context.chain().meant_extensions(registration) {
                let namespace = context.chain().extensions[at].object.namespace();
                pods.extend(context.workloads().broker_pods(namespace).iter().take(1));
            }
        }
        for pod in pods {
            let namespace = pod.namespace();
            if let Err(missing) = context.bundle.collected(&kinds::NETWORK_POLICY, Some(namespace)) {
                findings.cannot_tell(&EGRESS_BLOCKED, missing);
            }
            let host = external.backend.name;
            let way = Port { number: port, protocol: "TCP", name: None };
            let barriers = forbidding(context.bundle, pod, Direction::Egress, Peer::Outside(host), &way);
            let mut blocked = barriers.into_iter().next().map(|(policy, pointer)| {
                let command = if policy.kind() == kinds::NETWORK_POLICY.kind {
                    remedy::allow(pod, "Egress", &[], port, "TCP").unwrap_or_else(|| {
                        shell!("oc -n {} get networkpolicy {} -o yaml", namespace, policy.name())
                    })
                } else {
                    remedy::allow_before(policy, "Egress", &[], port, "TCP")
                };
                (policy, pointer, command)
            });
            for firewall in context.bundle.list_in(&kinds::EGRESS_FIREWALL, namespace) {
                if let Some(index) = denied_by(firewall, host, port) {
                    let step = json!([{"op": "add", "path": "/spec/egress/0", "value":
                        {"type": "Allow", "to": {"dnsName": host}, "ports": [{"protocol": "TCP", "port": port}]}}]);
                    let command = remedy::patch(firewall, step);
                    blocked = blocked.or(Some((firewall, format!("/spec/egress/{index}"), command)));
                }
            }
            if let Some((object, pointer)) = registry_only(context, pod, host, findings) {
                let command = register(context, namespace, host, port);
                blocked = blocked.or(Some((object, pointer, command)));
            }
            let Some((policy, pointer, command)) = blocked else { continue };
            let draft = findings.report(
                &EGRESS_BLOCKED,
                policy,
                format!(
                    "{} {} does not let {} reach {host}:{port}",
                    policy.kind(),
                    policy.full_name(),
                    pod.name()
                ),
                policy.evidence(&pointer),
                "Allow egress to the host's port for these pods.",
            );
            draft.object(pod.reference()).object(external.route.reference());
            for user in external.users() {
                draft.object(user);
            }
            draft.command(command).verify(shell!("oc -n {} get networkpolicies,egressfirewalls", namespace));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::json;

    fn object(kind: &str, egress: Value) -> Object {
        let value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"namespace": "n", "name": "p"},
            "spec": {"egress": egress, "policyTypes": ["Egress"]}});
        Object::new(value, "f".into(), None).expect("an object")
    }

    #[test]
    fn egress_firewalls() {
        let deny = json!({"type": "Deny", "to": {"cidrSelector": "0.0.0.0/0"}});
        let allow = |host: &str| json!({"type": "Allow", "to": {"dnsName": host}});
        let table = [
            (json!([deny]), Some(0)),
            (json!([allow("api.example.com"), deny]), None),
            (json!([allow("other.example.com"), deny]), Some(1)),
            (json!([{"type": "Deny", "to": {"cidrSelector": "10.0.0.0/8"}}]), None),
        ];
        for (egress, expected) in table {
            assert_eq!(
                denied_by(&object("EgressFirewall", egress.clone()), "api.example.com", 443),
                expected,
                "{egress}"
            );
        }
    }
}
