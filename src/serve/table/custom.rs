//! The columns of custom resources: those of their CRD, or of the CRD that is published, where a
//! bundle holds the objects without it.

use chrono::{DateTime, Utc};

use super::jsonpath::{JsonPath, text};
use super::{Cell, Column, age, age_of, name};
use crate::model::Object;
use crate::model::json::Value;

/// One of the `additionalPrinterColumns`.
pub(super) struct CustomColumn {
    /// Absent when the path cannot be parsed: the column stays empty, as on a cluster.
    path: Option<JsonPath>,
    kind: &'static str,
}

impl CustomColumn {
    /// The first value, in the type of the column. Source: `tableconvertor` of apiextensions.
    pub(super) fn cell(&self, object: &Object, now: DateTime<Utc>) -> Value {
        let found = self.path.as_ref().map(|path| path.find(object.value())).unwrap_or_default();
        let Some(value) = found.first() else { return Value::Null };
        match self.kind {
            "integer" => {
                value.as_i64().or_else(|| value.as_f64().map(|n| n as i64)).map_or(Value::Null, Value::from)
            }
            "number" => {
                if value.is_number() {
                    (*value).clone()
                } else {
                    Value::Null
                }
            }
            "boolean" => value.as_bool().map_or(Value::Null, Value::from),
            "date" => match value.as_str().map(DateTime::parse_from_rfc3339) {
                Some(Ok(time)) => age::since(Some(time.with_timezone(&Utc)), now).into(),
                Some(Err(_)) => "<invalid>".into(),
                None => Value::Null,
            },
            _ => text(value).into(),
        }
    }
}

fn column(name: &str, kind: &str, priority: i64, path: &str) -> Column {
    let kind = match kind {
        "integer" => "integer",
        "number" => "number",
        "boolean" => "boolean",
        "date" => "date",
        _ => "string",
    };
    let cell = Cell::Custom(CustomColumn { path: JsonPath::parse(path), kind });
    Column { name: name.to_owned(), kind, priority, cell }
}

fn first() -> Column {
    Column { name: "Name".to_owned(), kind: "string", priority: 0, cell: Cell::Builtin(name) }
}

fn last() -> Column {
    Column { name: "Age".to_owned(), kind: "string", priority: 0, cell: Cell::Builtin(age_of) }
}

/// The columns that a CRD wants; one that wants none gets the age.
pub(super) fn columns(definitions: &[Value]) -> Vec<Column> {
    let mut columns = vec![first()];
    columns.extend(definitions.iter().map(|definition| {
        let field = |key: &str| definition.get(key).and_then(Value::as_str).unwrap_or_default();
        let priority = definition.get("priority").and_then(Value::as_i64).unwrap_or_default();
        column(field("name"), field("type"), priority, field("jsonPath"))
    }));
    if definitions.is_empty() {
        columns.push(last());
    }
    columns
}

const AGE: (&str, &str, i64, &str) = ("Age", "date", 0, ".metadata.creationTimestamp");
const READY: (&str, &str, i64, &str) =
    ("Ready", "string", 0, ".status.conditions[?(@.type=='Ready')].status");
const ACCEPTED: (&str, &str, i64, &str) =
    ("Accepted", "string", 2, ".status.conditions[?(@.type=='Accepted')].status");
const ENFORCED: (&str, &str, i64, &str) =
    ("Enforced", "string", 2, ".status.conditions[?(@.type=='Enforced')].status");

