//! What the installation answers to probes: the questions are those that gather would ask, the
//! answers follow from the objects, as Envoy, Kuadrant and the servers would give them.

use std::collections::BTreeMap;

use chrono::SecondsFormat;

use super::Installation;
use crate::gather::probe::{Probes, exec, questions};
use crate::model::cel::Asked;
use crate::model::gateway_api::backend_refs;
use crate::model::json::Value;
use crate::model::kuadrant::{Policies, auth_policies};
use crate::model::mcp::{Chain, Extension};
use crate::model::probes::{Body, Metadata, Probe, Purpose, Request, Server, Timings, Tls};
use crate::model::secret_shape::CertificateFacts;
use crate::model::workloads::{Workloads, is_ready};
use crate::model::{Bundle, Object, kinds};

/// The records of all probes: path in an archive, content.
pub(super) fn answers(installation: &Installation) -> Vec<(String, Vec<u8>)> {
    let bundle = installation.bundle_with_logs(&super::Refused::default(), Vec::new());
    let pods: Vec<serde_json::Value> =
        installation.objects.iter().filter(|o| o["kind"] == "Pod").cloned().collect();
    let workloads = Workloads::new(&bundle);
    let world = World { bundle: &bundle, chain: Chain::new(&workloads), workloads: &workloads, installation };
    questions(&bundle, &pods, Probes { http: true, mcp: true, exec: true })
        .into_iter()
        .flat_map(|probe| if probe.skipped.is_some() { vec![probe] } else { world.answered(probe) })
        .map(|probe| (probe.file(), serde_json::to_vec_pretty(&probe).unwrap_or_default()))
        .collect()
}

struct World<'a> {
    bundle: &'a Bundle,
    workloads: &'a Workloads<'a>,
    chain: Chain<'a>,
    installation: &'a Installation,
}

