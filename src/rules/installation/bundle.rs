//! MG001-MG003: what the bundle lacks, and what the cluster does not serve.

use crate::declare_rule;
use crate::model::kinds::{self, Kind};
use crate::model::workloads::Component;
use crate::model::{Bundle, Seen};
use crate::report::{Evidence, ObjectRef, Severity};
use crate::rules::{Context, Findings};
use crate::shell::{Command, shell};

declare_rule! {
    /// Evidence is missing
    ///
    /// ## What it means
    /// A rule could not be decided, because what it needs is not in the bundle. That is neither good
    /// nor bad news: the question is open.
    ///
    /// ## How it is decided
    /// Every rule names the evidence it needs. Where a list was refused, timed out or was not asked
    /// for, or a log was not collected, the rule says so instead of assuming that all is well. The
    /// open questions stand under `unknown` in the report, each with the codes that stay undecided
    /// and the way to collect what is missing; they are not findings.
    ///
    /// ## Causes
    /// - The collecting account may not read it (RBAC): `mcpgw/failures.json` has the refusals.
    /// - The request timed out, or the collection was interrupted.
    /// - It was not asked for: a namespace was left out, a probe was switched off.
    /// - The bundle is a must-gather or a set of files that never held it.
    ///
    /// ## How to confirm
    /// `oc mcpgw verify BUNDLE`, and `mcpgw/failures.json` in the archive.
    ///
    /// ## How to fix
    /// Collect again with more permissions, or with the command that the report gives, and analyze
    /// both together.
    ///
    /// ## When it may be a false alarm
    /// Never alarming by itself: an open question may turn out to be harmless.
    pub(super) static EVIDENCE_MISSING = {
        code: "MG001", name: "evidence-missing", severity: Warning, section: "1.1",
        needs: [], since: "0.1.0", caused_by: [],
        check: evidence_missing,
    }
}

