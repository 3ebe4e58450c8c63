//! Where things stand in an archive (the must-gather layout, plus our own `mcpgw/` part).
//!
//! The layout is the one that `oc adm inspect` writes, because `omc`, `omg` and other readers of
//! must-gathers know it: `namespaces/<ns>/<group>/<plural>.yaml` for built-in kinds,
//! `…/<plural>/<name>.yaml` for custom resources, the container's name twice in a log's path.

use crate::model::Kind;

/// The name of the archive's root folder.
#[must_use]
pub fn root(cluster: &str, time: chrono::DateTime<chrono::Utc>) -> String {
    format!("mcpgw-gather-{}-{}", file_name(cluster), time.format("%Y%m%dT%H%M%SZ"))
}

/// Makes a name safe as a file name that must-gather readers accept: a DNS-1123 subdomain. The
/// true name stays inside the object.
#[must_use]
pub fn file_name(name: &str) -> String {
    let mut safe: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c.to_ascii_lowercase() } else { '-' })
        .collect();
    while safe.contains("..") {
        safe = safe.replace("..", ".-");
    }
    let trimmed = safe.trim_matches(['-', '.']);
    if trimmed.is_empty() { "unnamed".to_owned() } else { trimmed.chars().take(200).collect() }
}

/// The file of all objects of a kind in a namespace (built-in kinds).
#[must_use]
pub fn list(kind: &Kind, namespace: &str) -> String {
    format!("namespaces/{}/{}/{}.yaml", file_name(namespace), kind.group_dir(), kind.plural)
}

/// The file of one object; an empty namespace means cluster-scoped.
#[must_use]
pub fn object(kind: &Kind, namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        format!("cluster-scoped-resources/{}/{}/{}.yaml", kind.group_dir(), kind.plural, file_name(name))
    } else {
        format!(
            "namespaces/{}/{}/{}/{}.yaml",
            file_name(namespace),
            kind.group_dir(),
            kind.plural,
            file_name(name)
        )
    }
}

/// The Namespace object of a followed namespace.
#[must_use]
pub fn namespace(name: &str) -> String {
    format!("namespaces/{0}/{0}.yaml", file_name(name))
}

/// The second copy of a pod that must-gather readers look for.
#[must_use]
pub fn pod(namespace: &str, pod: &str) -> String {
    format!("namespaces/{}/pods/{1}/{1}.yaml", file_name(namespace), file_name(pod))
}

/// The log of a container.
#[must_use]
pub fn log(namespace: &str, pod: &str, container: &str, previous: bool) -> String {
    let which = if previous { "previous" } else { "current" };
    format!(
        "namespaces/{}/pods/{}/{2}/{2}/logs/{which}.log",
        file_name(namespace),
        file_name(pod),
        file_name(container)
    )
}

/// The file of all objects of a cluster-scoped kind, for the few that readers expect as a list.
#[must_use]
pub fn cluster_list(kind: &Kind) -> String {
    format!("cluster-scoped-resources/{}/{}.yaml", kind.group_dir(), kind.plural)
}

/// Product and version, two lines.
pub const VERSION: &str = "version";
/// When the collection began and ended, two lines; readers take ages from its modification time.
pub const TIMESTAMP: &str = "timestamp";
/// What the collection did, line by line.
pub const GATHER_LOG: &str = "gather.logs";
/// The events of all namespaces as one page for a browser.
pub const EVENT_FILTER: &str = "event-filter.html";

/// A discovery document, `api` or `apis`.
#[must_use]
pub fn discovery(name: &str) -> String {
    format!("aggregated-discovery-{name}.yaml")
}

/// Which run of a container a log is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// The one that ran last, rotated parts included.
    Current,
    /// The one before.
    Previous,
}

/// Which run of a container the log at this path is of; `None` for what is no log.
#[must_use]
pub fn log_run(path: &str) -> Option<Run> {
    let mut parts = path.split('/').skip_while(|part| *part != "namespaces");
    let (_, _, pods) = (parts.next()?, parts.next()?, parts.next()?);
    let (_, _, _, logs) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let name = parts.last()?;
    let is_log = pods == "pods" && logs == "logs";
    is_log.then_some(if name.starts_with("previous") { Run::Previous } else { Run::Current })
}

/// Our own files.
pub const MANIFEST: &str = "mcpgw/manifest.json";
/// Every request that failed or was refused.
pub const FAILURES: &str = "mcpgw/failures.json";
/// A role that grants what was refused, where something was.
pub const MISSING_PERMISSIONS: &str = "mcpgw/missing-permissions.yaml";
/// What was redacted: counts, never a value.
pub const REDACTION_REPORT: &str = "mcpgw/redaction-report.json";
/// The chain from registration to extension, resolved.
pub const TOPOLOGY: &str = "mcpgw/topology.json";
/// The report of the analysis that ran when the archive was made.
pub const REPORT_JSON: &str = "mcpgw/analysis/report.json";
/// The same report as text.
pub const REPORT_TEXT: &str = "mcpgw/analysis/report.txt";
/// The same report as a page.
pub const REPORT_HTML: &str = "mcpgw/analysis/report.html";
/// The same report for a support case.
pub const REPORT_MARKDOWN: &str = "mcpgw/analysis/report.md";

/// An answer of Envoy's admin port.
#[must_use]
pub fn envoy(namespace: &str, pod: &str, file: &str) -> String {
    format!("mcpgw/envoy/{}/{}/{file}", file_name(namespace), file_name(pod))
}

/// An answer of a broker.
#[must_use]
pub fn broker(namespace: &str, pod: &str, file: &str) -> String {
    format!("mcpgw/broker/{}/{}/{file}", file_name(namespace), file_name(pod))
}

/// An answer of another part of the platform, `controller` or `authorino`.
#[must_use]
pub fn component(part: &str, namespace: &str, pod: &str, file: &str) -> String {
    format!("mcpgw/{part}/{}/{}/{file}", file_name(namespace), file_name(pod))
}

/// The structure of a gateway's config Secret.
#[must_use]
pub fn config_secret(namespace: &str) -> String {
    format!("mcpgw/config-secret/{}.yaml", file_name(namespace))
}

/// A probe.
#[must_use]
pub fn probe(name: &str) -> String {
    format!("mcpgw/probes/{}.json", file_name(name))
}
