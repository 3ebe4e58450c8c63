//! MG218: whether the public hostname leads to the Gateway.

use crate::declare_rule;
use crate::model::json::Value;
use crate::model::mcp::Extension;
use crate::model::probes::Purpose;
use crate::model::{Object, kinds};
use crate::rules::remedy;
use crate::rules::{Context, Findings};
use crate::shell::{Command, shell};

declare_rule! {
    /// The public hostname does not lead to the Gateway
    ///
    /// ## What it means
    /// Clients that resolve the MCP gateway's public host come out somewhere else than at the Gateway's
    /// address.
    ///
    /// ## How it is decided
    /// The public host of each extension (its `publicHost`, or the listener's hostname) against what the
    /// bundle knows:
    ///
    /// - A and AAAA records of DNSRecord objects for exactly that name: one of the targets must be an address
    ///   of the Gateway. CNAMEs and wildcard records are not followed.
    /// - OpenShift Routes for that host: each must be in the Gateway's namespace, lead to the Gateway's
    ///   Service and to the port of the listener, and end TLS or not as the listener wants it; and a router
    ///   must not have refused it. Routes with a path that has nothing to do with `/mcp` are left out.
    /// - The addresses to which the host resolved inside a pod of the gateway (`--probe exec`,
    ///   `mcpgw/probes/dns.*.json`): one must be the Gateway's, the cluster IP of its Service, or a loopback
    ///   address. This is left out where a Route has the host.
    ///
    /// Records and resolved addresses are compared only where the Gateway has IP addresses, not the name of a
    /// load balancer. Where nothing of this exists nothing is claimed: public DNS is outside the cluster.
    ///
    /// ## Causes
    /// A record that was not updated after the load balancer's address changed; a Route of another
    /// application for the same host; a Route with the wrong port or TLS termination.
    ///
    /// ## How to confirm
    /// `dig +short HOST`, and compare with
    /// `oc -n NAMESPACE get gateway NAME -o jsonpath='{.status.addresses}'`; `oc get routes -A`.
    ///
    /// ## How to fix
    /// Correct the record or the Route. A DNSPolicy's records follow the Gateway's address: repair the
    /// policy, not the record.
    ///
    /// ## When it may be a false alarm
    /// A load balancer, CDN or NAT in front of the Gateway that the cluster does not know; a Route to a proxy
    /// of your own that leads to the Gateway; a Route of another application for a path that begins with
    /// `/mcp`.
    pub(super) static DNS_MISMATCH = {
        code: "MG218", name: "dns-mismatch", severity: Warning, section: "1.2.1",
        needs: ["gateways", "services", "dnsrecords", "routes (OpenShift)", "probes", "mcpgatewayextensions"], since: "0.1.0",
        caused_by: ["MG204"], check: dns_mismatch,
    }
}

fn dns_mismatch(context: &Context<'_>, findings: &mut Findings) {
    for extension in &context.chain().extensions {
        let (Some(gateway), Some(host)) = (extension.meant_gateway, extension.public_host()) else {
            continue;
        };
        records(context, findings, extension, gateway, &host);
        routes(context, findings, extension, gateway, &host);
        resolved(context, findings, extension, gateway, &host);
    }
}

/// What the name resolved to inside the cluster.
fn resolved(
    context: &Context<'_>,
    findings: &mut Findings,
    extension: &Extension<'_>,
    gateway: &Object,
    host: &str,
) {
    let addresses = gateway.array("/status/addresses").iter();
    let mut ours: Vec<&str> = Vec::new();
    for address in addresses {
        let value = address.get("value").and_then(Value::as_str).unwrap_or_default();
        if address.get("type").and_then(Value::as_str) == Some("Hostname") {
            // A load balancer by name has addresses that the bundle does not know.
            return;
        }
        ours.push(value);
    }
    let routed = context.bundle.list(&kinds::ROUTE).any(|route| route.str("/spec/host") == host);
    if ours.is_empty() || routed {
        // A Route's name leads to OpenShift's router, and where the Gateway has no address (MG204) whatever
        // clients come by is not known.
        return;
    }
    let service = context.workloads().gateway_service(gateway);
    ours.extend(service.iter().map(|service| service.str("/spec/clusterIP")));
    let mut asked = context.probes().iter().filter(|recorded| {
        let probe = &recorded.probe;
        probe.purpose == Purpose::Dns && probe.request.host == host && !probe.addresses.is_empty()
    });
    let Some(probe) = asked.next() else { return };
    let found = &probe.probe.addresses;
    let loopback = |address: &String| address.starts_with("127.") || address == "::1";
    if found.iter().any(|address| ours.contains(&address.as_str()) || loopback(address)) {
        return;
    }
    findings
        .report(
            &DNS_MISMATCH,
            gateway,
            format!(
                "{host} resolves to {} inside the cluster, Gateway {} has {}",
                found.join(", "),
                gateway.full_name(),
                ours.join(", ")
            ),
            probe.evidence("addresses[0]", found.join(", ")),
            "Correct the record, or let the cluster's DNS give the address that clients use.",
        )
        .object(extension.object.reference())
        .evidence(gateway.evidence("/status/addresses"))
        .command(shell!(
            "oc -n {} get gateway {} -o jsonpath='{{.status.addresses}}'",
            gateway.namespace(),
            gateway.name()
        ))
        .verify(shell!("dig +short {}", host));
}