/// Every rule reports its own gaps; there is nothing to look for here.
fn evidence_missing(_: &Context<'_>, _: &mut Findings) {}

declare_rule! {
    /// The bundle is incomplete
    ///
    /// ## What it means
    /// Something that should be in the bundle is not, or has been changed since it was written.
    /// Verdicts that rest on absence are weaker than usual.
    ///
    /// ## How it is decided
    /// `mcpgw/failures.json` lists requests that failed or were refused (kinds that the cluster does
    /// not serve do not count); the archive is cut off; a file is not readable as what it claims to
    /// be; or a file's SHA-256 differs from the manifest.
    ///
    /// ## Causes
    /// Missing permissions, timeouts, an interrupted collection, a broken download, editing.
    ///
    /// ## How to confirm
    /// `oc mcpgw verify BUNDLE`
    ///
    /// ## How to fix
    /// Collect again, with permission to get and list what was refused; transfer the archive again.
    ///
    /// ## When it may be a false alarm
    /// When what was refused has nothing to do with the problem at hand.
    pub(super) static BUNDLE_INCOMPLETE = {
        code: "MG002", name: "bundle-incomplete", severity: Warning, section: "1.1",
        needs: ["manifest", "failures"], since: "0.1.0", caused_by: [],
        check: bundle_incomplete,
    }
}

/// Where the archive records failed requests.
const FAILURES_FILE: &str = "mcpgw/failures.json";
/// How many failures and problems a finding shows.
const SHOWN: usize = 20;

/// The bundle as the subject of a finding.
fn bundle_reference(bundle: &Bundle) -> ObjectRef {
    ObjectRef {
        api_version: "mcpgw/v1".to_owned(),
        kind: "Bundle".to_owned(),
        namespace: None,
        name: bundle.meta.cluster.clone().unwrap_or_else(|| "bundle".to_owned()),
    }
}

fn bundle_incomplete(context: &Context<'_>, findings: &mut Findings) {
    let bundle = context.bundle;
    let failures: Vec<_> =
        bundle.meta.failures.iter().enumerate().filter(|(_, f)| f.reason != "NotInstalled").collect();
    let evidence: Vec<Evidence> = failures
        .iter()
        .take(SHOWN)
        .map(|(index, failure)| Evidence {
            file: FAILURES_FILE.to_owned(),
            path: Some(format!("[{index}]")),
            line: None,
            value: Some(match failure.code {
                Some(code) => format!("{}: {code} {}: {}", failure.what, failure.reason, failure.message),
                None => format!("{}: {}: {}", failure.what, failure.reason, failure.message),
            }),
            note: Some(failure.consequence.clone()).filter(|c| !c.is_empty()),
        })
        .collect();
    if let Some(first) = evidence.first().cloned() {
        let refused = failures.iter().filter(|(_, f)| matches!(f.code, Some(401 | 403))).count();
        let requests = if failures.len() == 1 { "request" } else { "requests" };
        let title = match refused {
            0 => format!("{} {requests} of the collection failed", failures.len()),
            n if n == failures.len() => {
                format!("{n} {requests} of the collection {} refused", if n == 1 { "was" } else { "were" })
            }
            n => format!("{} {requests} of the collection failed, {n} of them were refused", failures.len()),
        };
        let remedy = "Collect again with an account that may get and list what was refused.";
        let draft = findings.report_on(&BUNDLE_INCOMPLETE, bundle_reference(bundle), title, first, remedy);
        for evidence in evidence {
            draft.evidence(evidence);
        }
        let mut questions: Vec<Command> = Vec::new();
        for (_, failure) in failures.iter().filter(|(_, f)| f.code == Some(403)) {
            if let Some(resource) = &failure.resource {
                let scope = failure.namespace.as_ref().map_or("-A".into(), |ns| shell!("-n {}", ns));
                // Subresources are not listed: streams are made, logs are got.
                let verb = match resource.split_once('/') {
                    None => "list",
                    Some((_, "log")) => "get",
                    Some(_) => "create",
                };
                let question = shell!("oc auth can-i {} {} {}", verb, resource, scope);
                if questions.len() < 5 && !questions.contains(&question) {
                    questions.push(question);
                }
            }
        }
        for question in questions {
            draft.command(question);
        }
        draft.command("oc mcpgw gather --dry-run");
        draft.verify("oc mcpgw gather");
    }
    let broken: Vec<Evidence> = bundle
        .problems
        .iter()
        .take(SHOWN)
        .map(|problem| {
            let (file, what) = problem.split_once(": ").unwrap_or(("", problem));
            Evidence {
                file: file.to_owned(),
                path: None,
                line: None,
                value: Some(what.to_owned()),
                note: None,
            }
        })
        .collect();
    if let Some(first) = broken.first().cloned() {
        let title = match bundle.problems.len() {
            1 => "1 part of the bundle could not be read".to_owned(),
            n => format!("{n} parts of the bundle could not be read"),
        };
        let remedy = "Repair what the lines name, transfer the archive again, or collect again.";
        let draft = findings.report_on(&BUNDLE_INCOMPLETE, bundle_reference(bundle), title, first, remedy);
        for evidence in broken {
            draft.evidence(evidence);
        }
        draft.command("oc mcpgw verify BUNDLE");
        draft.verify("oc mcpgw verify BUNDLE");
    }
}

declare_rule! {
    /// A required API is not installed
    ///
    /// ## What it means
    /// The API server does not serve a kind without which the MCP gateway cannot work: the Gateway
    /// API or the MCP gateway's own kinds (error); Istio's networking or Kuadrant's kinds where
    /// something in the cluster counts on them (warning). Without Istio's EnvoyFilter the MCP
    /// gateway's controller ends at its start.
    ///
    /// ## How it is decided
    /// Discovery said so while the bundle was made, or all CustomResourceDefinitions were collected
    /// and the kind's is not among them.
    ///
    /// ## Causes
    /// The operator or the CRDs were never installed, were removed, or the cluster serves only a
    /// version that nobody asked for.
    ///
    /// ## How to confirm
    /// `oc api-resources --api-group=mcp.kuadrant.io`
    ///
    /// ## How to fix
    /// Install the MCP gateway's operator, the Gateway API (built into OpenShift 4.19 and newer), the
    /// service mesh, or Connectivity Link.
    ///
    /// ## When it may be a false alarm
    /// The bundle was taken from a cluster on which the MCP gateway is not meant to run.
    pub(super) static API_NOT_INSTALLED = {
        code: "MG003", name: "api-not-installed", severity: Error, section: "1.1",
        needs: ["discovery or customresourcedefinitions", "mcpgatewayextensions"], since: "0.1.0", caused_by: [],
        check: api_not_installed,
    }
}

fn api_not_installed(context: &Context<'_>, findings: &mut Findings) {
    let bundle = context.bundle;
    let extensions = bundle.list(&kinds::MCP_GATEWAY_EXTENSION).next();
    let hostname_backend = bundle.list(&kinds::HTTP_ROUTE).find(|route| {
        route.array("/spec/rules").iter().any(|rule| {
            rule.get("backendRefs")
                .and_then(|b| b.as_array())
                .into_iter()
                .flatten()
                .any(|b| b.get("group").and_then(|g| g.as_str()) == Some("networking.istio.io"))
        })
    });
    let kuadrant = bundle
        .list(&kinds::ENVOY_FILTER)
        .chain(bundle.list(&kinds::WASM_PLUGIN))
        .find(|o| o.label("kuadrant.io/managed").is_some())
        .or_else(|| context.workloads().deployments_of(Component::KuadrantOperator).first().copied());
    let required: [(&Kind, Severity, &str, Option<&crate::model::Object>); 8] = [
        (
            &kinds::GATEWAY,
            Severity::Error,
            "Install the Gateway API's CRDs (built into OpenShift 4.19 and newer).",
            None,
        ),
        (
            &kinds::HTTP_ROUTE,
            Severity::Error,
            "Install the Gateway API's CRDs (built into OpenShift 4.19 and newer).",
            None,
        ),
        (
            &kinds::MCP_GATEWAY_EXTENSION,
            Severity::Error,
            "Install the MCP gateway (operator, Helm chart or kustomize).",
            None,
        ),
        (
            &kinds::MCP_SERVER_REGISTRATION,
            Severity::Error,
            "Install the MCP gateway (operator, Helm chart or kustomize).",
            None,
        ),
        (
            &kinds::MCP_VIRTUAL_SERVER,
            Severity::Error,
            "Install the MCP gateway (operator, Helm chart or kustomize); its controller does not start without the kind.",
            None,
        ),
        (
            &kinds::ENVOY_FILTER,
            Severity::Warning,
            "Install Istio (OpenShift Service Mesh 3); without EnvoyFilter the MCP gateway's controller does not start.",
            extensions,
        ),
        (
            &kinds::SERVICE_ENTRY,
            Severity::Warning,
            "Install Istio (OpenShift Service Mesh 3); the Hostname backend of a route needs a ServiceEntry.",
            hostname_backend,
        ),
        (
            &kinds::AUTH_POLICY,
            Severity::Warning,
            "Install Kuadrant (Connectivity Link) again, or remove what it left.",
            kuadrant,
        ),
    ];
    for (kind, severity, remedy, needed_by) in required {
        let optional = severity == Severity::Warning;
        if optional && needed_by.is_none() {
            continue;
        }
        let crd_name = kind.resource();
        let evidence = if bundle.not_installed(kind) {
            Evidence {
                file: "mcpgw/manifest.json".to_owned(),
                path: Some("collections".to_owned()),
                line: None,
                value: Some(format!("{crd_name}: not installed")),
                note: Some("the API server's discovery does not list it".to_owned()),
            }
        } else if bundle.list(kind).next().is_some() {
            continue;
        } else {
            match bundle.find(&kinds::CUSTOM_RESOURCE_DEFINITION, "", &crd_name) {
                Seen::Found(_) => continue,
                // The list of definitions is whole and lacks this one.
                Seen::Absent if bundle.collected(kind, None).is_err() => Evidence {
                    file: "cluster-scoped-resources/apiextensions.k8s.io/customresourcedefinitions"
                        .to_owned(),
                    path: None,
                    line: None,
                    value: Some(format!("{crd_name}: absent")),
                    note: Some("all CustomResourceDefinitions were collected".to_owned()),
                },
                // The kind itself was listed, so it is served.
                Seen::Absent => continue,
                Seen::Unknown(missing) => {
                    if bundle.collected(kind, None).is_err() {
                        findings.cannot_tell(&API_NOT_INSTALLED, missing);
                    }
                    continue;
                }
            }
        };
        let subject = ObjectRef {
            api_version: "apiextensions.k8s.io/v1".to_owned(),
            kind: "CustomResourceDefinition".to_owned(),
            namespace: None,
            name: crd_name.clone(),
        };
        let title = format!("{} is not installed ({})", kind.kind, kind.group);
        let draft = findings.report_on(&API_NOT_INSTALLED, subject, title, evidence, remedy);
        draft.severity(severity);
        if let Some(object) = needed_by {
            draft.object(object.reference());
            draft.evidence(object.evidence("/metadata/name"));
        }
        draft.command(shell!("oc api-resources --api-group={}", kind.group));
        draft.verify(shell!("oc get crd {}", crd_name));
    }
}
