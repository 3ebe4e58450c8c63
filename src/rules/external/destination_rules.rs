//! MG504-MG506: the DestinationRules that make TLS towards a server outside the cluster.

use std::collections::HashSet;

use serde_json::json;

use super::External;
use crate::declare_rule;
use crate::model::istio::visibility::{DestinationRules, host_matches};
use crate::model::json::{Map, Value};
use crate::model::workloads::{Component, labels_contain};
use crate::model::{Bundle, Object, Seen, kinds};
use crate::rules::remedy;
use crate::rules::{Context, Findings, suggest};
use crate::shell::shell;

/// Istio's root namespaces: those of its control planes, unless the bundle does not know one.
fn roots<'a>(context: &Context<'a>) -> Vec<&'a str> {
    let planes = context.workloads().deployments_of(Component::Istiod);
    let mut roots: Vec<&str> = planes.iter().map(|d| d.namespace()).collect();
    roots.sort_unstable();
    roots.dedup();
    if roots.is_empty() { vec!["istio-system"] } else { roots }
}

/// Whether the Gateway has to begin TLS for this port: by number or by the entry's protocol.
fn wants_tls(external: &External<'_>) -> bool {
    let port = external.backend.port.unwrap_or(443);
    let protocol = external.entry.and_then(|entry| {
        let ports = entry.array("/spec/ports").iter();
        let mut ports = ports.filter(|p| p.get("number").and_then(Value::as_i64) == Some(port));
        let port = ports.next()?;
        let redirected = port.get("targetPort").and_then(Value::as_i64);
        let protocol = port.get("protocol").and_then(Value::as_str)?.to_uppercase();
        Some((protocol, redirected))
    });
    match protocol {
        Some((protocol, redirected)) => {
            port == 443 || redirected == Some(443) || protocol == "HTTPS" || protocol == "TLS"
        }
        None => port == 443,
    }
}

/// The rule that the Gateway's proxy uses for the server.
pub(super) fn rule_of<'a>(
    context: &Context<'a>,
    rules: &DestinationRules<'a>,
    external: &External<'a>,
) -> Option<&'a Object> {
    let service = external.entry.map_or(external.route.namespace(), Object::namespace);
    let (host, client) = (external.backend.name, external.client());
    let facts = context.chain().route(external.route.namespace(), external.route.name());
    let gateways = facts.into_iter().flat_map(|f| &f.attachments).filter_map(|a| a.gateway.found());
    let pods: Vec<&Object> = gateways
        .filter(|gateway| gateway.namespace() == client)
        .flat_map(|gateway| context.workloads().gateway_pods(gateway))
        .collect();
    // While no pod is known, a rule for some may be for the Gateway's.
    let chosen =
        |selector: &Map| pods.is_empty() || pods.iter().any(|pod| labels_contain(pod.labels(), selector));
    let rule = |root| rules.of(host, client, service, root, chosen);
    roots(context).into_iter().find_map(rule)
}

/// What BackendTLSPolicies name.
#[derive(Default)]
pub(super) struct TlsPolicies<'a> {
    names: HashSet<&'a str>,
    /// With the namespace: a reference has none, it is the policy's own.
    targets: HashSet<(&'a str, &'a str)>,
}

impl<'a> TlsPolicies<'a> {
    pub(super) fn new(bundle: &'a Bundle) -> Self {
        let mut found = Self::default();
        for policy in bundle.list(&kinds::BACKEND_TLS_POLICY) {
            for target in policy.array("/spec/targetRefs") {
                let name = target.get("name").and_then(Value::as_str).unwrap_or_default();
                found.names.insert(name);
                found.targets.insert((policy.namespace(), name));
            }
        }
        found
    }

    /// Whether one does the TLS instead.
    pub(super) fn cover(&self, external: &External<'a>) -> bool {
        let entry = external.entry.map(|entry| (entry.namespace(), entry.name()));
        entry.is_some_and(|entry| self.targets.contains(&entry)) || self.names.contains(external.backend.name)
    }
}

/// The rule that probably was meant for this host: in the namespaces that count, with a name like
/// the entry's or a host like this one.
fn meant<'a>(context: &Context<'a>, external: &External<'a>) -> Option<&'a Object> {
    let service = external.entry.map_or(external.route.namespace(), Object::namespace);
    let entry = external.entry.map(Object::name).unwrap_or_default();
    let rules = || {
        let all = [external.client().to_owned(), service.to_owned()];
        let all: std::collections::BTreeSet<String> = all.into_iter().collect();
        all.into_iter().flat_map(|namespace| {
            context.bundle.list_in(&kinds::DESTINATION_RULE, &namespace).take(200).collect::<Vec<_>>()
        })
    };
    let unused = |rule: &&Object| {
        // A rule that serves another entry exactly is not meant for this host.
        let host = rule.str("/spec/host");
        !context.mesh().entries.contains_key(host) && !host.contains(".svc") && host.contains('.')
    };
    rules().filter(unused).find(|rule| rule.name() == entry).or_else(|| {
        suggest::closest(external.backend.name, rules().filter(unused).map(|r| (r.str("/spec/host"), r)))
    })
}