fn records(
    context: &Context<'_>,
    findings: &mut Findings,
    extension: &Extension<'_>,
    gateway: &Object,
    host: &str,
) {
    let addresses: Vec<&str> = gateway
        .array("/status/addresses")
        .iter()
        .filter(|a| a.get("type").and_then(Value::as_str) != Some("Hostname"))
        .filter_map(|a| a.get("value").and_then(Value::as_str))
        .collect();
    if addresses.is_empty() {
        return;
    }
    for record in context.bundle.list(&kinds::DNS_RECORD) {
        for (index, endpoint) in record.array("/spec/endpoints").iter().enumerate() {
            let text = |key: &str| endpoint.get(key).and_then(Value::as_str).unwrap_or_default();
            if text("dnsName") != host || !matches!(text("recordType"), "A" | "AAAA") {
                continue;
            }
            let targets = endpoint.get("targets").and_then(Value::as_array).into_iter().flatten();
            let targets: Vec<&str> = targets.filter_map(Value::as_str).collect();
            if targets.is_empty() || targets.iter().any(|target| addresses.contains(target)) {
                continue;
            }
            findings
                .report(
                    &DNS_MISMATCH,
                    record,
                    format!(
                        "DNSRecord {} sends {host} to {}, Gateway {} has {}",
                        record.full_name(),
                        targets.join(", "),
                        gateway.full_name(),
                        addresses.join(", ")
                    ),
                    record.evidence(&format!("/spec/endpoints/{index}/targets")),
                    "Correct the record; a DNSPolicy's records follow the Gateway's address by themselves.",
                )
                .object(gateway.reference())
                .object(extension.object.reference())
                .evidence(gateway.evidence("/status/addresses"))
                .command(record_command(record, index, text("recordType"), &addresses))
                .verify(shell!("dig +short {}", host));
        }
    }
}

/// Sends a record to the Gateway's addresses, unless a DNSPolicy owns it and would write it again.
fn record_command(record: &Object, index: usize, record_type: &str, addresses: &[&str]) -> Command {
    let (namespace, name) = (record.namespace(), record.name());
    let fitting: Vec<&str> =
        addresses.iter().copied().filter(|a| a.contains(':') == (record_type == "AAAA")).collect();
    if fitting.is_empty() || !record.array("/metadata/ownerReferences").is_empty() {
        return shell!("oc -n {} describe dnsrecord {}", namespace, name);
    }
    let patch = serde_json::json!([
        {"op": "replace", "path": format!("/spec/endpoints/{index}/targets"), "value": fitting}
    ]);
    remedy::patch(record, patch)
}

/// A fault of a Route: the field, what is wrong, and the field of a JSON patch with its value where one repairs it.
type RouteFault = (&'static str, String, Option<(&'static str, serde_json::Value)>);

