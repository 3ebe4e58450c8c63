//! MG501-MG511: MCP servers outside the cluster.

mod destination_rules;
mod reach;
mod routes;
use std::collections::{BTreeSet, HashMap};

use serde_json::json;

use super::{Context, Findings, Rule, suggest};
use crate::declare_rule;
use crate::model::gateway_api::{BackendRef, backend_refs, status};
use crate::model::istio::visibility::{DestinationRules, host_matches, hosts, is_visible};
use crate::model::json::Value;
use crate::model::{Object, kinds};
use crate::report::{Evidence, ObjectRef};
use crate::rules::remedy;
use crate::shell::{Command, shell};

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[
    &SERVICEENTRY_MISSING,
    &SERVICEENTRY_HOST,
    &SERVICEENTRY_SPEC,
    &destination_rules::DESTINATIONRULE_MISSING,
    &destination_rules::DESTINATIONRULE_HOST,
    &destination_rules::DESTINATIONRULE_TLS,
    &routes::EXTERNAL_BACKENDREF,
    &routes::EXTERNAL_URLREWRITE,
    &reach::EXTERNAL_DNS,
    &reach::EXTERNAL_UNREACHABLE,
    &reach::EGRESS_BLOCKED,
];

/// A server outside the cluster: the route that leads to it, and the mesh's entry for it.
#[derive(Clone)]
pub(super) struct External<'a> {
    route: &'a Object,
    backend: BackendRef<'a>,
    registrations: Vec<&'a Object>,
    /// The namespaces of the Gateways that the route is attached to: their proxies need the entry.
    clients: Vec<&'a str>,
    /// The ServiceEntry with exactly this host that the first client sees, else any.
    entry: Option<&'a Object>,
    /// The DestinationRule that the client's proxies use for it.
    rule: Option<&'a Object>,
    /// Whether a BackendTLSPolicy is for it.
    has_policy: bool,
}

/// What the mesh says of hosts.
pub(super) struct Mesh<'a> {
    /// The ServiceEntries by their hosts.
    entries: HashMap<&'a str, Vec<&'a Object>>,
    /// Those of them with a wildcard.
    wildcards: Vec<(&'a str, &'a Object)>,
    /// The servers outside that registered routes lead to.
    externals: Vec<External<'a>>,
}

impl<'a> Mesh<'a> {
    /// Reads it from a bundle.
    pub(super) fn new(context: &Context<'a>) -> Self {
        let mut entries: HashMap<&str, Vec<&Object>> = HashMap::new();
        for entry in context.bundle.list(&kinds::SERVICE_ENTRY) {
            for host in hosts(entry) {
                entries.entry(host).or_default().push(entry);
            }
        }
        let wildcards = entries.iter().filter(|(host, _)| host.starts_with('*'));
        let wildcards =
            wildcards.flat_map(|(host, list)| list.iter().map(move |entry| (*host, *entry))).collect();
        let externals = externals(context, &entries);
        Self { entries, wildcards, externals }
    }

    /// The ServiceEntries that have a host, by its name or with a wildcard over it.
    fn covering(&self, host: &str) -> impl Iterator<Item = &'a Object> {
        let exact = self.entries.get(host).into_iter().flatten().copied();
        let wildcards = self.wildcards.iter().filter(move |(pattern, _)| host_matches(pattern, host));
        exact.chain(wildcards.map(|(_, entry)| *entry))
    }

    /// The servers outside that registered routes lead to.
    pub(super) fn externals(&self) -> &[External<'a>] {
        &self.externals
    }
}

impl External<'_> {
    /// The client whose view decides; a route without Gateway is judged from its own namespace.
    fn client(&self) -> &str {
        self.clients.first().copied().unwrap_or(self.route.namespace())
    }

    /// The registrations as objects of a finding.
    fn users(&self) -> impl Iterator<Item = ObjectRef> {
        self.registrations.iter().take(3).map(|r| r.reference())
    }
}