impl World<'_> {
    /// The probe with its answer, and what would be asked next.
    fn answered(&self, mut probe: Probe) -> Vec<Probe> {
        probe.time = self.installation.time.to_rfc3339_opts(SecondsFormat::Millis, true);
        probe.timings =
            Timings { connect_ms: Some(3), first_byte_ms: Some(6), total_ms: 10, ..Timings::default() };
        if let Some(name) = &probe.request.sni {
            probe.timings.tls_ms = Some(4);
            probe.tls = Some(Tls {
                version: Some("TLSv1.3".to_owned()),
                alpn: Some("http/1.1".to_owned()),
                peer: Some(self.certificate(name)),
                chain: 1,
                verification: None,
            });
        }
        match probe.purpose {
            Purpose::McpInitialize => return self.server(probe),
            Purpose::Dns | Purpose::Https => {
                self.inside(&mut probe);
                return vec![probe];
            }
            _ => {}
        }
        self.gateway(&mut probe);
        vec![probe]
    }

    fn certificate(&self, name: &str) -> CertificateFacts {
        let time = |days| {
            let time = self.installation.time + chrono::Duration::days(days);
            time.to_rfc3339_opts(SecondsFormat::Secs, true)
        };
        CertificateFacts {
            subject: format!("CN={name}"),
            issuer: "CN=example issuing CA".to_owned(),
            names: vec![name.to_owned()],
            not_before: time(-30),
            not_after: time(60),
            is_ca: false,
            serial: "2a".to_owned(),
        }
    }

    /// What a pod finds out about a host: everything outside resolves and answers.
    fn inside(&self, probe: &mut Probe) {
        probe.request.via.command = exec::commands(probe).into_iter().next().unwrap_or_default();
        if probe.purpose == Purpose::Https {
            probe.timings.tls_ms = Some(9);
            probe.status = Some(200);
            return;
        }
        probe.timings = Timings { total_ms: 7, ..Timings::default() };
        let gateways = self
            .chain
            .extensions
            .iter()
            .filter(|extension| extension.public_host().as_deref() == Some(probe.request.host.as_str()));
        let gateway = gateways.filter_map(|extension| extension.gateway).next();
        let address = gateway.map(|gateway| gateway.str("/status/addresses/0/value"));
        let address = address.filter(|address| address.parse::<std::net::IpAddr>().is_ok());
        probe.addresses = vec![address.unwrap_or("198.51.100.77").to_owned()];
    }

    /// What the gateway answers.
    fn gateway(&self, probe: &mut Probe) {
        let Some(extension) = self.chain.extensions.iter().find(|e| probe.is_about(e.object)) else { return };
        let namespace = extension.object.namespace();
        let broker = self.workloads.broker_pods(namespace).iter().any(|pod| is_ready(pod));
        // The router fails closed, whatever the path.
        let filtered = self.bundle.list(&kinds::ENVOY_FILTER).any(|filter| {
            filter.label("mcp.kuadrant.io/extension-name") == Some(extension.object.name())
                && filter.label("mcp.kuadrant.io/extension-namespace") == Some(namespace)
        });
        let envoy = BTreeMap::from([("server".to_owned(), "istio-envoy".to_owned())]);
        probe.headers = envoy;
        if filtered && !broker {
            return answer(probe, 500, "", Body::default());
        }
        let host = probe.request.host.split(':').next().unwrap_or_default().to_owned();
        let Some((route, rule, service)) = self.rule(extension, &host, &probe.request.path) else {
            return answer(probe, 404, "", Body::default());
        };
        let policies = Policies::new(auth_policies(self.bundle).collect());
        let listener = extension.listener.map(|l| l.name).unwrap_or_default();
        let guards =
            extension.gateway.map(|gateway| policies.effective(gateway, listener, Some((route, &rule))));
        let well_known = probe.purpose == Purpose::OauthMetadata;
        let asked = if well_known { Asked::METADATA } else { Asked::CALL };
        let guard = guards.into_iter().flatten().find(|policy| policy.demands(asked));
        if let Some(policy) = guard {
            let challenge = policy.www_authenticate().and_then(|(_, value)| value.get("value")?.as_str());
            if let Some(challenge) = challenge {
                probe.headers.insert("www-authenticate".to_owned(), challenge.to_owned());
            }
            return answer(probe, 401, "text/plain", Body { bytes: 80, ..Body::default() });
        }
        if self.bundle.get(&kinds::SERVICE, &service.0, &service.1).is_none() {
            return answer(probe, 500, "", Body::default());
        }
        if !broker {
            return answer(probe, 503, "text/plain", Body { bytes: 19, ..Body::default() });
        }
        let mut body = Body { bytes: 212, json: true, ..Body::default() };
        if well_known {
            let oauth = |field: &str| extension.object.get(&format!("/spec/oauthProtectedResource/{field}"));
            let servers = oauth("authorizationServers").and_then(Value::as_array).into_iter().flatten();
            body.metadata = Some(Metadata {
                resource: oauth("resource")
                    .and_then(Value::as_str)
                    .map_or_else(|| format!("https://{host}/mcp"), str::to_owned),
                authorization_servers: servers.filter_map(Value::as_str).map(str::to_owned).collect(),
            });
        } else {
            body.tools = Some(Vec::new());
        }
        answer(probe, 200, "application/json", body);
    }

    /// The rule that takes a path: its route, its name, and the Service behind it.
    fn rule(
        &self,
        extension: &Extension<'_>,
        host: &str,
        path: &str,
    ) -> Option<(&Object, String, (String, String))> {
        let routes = self.chain.routes.values().filter(|facts| {
            facts.is_accepted()
                && facts.attachments.iter().any(|attachment| {
                    attachment.gateway.found().map(Object::full_name)
                        == extension.gateway.map(Object::full_name)
                })
                && facts.object.array("/spec/hostnames").iter().any(|hostname| hostname == host)
        });
        routes
            .flat_map(|facts| {
                let rules = facts.object.array("/spec/rules").iter().enumerate();
                rules.map(move |(index, rule)| (facts.object, index, rule))
            })
            .filter_map(|(route, index, rule)| {
                let matches = rule.get("matches").and_then(Value::as_array).into_iter().flatten();
                let longest = matches
                    .filter_map(|m| m.pointer("/path/value")?.as_str())
                    .filter(|prefix| {
                        path.strip_prefix(prefix.trim_end_matches('/'))
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    })
                    .map(str::len)
                    .max()?;
                let name = rule.get("name").and_then(Value::as_str);
                let name = name.map_or_else(|| format!("rule-{}", index + 1), str::to_owned);
                let backend = backend_refs(route).into_iter().find(|b| b.rule == index)?;
                let service = (backend.namespace.to_owned(), backend.name.to_owned());
                Some((longest, (route, name, service)))
            })
            .max_by_key(|(longest, _)| *longest)
            .map(|(_, found)| found)
    }

    /// What a server answers to `initialize`, and to `tools/list` after it.
    fn server(&self, mut probe: Probe) -> Vec<Probe> {
        let subject = &probe.subject;
        let registration =
            self.bundle.get(&kinds::MCP_SERVER_REGISTRATION, &subject.namespace, &subject.name);
        if registration.is_some_and(|r| r.get("/spec/credentialRef").is_some()) {
            answer(&mut probe, 401, "text/plain", Body { bytes: 13, ..Body::default() });
            return vec![probe];
        }
        let name = subject.name.clone();
        let server = Server {
            protocol_version: "2025-11-25".to_owned(),
            name: name.clone(),
            version: "1.4.2".to_owned(),
            capabilities: vec!["tools".to_owned()],
        };
        let body = Body { bytes: 190, json: true, server: Some(server), ..Body::default() };
        answer(&mut probe, 200, "application/json", body);
        let request = Request { rpc: Some("tools/list".to_owned()), ..probe.request.clone() };
        let mut next = Probe {
            time: probe.time.clone(),
            timings: probe.timings,
            tls: probe.tls.clone(),
            ..Probe::new(Purpose::McpTools, probe.subject.clone(), request)
        };
        let tools =
            ["get", "list", "search", "update"].map(|verb| format!("{verb}_{}", name.replace('-', "_")));
        let body = Body { bytes: 900, json: true, tools: Some(tools.to_vec()), ..Body::default() };
        answer(&mut next, 200, "application/json", body);
        vec![probe, next]
    }
}

fn answer(probe: &mut Probe, status: u16, content_type: &str, body: Body) {
    probe.status = Some(status);
    if !content_type.is_empty() {
        probe.headers.insert("content-type".to_owned(), content_type.to_owned());
    }
    probe.body = Some(Body { content_type: content_type.to_owned(), ..body });
}