/// What keeps a Route of the public host from leading to the extension's listener.
fn route_fault(
    route: &Object,
    extension: &Extension<'_>,
    gateway: &Object,
    service: Option<&Object>,
) -> Option<RouteFault> {
    let here = route.namespace() == gateway.namespace();
    if !here || service.is_some_and(|s| s.name() != route.str("/spec/to/name")) {
        let name = service.filter(|_| here).map(|s| ("/spec/to/name", s.name().into()));
        return Some(("/spec/to/name", "does not lead to".to_owned(), name));
    }
    let listener = extension.meant_listener?;
    let wanted = service?
        .array("/spec/ports")
        .iter()
        .find(|p| p.get("port").and_then(Value::as_i64) == Some(listener.port));
    let target = route.get("/spec/port/targetPort");
    // A Route names a port of the Service, or the number of the pod's port; without it any port is taken.
    let fits = |port: &Value| match target {
        Some(Value::String(name)) => port.get("name").and_then(Value::as_str) == Some(&**name),
        Some(number) => port.get("targetPort").or_else(|| port.get("port")) == Some(number),
        None => true,
    };
    if let Some(port) = wanted.filter(|port| !fits(port)) {
        let name = port.get("name").map(Value::to_json).unwrap_or_default();
        let what = format!("leads to another port than {} of", listener.port);
        return Some(("/spec/port/targetPort", what, Some(("/spec/port/targetPort", name))));
    }
    let tls = matches!(listener.protocol, "HTTPS" | "TLS");
    let (pointer, termination) = ("/spec/tls/termination", route.str("/spec/tls/termination"));
    match termination {
        "passthrough" | "reencrypt" if !tls => Some((
            pointer,
            format!("sends TLS ({termination}) to the plain listener {} of", listener.name),
            Some((pointer, "edge".into())),
        )),
        "" | "edge" if tls => Some((
            pointer,
            format!("sends plain HTTP to the TLS listener {} of", listener.name),
            Some(("/spec/tls", serde_json::json!({"termination": "passthrough"}))),
        )),
        _ => None,
    }
}

fn routes(
    context: &Context<'_>,
    findings: &mut Findings,
    extension: &Extension<'_>,
    gateway: &Object,
    host: &str,
) {
    let service = context.workloads().gateway_service(gateway);
    // A Route with a path that clients of the MCP gateway do not ask for is somebody else's.
    let takes_mcp = |route: &&Object| {
        let path = route.str("/spec/path").trim_end_matches('/');
        path.is_empty() || "/mcp".starts_with(path) || path.starts_with("/mcp")
    };
    for route in context.bundle.list(&kinds::ROUTE).filter(|r| r.str("/spec/host") == host).filter(takes_mcp)
    {
        let Some((pointer, what, repair)) = route_fault(route, extension, gateway, service) else {
            if let Some((pointer, why)) = refused(route) {
                not_admitted(findings, route, extension, gateway, (&pointer, why));
            }
            continue;
        };
        let draft = findings.report(
            &DNS_MISMATCH,
            route,
            format!("Route {} for {host} {what} Gateway {}", route.full_name(), gateway.full_name()),
            route.evidence(pointer),
            "Point the Route at the Gateway's Service, in the Gateway's namespace, and at the listener's port and protocol.",
        );
        draft.object(gateway.reference()).object(extension.object.reference());
        if let Some(service) = service {
            let shown = if pointer == "/spec/to/name" { "/metadata/name" } else { "/spec/ports" };
            draft.evidence(service.evidence(shown));
        }
        if let Some((path, value)) = repair {
            let step = serde_json::json!([{"op": "add", "path": path, "value": value}]);
            draft.command(remedy::patch(route, step));
        }
        draft.verify(shell!("oc -n {} get route {} -o yaml", route.namespace(), route.name()));
    }
}

/// The condition of a Route that no router has admitted, and its reason.
fn refused(route: &Object) -> Option<(String, &str)> {
    let mut refusal = None;
    for (index, router) in route.array("/status/ingress").iter().enumerate() {
        for (at, condition) in
            router.get("conditions").and_then(Value::as_array).into_iter().flatten().enumerate()
        {
            let text = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
            match (text("type"), text("status")) {
                ("Admitted", "True") => return None,
                ("Admitted", "False") => {
                    refusal = Some((format!("/status/ingress/{index}/conditions/{at}"), text("reason")));
                }
                _ => {}
            }
        }
    }
    refusal
}

fn not_admitted(
    findings: &mut Findings,
    route: &Object,
    extension: &Extension<'_>,
    gateway: &Object,
    (pointer, why): (&str, &str),
) {
    let host = route.str("/spec/host");
    findings
        .report(
            &DNS_MISMATCH,
            route,
            format!("Route {} for {host} is not admitted by a router: {why}", route.full_name()),
            route.evidence(pointer),
            "Remove what holds the host, or correct the Route as the message says.",
        )
        .object(gateway.reference())
        .object(extension.object.reference())
        .command("oc get routes -A")
        .verify(shell!("oc -n {} get route {} -o yaml", route.namespace(), route.name()));
}