/// Whether a host is the full name of a Service of the cluster, which Istio takes for a Hostname, too.
fn is_service(context: &Context<'_>, host: &str) -> bool {
    let mut labels = host.splitn(4, '.');
    let (Some(name), Some(namespace), Some("svc")) = (labels.next(), labels.next(), labels.next()) else {
        return false;
    };
    context.bundle.get(&kinds::SERVICE, namespace, name).is_some()
}

/// All servers outside the cluster that registered routes lead to by a backendRef of kind Hostname.
fn externals<'a>(context: &Context<'a>, by_host: &HashMap<&'a str, Vec<&'a Object>>) -> Vec<External<'a>> {
    let chain = context.chain();
    let rules = DestinationRules::new(context.bundle);
    let policies = destination_rules::TlsPolicies::new(context.bundle);
    let mut found = Vec::new();
    for facts in chain.routes.values() {
        let registrations: Vec<&Object> = facts
            .registrations
            .iter()
            .map(|&at| &chain.registrations[at])
            .filter(|r| !r.is_disabled())
            .map(|r| r.object)
            .collect();
        if registrations.is_empty() {
            continue;
        }
        let clients: BTreeSet<&str> =
            facts.attachments.iter().filter_map(|a| a.gateway.found()).map(Object::namespace).collect();
        for backend in backend_refs(facts.object).into_iter().filter(BackendRef::is_hostname) {
            if is_service(context, backend.name) {
                continue;
            }
            let entries = by_host.get(backend.name).map_or(&[][..], Vec::as_slice);
            let visible = |entry: &&&Object| clients.iter().all(|client| is_visible(entry, client));
            let entry = entries.iter().find(visible).or(entries.first()).copied();
            let mut external = External {
                route: facts.object,
                backend,
                registrations: registrations.clone(),
                clients: clients.iter().copied().collect(),
                entry,
                rule: None,
                has_policy: false,
            };
            external.rule = destination_rules::rule_of(context, &rules, &external);
            external.has_policy = policies.cover(&external);
            found.push(external);
        }
    }
    found
}

/// The entry that probably was meant for a host: one with a wildcard over it, or with a similar host.
fn meant<'a>(context: &Context<'a>, external: &External<'_>) -> Option<(&'a Object, usize)> {
    let entries = || {
        context
            .bundle
            .list(&kinds::SERVICE_ENTRY)
            .take(500)
            .flat_map(|entry| hosts(entry).enumerate().map(move |(index, host)| (host, (entry, index))))
    };
    entries()
        .find(|(host, _)| host_matches(host, external.backend.name))
        .map(|(_, found)| found)
        .or_else(|| suggest::closest(external.backend.name, entries()))
}

/// The ServiceEntry whose host the route rewrites to, where its backendRef only comes close to that host.
fn rewritten_to<'a>(context: &Context<'a>, external: &External<'a>) -> Option<(&'a Object, usize)> {
    let (_, host) =
        routes::rewrite(external.route, &external.backend).filter(|_| external.entry.is_none())?;
    meant(context, external).filter(|(entry, index)| hosts(entry).nth(*index) == Some(host))
}

declare_rule! {
    /// A server outside the cluster has no ServiceEntry
    ///
    /// ## What it means
    /// The route sends to an external host by a backendRef of kind `Hostname`, and the mesh does not
    /// know that host: Envoy has no cluster for it (`NC cluster_not_found`), requests get 500.
    ///
    /// ## How it is decided
    /// No ServiceEntry of any namespace has the host of the backendRef of a route with an enabled
    /// registration, nor one that comes close (then it is MG502 or MG507). The full name of a Service of the
    /// cluster (`NAME.NAMESPACE.svc…`) that is in the bundle needs none. Whether the Gateway may see the
    /// ServiceEntry is MG503.
    ///
    /// ## Causes
    /// It was never applied, or deleted.
    ///
    /// ## How to confirm
    /// `oc get serviceentries -A`.
    ///
    /// ## How to fix
    /// Apply the ServiceEntry that is printed with the finding. Its port is written as HTTP for 80 and
    /// 8080, else as HTTPS: correct `name` and `protocol` where the server speaks the other.
    ///
    /// ## When it may be a false alarm
    /// The name is that of a Service which the bundle lacks. Outbound traffic to unknown hosts does not help
    /// here: a backendRef needs a host of the registry.
    static SERVICEENTRY_MISSING = {
        code: "MG501", name: "serviceentry-missing", severity: Error, section: "1.5",
        needs: ["httproutes", "serviceentries", "mcpserverregistrations"], since: "0.1.0",
        caused_by: ["MG003"], check: serviceentry_missing,
    }
}