declare_rule! {
    /// Nothing begins TLS towards a server outside the cluster
    ///
    /// ## What it means
    /// The server is reached on a TLS port, but no DestinationRule tells the Gateway to begin TLS: it
    /// sends plain HTTP, and the server answers 400 or closes the connection.
    ///
    /// ## How it is decided
    /// There is a ServiceEntry, and TLS is wanted: the port is 443 (or leads to `targetPort` 443), or the
    /// ServiceEntry's protocol for it is HTTPS or TLS. No DestinationRule for the host is found where the
    /// Gateway's proxy looks: the Gateway's namespace, the ServiceEntry's, the root namespace (that of
    /// istiod), each only if exported to the Gateway; nor a BackendTLSPolicy for the host or the
    /// ServiceEntry. Of several Gateways in different namespaces the first namespace is asked.
    ///
    /// A rule with a workload selector counts in the Gateway's namespace only, for the pods that it selects.
    /// Where a DestinationRule comes close to the host, it is MG505.
    ///
    /// ## Causes
    /// It was never applied; it is in the server's namespace with `exportTo: ["."]`.
    ///
    /// ## How to confirm
    /// `oc get destinationrules -A`.
    ///
    /// ## How to fix
    /// Apply the DestinationRule that is printed with the finding.
    ///
    /// ## When it may be a false alarm
    /// A server that speaks plain HTTP on such a port.
    pub(super) static DESTINATIONRULE_MISSING = {
        code: "MG504", name: "destinationrule-missing", severity: Warning, section: "1.5",
        needs: ["httproutes", "serviceentries", "destinationrules", "mcpserverregistrations"], since: "0.1.0",
        caused_by: ["MG003", "MG501", "MG502"], check: destinationrule_missing,
    }
}

fn destinationrule_missing(context: &Context<'_>, findings: &mut Findings) {
    for external in context.externals() {
        if external.entry.is_none() || !wants_tls(external) || external.has_policy {
            continue;
        }
        if external.rule.is_some() || meant(context, external).is_some() {
            continue;
        }
        let client = external.client();
        if let Err(missing) = context.bundle.collected(&kinds::DESTINATION_RULE, Some(client)) {
            findings.cannot_tell(&DESTINATIONRULE_MISSING, missing);
            continue;
        }
        let host = external.backend.name;
        let namespace = external.entry.map_or(client, Object::namespace);
        let subject = external.entry.unwrap_or(external.route);
        let hidden = context
            .bundle
            .list(&kinds::DESTINATION_RULE)
            .find(|rule| host_matches(rule.str("/spec/host"), host));
        let draft = findings.report(
            &DESTINATIONRULE_MISSING,
            subject,
            format!("No DestinationRule begins TLS towards {host} for Gateways in {client}"),
            subject.evidence("/spec/hosts"),
            "Apply a DestinationRule with TLS for the host.",
        );
        draft.object(external.route.reference());
        draft.evidence(external.route.evidence(&external.backend.pointer("/port")));
        if let Some(hidden) = hidden {
            draft.evidence(hidden.evidence("/spec/exportTo"));
            draft.remedy.text = format!(
                "DestinationRule {} has the host, but the Gateway's proxies do not look there; export it, or \
                 create one in {client}.",
                hidden.full_name()
            );
        }
        for user in external.users() {
            draft.object(user);
        }
        draft
            .command(shell!("oc apply -f - <<'EOF'\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  \
                 name: {}\n  namespace: {}\nspec:\n  host: {}\n  trafficPolicy:\n    tls: {{mode: SIMPLE, \
                 sni: {}}}\nEOF", host.replace('.', "-"), namespace, host, host))
            .verify(shell!("oc -n {} get destinationrules", namespace));
    }
}