/// The columns of the kinds that an MCP gateway consists of, as their projects publish them in
/// their CRDs: name, type, priority, path.
#[rustfmt::skip]
fn published(group: &str, kind: &str) -> &'static [(&'static str, &'static str, i64, &'static str)] {
    match (group, kind) {
        ("mcp.kuadrant.io", "MCPServerRegistration") => &[
            ("Prefix", "string", 0, ".spec.prefix"), ("Target", "string", 0, ".spec.targetRef.name"),
            ("Path", "string", 0, ".spec.path"), READY, ("Category", "string", 0, ".spec.category"),
            ("Credentials", "string", 0, ".spec.credentialRef.name"), AGE,
        ],
        ("mcp.kuadrant.io", _) => &[READY, AGE],
        ("gateway.networking.k8s.io", "GatewayClass") => &[
            ("Controller", "string", 0, ".spec.controllerName"),
            ("Accepted", "string", 0, ".status.conditions[?(@.type=='Accepted')].status"), AGE,
            ("Description", "string", 1, ".spec.description"),
        ],
        ("gateway.networking.k8s.io", "Gateway") => &[
            ("Class", "string", 0, ".spec.gatewayClassName"), ("Address", "string", 0, ".status.addresses[*].value"),
            ("Programmed", "string", 0, ".status.conditions[?(@.type=='Programmed')].status"), AGE,
        ],
        ("gateway.networking.k8s.io", "HTTPRoute" | "GRPCRoute") => {
            &[("Hostnames", "string", 0, ".spec.hostnames"), AGE]
        }
        ("networking.istio.io", "DestinationRule") => &[("Host", "string", 0, ".spec.host"), AGE],
        ("networking.istio.io", "ServiceEntry") => &[
            ("Hosts", "string", 0, ".spec.hosts"), ("Location", "string", 0, ".spec.location"),
            ("Resolution", "string", 0, ".spec.resolution"), AGE,
        ],
        ("networking.istio.io", "VirtualService") => &[
            ("Gateways", "string", 0, ".spec.gateways"), ("Hosts", "string", 0, ".spec.hosts"), AGE,
        ],
        ("security.istio.io", "AuthorizationPolicy") => &[("Action", "string", 0, ".spec.action"), AGE],
        ("security.istio.io", "PeerAuthentication") => &[("Mode", "string", 0, ".spec.mtls.mode"), AGE],
        ("kuadrant.io", "AuthPolicy" | "RateLimitPolicy" | "TokenRateLimitPolicy") => &[
            ACCEPTED, ENFORCED, ("TargetKind", "string", 2, ".spec.targetRef.kind"),
            ("TargetName", "string", 2, ".spec.targetRef.name"),
            ("TargetSection", "string", 2, ".spec.targetRef.sectionName"), AGE,
        ],
        ("kuadrant.io", "TLSPolicy" | "DNSPolicy") => &[
            ACCEPTED, ENFORCED, ("TargetRefKind", "string", 2, ".spec.targetRef.kind"),
            ("TargetRefName", "string", 2, ".spec.targetRef.name"),
            ("TargetSection", "string", 2, ".spec.targetRef.sectionName"), AGE,
        ],
        ("kuadrant.io", "Kuadrant") => &[
            ("Status", "string", 2, ".status.conditions[0].reason"),
            ("mTLS Authorino", "boolean", 0, ".status.mtlsAuthorino"),
            ("mTLS Limitador", "boolean", 0, ".status.mtlsLimitador"), AGE,
        ],
        ("authorino.kuadrant.io", "AuthConfig") => &[
            ("Ready", "string", 0, ".status.summary.ready"), ("Hosts", "string", 0, ".status.summary.numHostsReady"),
            ("Authentication", "integer", 2, ".status.summary.numIdentitySources"),
            ("Metadata", "integer", 2, ".status.summary.numMetadataSources"),
            ("Authorization", "integer", 2, ".status.summary.numAuthorizationPolicies"),
            ("Response", "integer", 2, ".status.summary.numResponseItems"),
            ("Wristband", "boolean", 2, ".status.summary.festivalWristbandEnabled"),
        ],
        _ => &[AGE],
    }
}

/// The columns of a kind whose CRD the bundle lacks.
pub(super) fn known(group: &str, kind: &str) -> Vec<Column> {
    let published = published(group, kind).iter();
    std::iter::once(first()).chain(published.map(|(n, t, p, path)| column(n, t, *p, path))).collect()
}