fn serviceentry_missing(context: &Context<'_>, findings: &mut Findings) {
    for external in context.externals() {
        if external.entry.is_some() {
            continue;
        }
        if let Err(missing) = context.bundle.collected(&kinds::SERVICE_ENTRY, None)
            && let Err(_) = context.bundle.collected(&kinds::SERVICE_ENTRY, Some(external.route.namespace()))
        {
            findings.cannot_tell(&SERVICEENTRY_MISSING, missing);
            continue;
        }
        if meant(context, external).is_some() {
            continue;
        }
        let (host, namespace) = (external.backend.name, external.route.namespace());
        let port = external.backend.port.unwrap_or(443);
        let protocol = if matches!(port, 80 | 8080) { "HTTP" } else { "HTTPS" };
        let draft = findings.report(
            &SERVICEENTRY_MISSING,
            external.route,
            format!("No ServiceEntry has the host {host} of HTTPRoute {}", external.route.full_name()),
            external.route.evidence(&external.backend.pointer("/name")),
            "Apply a ServiceEntry for the host.",
        );
        for user in external.users() {
            draft.object(user);
        }
        suggest::api_missing(context, draft, &kinds::SERVICE_ENTRY);
        draft
            .command(shell!(
                "oc apply -f - <<'EOF'\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  \
                 name: {}\n  namespace: {}\nspec:\n  hosts: [{}]\n  location: MESH_EXTERNAL\n  \
                 resolution: DNS\n  ports:\n  - {{number: {}, name: {}, protocol: {}}}\nEOF",
                host.replace('.', "-"),
                namespace,
                host,
                port,
                protocol.to_lowercase(),
                protocol
            ))
            .verify(shell!("oc -n {} get serviceentries", namespace));
    }
}

declare_rule! {
    /// A ServiceEntry's hosts do not contain the external host
    ///
    /// ## What it means
    /// A ServiceEntry seems meant for the host of the backendRef, but names another: the backendRef
    /// needs the host exactly; a wildcard is not enough.
    ///
    /// ## How it is decided
    /// No ServiceEntry has the host exactly, but one has a wildcard over it, or a host that differs in a few
    /// letters (of the first 500 ServiceEntries). When the route already rewrites to the host of that
    /// ServiceEntry, the backendRef is the wrong one: that is MG507.
    ///
    /// ## Causes
    /// A typo in the ServiceEntry or in the backendRef.
    ///
    /// ## How to confirm
    /// Compare `spec.hosts` with the backendRef's name.
    ///
    /// ## How to fix
    /// Write the host exactly into `spec.hosts`, or correct the backendRef. The command replaces a host that
    /// no backendRef uses, and adds the right one beside any other.
    ///
    /// ## When it may be a false alarm
    /// Two servers with similar names, of which one has no ServiceEntry: then the entry for the other
    /// is shown.
    static SERVICEENTRY_HOST = {
        code: "MG502", name: "serviceentry-host", severity: Error, section: "1.5",
        needs: ["httproutes", "serviceentries", "mcpserverregistrations"], since: "0.1.0",
        caused_by: [], check: serviceentry_host,
    }
}