declare_rule! {
    /// A DestinationRule is for another host than the ServiceEntry
    ///
    /// ## What it means
    /// A DestinationRule seems meant for the external host, but names another, so that it does
    /// nothing: the Gateway begins no TLS.
    ///
    /// ## How it is decided
    /// TLS is wanted (as in MG504) and no DestinationRule applies to the host. But one in the namespace of
    /// the Gateway or of the ServiceEntry has the ServiceEntry's name, or a host that differs in a few
    /// letters, and its host is that of no ServiceEntry and no Service.
    ///
    /// ## Causes
    /// A typo; the host was changed in one of the two objects.
    ///
    /// ## How to confirm
    /// Compare `spec.host` of the DestinationRule with `spec.hosts` of the ServiceEntry.
    ///
    /// ## How to fix
    /// Set `spec.host` to the ServiceEntry's host.
    ///
    /// ## When it may be a false alarm
    /// A rule that was prepared for another server.
    pub(super) static DESTINATIONRULE_HOST = {
        code: "MG505", name: "destinationrule-host", severity: Error, section: "1.5",
        needs: ["serviceentries", "destinationrules", "httproutes", "mcpserverregistrations"], since: "0.1.0",
        caused_by: ["MG501", "MG502"], check: destinationrule_host,
    }
}

fn destinationrule_host(context: &Context<'_>, findings: &mut Findings) {
    for external in context.externals() {
        let (Some(entry), true) = (external.entry, wants_tls(external)) else { continue };
        if external.has_policy || external.rule.is_some() {
            continue;
        }
        let Some(rule) = meant(context, external) else { continue };
        let host = external.backend.name;
        let draft = findings.report(
            &DESTINATIONRULE_HOST,
            rule,
            format!("DestinationRule {} is for {}, not for {host}", rule.full_name(), rule.str("/spec/host")),
            rule.evidence("/spec/host"),
            "Set spec.host to the host of the ServiceEntry.",
        );
        draft
            .object(entry.reference())
            .object(external.route.reference())
            .evidence(entry.evidence("/spec/hosts"));
        for user in external.users() {
            draft.object(user);
        }
        draft.command(remedy::merge(rule, json!({"spec": {"host": host}}))).verify(shell!(
            "oc -n {} get destinationrule {} -o yaml",
            rule.namespace(),
            rule.name()
        ));
    }
}

declare_rule! {
    /// A DestinationRule's TLS settings do not fit the server
    ///
    /// ## What it means
    /// The rule for the host begins no TLS, the mesh's own mTLS, or TLS with another server name: the
    /// handshake fails, or plain HTTP meets a TLS port.
    ///
    /// ## How it is decided
    /// The TLS settings for the port (`portLevelSettings` before the rule's own), where TLS is wanted (as in
    /// MG504):
    /// - the mode is `ISTIO_MUTUAL`, or neither `SIMPLE` nor `MUTUAL`;
    /// - `sni`, if set, is not the host itself;
    /// - `credentialName`, if set, is no Secret in the Gateway's namespace, nor is the name with `-cacert`.
    ///
    /// Where a BackendTLSPolicy does the TLS, the rule need not. A rule for a wrong host (MG505) is judged as
    /// well. `subjectAltNames` and the contents of the Secret are not.
    ///
    /// ## Causes
    /// `mode: DISABLE` or none; `ISTIO_MUTUAL` copied from a rule inside the mesh; a typo in `sni`; the
    /// Secret stands beside the rule instead of the Gateway.
    ///
    /// ## How to confirm
    /// `oc -n NAMESPACE get destinationrule NAME -o yaml`.
    ///
    /// ## How to fix
    /// Set `tls: {mode: SIMPLE, sni: HOST}`, in `portLevelSettings` if the port has settings there. Keep
    /// `MUTUAL` where the server wants a client certificate, and correct `sni` alone. Create the Secret of
    /// `credentialName` in the Gateway's namespace: `ca.crt` for `SIMPLE`, also `tls.crt` and `tls.key` for
    /// `MUTUAL`.
    ///
    /// ## When it may be a false alarm
    /// A server that wants another server name on purpose.
    pub(super) static DESTINATIONRULE_TLS = {
        code: "MG506", name: "destinationrule-tls", severity: Error, section: "1.5",
        needs: ["serviceentries", "destinationrules", "httproutes", "mcpserverregistrations"], since: "0.1.0",
        caused_by: [], check: destinationrule_tls,
    }
}

/// The Secret with the certificates, which the proxy takes from its own namespace; the CA may stand in one of its own.
/// Without a name none is needed, and the rule itself is found.
fn secret_of<'a>(context: &Context<'a>, external: &External<'a>, name: &str) -> Seen<'a> {
    if name.is_empty() || name.contains("://") {
        return Seen::Found(external.route);
    }
    let find = |name: &str| context.bundle.find(&kinds::SECRET, external.client(), name);
    match find(name) {
        Seen::Absent => find(&format!("{name}-cacert")),
        seen => seen,
    }
}

fn destinationrule_tls(context: &Context<'_>, findings: &mut Findings) {
    for external in context.externals() {
        if !wants_tls(external) || external.has_policy {
            continue;
        }
        // Also the rule that has the wrong host: its settings count once the host is right.
        let near = || meant(context, external).filter(|_| external.entry.is_some());
        let applying = external.rule;
        let Some(rule) = applying.or_else(near) else { continue };
        let port = external.backend.port.unwrap_or(443);
        let levels = rule.array("/spec/trafficPolicy/portLevelSettings").iter();
        let level =
            levels.clone().position(|l| l.pointer("/port/number").and_then(Value::as_i64) == Some(port));
        let base = match level {
            Some(index) => format!("/spec/trafficPolicy/portLevelSettings/{index}/tls"),
            None => "/spec/trafficPolicy/tls".to_owned(),
        };
        let (mode, sni) = (rule.str(&format!("{base}/mode")), rule.str(&format!("{base}/sni")));
        let host = external.backend.name;
        let (pointer, what) = match mode {
            "SIMPLE" | "MUTUAL" if !sni.is_empty() && sni != host => {
                (format!("{base}/sni"), format!("asks for the server name {sni} instead of {host}"))
            }
            "SIMPLE" | "MUTUAL" => {
                match secret_of(context, external, rule.str(&format!("{base}/credentialName"))) {
                    Seen::Absent => {
                        let name = rule.str(&format!("{base}/credentialName"));
                        (
                            format!("{base}/credentialName"),
                            format!("names the Secret {name}, which is not in the Gateway's namespace"),
                        )
                    }
                    Seen::Unknown(missing) => {
                        findings.cannot_tell(&DESTINATIONRULE_TLS, missing);
                        continue;
                    }
                    Seen::Found(_) => continue,
                }
            }
            "ISTIO_MUTUAL" => (
                format!("{base}/mode"),
                "uses the mesh's own mTLS, which the server does not speak".to_owned(),
            ),
            _ => (format!("{base}/mode"), format!("begins no TLS towards port {port}")),
        };
        let draft = findings.report(
            &DESTINATIONRULE_TLS,
            rule,
            format!("DestinationRule {} for {host} {what}", rule.full_name()),
            rule.evidence(&pointer),
            "Begin TLS with the server's own name.",
        );
        if pointer.ends_with("/credentialName") {
            let name = rule.str(&pointer);
            draft.remedy.text = format!("Create Secret {name} with the CA in {}.", external.client());
            if mode == "MUTUAL" {
                draft.remedy.text = format!(
                    "Create Secret {name} with the client's certificate and key, and the CA, in {}.",
                    external.client()
                );
                draft.command(shell!(
                    "oc -n {} create secret generic {} --from-file=tls.crt=\"${{CERTIFICATE_FILE}}\" \
                     --from-file=tls.key=\"${{KEY_FILE}}\" --from-file=ca.crt=\"${{CA_FILE}}\"",
                    external.client(),
                    name
                ));
            } else {
                draft.command(shell!(
                    "oc -n {} create secret generic {} --from-file=ca.crt=\"${{CA_FILE}}\"",
                    external.client(),
                    name
                ));
            }
            draft.verify(shell!("oc -n {} get secret {}", external.client(), name));
            continue;
        }
        draft.object(external.route.reference());
        if applying.is_none() {
            draft.hidden_behind(&["MG505"], rule.reference());
        }
        if let Some(entry) = external.entry {
            draft.object(entry.reference());
        }
        for user in external.users() {
            draft.object(user);
        }
        // What else stands there stays: credentials of MUTUAL, settings of the connection pool.
        let step = |path: &str, value: serde_json::Value| json!({"op": "add", "path": path, "value": value});
        let tls = || json!({"mode": "SIMPLE", "sni": host});
        let steps = if pointer.ends_with("/sni") {
            json!([step(&pointer, json!(host))])
        } else if rule.get(&base).is_some() {
            json!([step(&pointer, json!("SIMPLE")), step(&format!("{base}/sni"), json!(host))])
        } else if rule.get("/spec/trafficPolicy").is_some() {
            json!([step(&base, tls())])
        } else {
            json!([step("/spec/trafficPolicy", json!({"tls": tls()}))])
        };
        draft.command(remedy::patch(rule, steps)).verify(shell!(
            "oc -n {} get destinationrule {} -o yaml",
            rule.namespace(),
            rule.name()
        ));
    }
}