fn serviceentry_host(context: &Context<'_>, findings: &mut Findings) {
    for external in context.externals() {
        // With one right name in the route and one that comes close, the latter is wrong (MG507).
        if external.entry.is_some() || rewritten_to(context, external).is_some() {
            continue;
        }
        let Some((entry, index)) = meant(context, external) else { continue };
        let host = external.backend.name;
        let pointer = format!("/spec/hosts/{index}");
        let draft = findings.report(
            &SERVICEENTRY_HOST,
            external.route,
            format!("ServiceEntry {} does not have the host {host} exactly", entry.full_name()),
            entry.evidence(&pointer),
            "Write the host exactly into the ServiceEntry, or correct the backendRef.",
        );
        draft.object(entry.reference()).evidence(external.route.evidence(&external.backend.pointer("/name")));
        for user in external.users() {
            draft.object(user);
        }
        // Nobody sends to a host that only comes close: the name is a slip, and goes.
        let slip = hosts(entry).nth(index).filter(|wrong| {
            !wrong.contains('*') && !context.externals().iter().any(|other| other.backend.name == *wrong)
        });
        let steps = match slip {
            Some(wrong) => json!([
                {"op": "test", "path": pointer, "value": wrong},
                {"op": "replace", "path": pointer, "value": host},
            ]),
            None => json!([{"op": "add", "path": "/spec/hosts/-", "value": host}]),
        };
        draft.command(remedy::patch(entry, steps)).verify(shell!(
            "oc -n {} get serviceentry {} -o yaml",
            entry.namespace(),
            entry.name()
        ));
    }
}

declare_rule! {
    /// A ServiceEntry cannot work as it is
    ///
    /// ## What it means
    /// The ServiceEntry has the right host, but the gateway's proxy cannot use it.
    ///
    /// ## How it is decided
    /// The first of these that is true of the ServiceEntry with the host:
    /// - the route's status says `BackendNotFound`, and the ServiceEntry is in another namespace than the
    ///   route, where istiod does not look for a Hostname;
    /// - `exportTo` leaves out a namespace of the route's Gateways (the proxy that sends is the Gateway's);
    /// - `resolution: NONE`, which gives a gateway no address to send to;
    /// - `resolution: STATIC` without endpoints and without `workloadSelector`;
    /// - the protocol of the backendRef's port is not one that HTTP can be sent over (HTTP, HTTPS, HTTP2,
    ///   GRPC, GRPC-Web, TLS, HTTP_PROXY).
    ///
    /// `location` is not judged. A port that the ServiceEntry lacks is MG507.
    ///
    /// ## Causes
    /// `exportTo: ["."]` in the server's namespace; a ServiceEntry that was written for sidecars.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get serviceentry NAME -o yaml`; `oc -n NAMESPACE get httproute NAME -o yaml` for the
    /// status.
    ///
    /// ## How to fix
    /// Patch the field that is shown.
    ///
    /// ## When it may be a false alarm
    /// The route's status is of the past: the ServiceEntry was made after it, or istiod does not run (MG217).
    static SERVICEENTRY_SPEC = {
        code: "MG503", name: "serviceentry-spec", severity: Error, section: "1.5",
        needs: ["serviceentries", "gateways", "httproutes", "mcpserverregistrations"], since: "0.1.0",
        caused_by: [], check: serviceentry_spec,
    }
}

/// What keeps a ServiceEntry from working: the field, what is wrong, a JSON patch.
fn spec_fault(external: &External<'_>, entry: &Object) -> Option<(String, String, serde_json::Value)> {
    if let Some(blind) = external.clients.iter().find(|client| !is_visible(entry, client)) {
        return Some((
            "/spec/exportTo".to_owned(),
            format!("is not exported to namespace {blind} of the Gateway"),
            json!({"op": "add", "path": "/spec/exportTo/-", "value": blind}),
        ));
    }
    let resolution = entry.str("/spec/resolution");
    if resolution == "NONE" {
        return Some((
            "/spec/resolution".to_owned(),
            "has resolution NONE, which gives the Gateway no address".to_owned(),
            json!({"op": "replace", "path": "/spec/resolution", "value": "DNS"}),
        ));
    }
    if resolution == "STATIC"
        && entry.array("/spec/endpoints").is_empty()
        && entry.get("/spec/workloadSelector").is_none()
    {
        return Some((
            "/spec/resolution".to_owned(),
            "has resolution STATIC and no endpoints".to_owned(),
            json!({"op": "replace", "path": "/spec/resolution", "value": "DNS"}),
        ));
    }
    let ports = entry.array("/spec/ports").iter().enumerate();
    for (index, port) in ports {
        let number = port.get("number").and_then(Value::as_i64);
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or_default().to_uppercase();
        let fits = matches!(
            protocol.as_str(),
            "HTTP" | "HTTPS" | "HTTP2" | "GRPC" | "GRPC-WEB" | "TLS" | "HTTP_PROXY" | ""
        );
        if number == external.backend.port && !fits {
            return Some((
                format!("/spec/ports/{index}/protocol"),
                format!("declares port {} as {protocol}", number.unwrap_or_default()),
                json!({"op": "replace", "path": format!("/spec/ports/{index}/protocol"), "value": "HTTPS"}),
            ));
        }
    }
    None
}

/// Where the route's status says that the host was not found, and the entry is in another namespace than the route.
fn elsewhere(external: &External<'_>, entry: &Object) -> Option<Evidence> {
    if entry.namespace() == external.route.namespace() {
        return None;
    }
    status::parents(external.route).iter().find_map(|parent| {
        let condition = parent.condition("ResolvedRefs")?;
        let missed = condition.is_false() && condition.reason == "BackendNotFound";
        missed.then(|| external.route.evidence(&parent.pointer(&condition)))
    })
}

fn out_of_reach(findings: &mut Findings, external: &External<'_>, entry: &Object, evidence: Evidence) {
    let namespace = external.route.namespace();
    let draft = findings.report(
        &SERVICEENTRY_SPEC,
        entry,
        format!(
            "ServiceEntry {} for {} is not in the namespace of HTTPRoute {}",
            entry.full_name(),
            external.backend.name,
            external.route.full_name()
        ),
        entry.evidence("/metadata/namespace"),
        format!("Create a ServiceEntry for the host in {namespace}; istiod looks for it nowhere else."),
    );
    draft.evidence(evidence).object(external.route.reference());
    for user in external.users() {
        draft.object(user);
    }
    let mut spec = entry.get("/spec").map(Value::to_json).unwrap_or_default();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("exportTo");
    }
    let copy = json!({
        "apiVersion": entry.api_version(),
        "kind": "ServiceEntry",
        "metadata": {"name": entry.name(), "namespace": namespace},
        "spec": spec,
    });
    draft.command(Command::from("oc apply -f -").reading_yaml(&copy)).verify(shell!(
        "oc -n {} get serviceentry {} -o yaml",
        namespace,
        entry.name()
    ));
}

fn serviceentry_spec(context: &Context<'_>, findings: &mut Findings) {
    for external in context.externals() {
        let Some(entry) = external.entry else { continue };
        if let Some(evidence) = elsewhere(external, entry) {
            out_of_reach(findings, external, entry, evidence);
            continue;
        }
        let Some((pointer, what, patch)) = spec_fault(external, entry) else { continue };
        let draft = findings.report(
            &SERVICEENTRY_SPEC,
            entry,
            format!("ServiceEntry {} for {} {what}", entry.full_name(), external.backend.name),
            entry.evidence(&pointer),
            "Correct the ServiceEntry; for a server reached by TLS over the internet: resolution DNS, a port of protocol HTTPS, exported to the Gateway.",
        );
        draft.object(external.route.reference());
        for user in external.users() {
            draft.object(user);
        }
        draft.command(remedy::patch(entry, json!([patch]))).verify(shell!(
            "oc -n {} get serviceentry {} -o yaml",
            entry.namespace(),
            entry.name()
        ));
    }
}
