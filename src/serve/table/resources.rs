//! The cells of built-in kinds. Source: `k8s.io/kubernetes/pkg/printers/internalversion`.

use chrono::{DateTime, Utc};

use super::age;
use crate::model::Object;
use crate::model::json::{Map, Value};

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn or(text: &str, otherwise: &str) -> Value {
    if text.is_empty() { otherwise.into() } else { text.into() }
}

pub(super) fn or_none(text: &str) -> Value {
    or(text, "<none>")
}

pub(super) fn or_unset(text: &str) -> Value {
    or(text, "<unset>")
}

pub(super) fn or_unknown(text: &str) -> Value {
    or(text, "<unknown>")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn or_na(value: Option<&Value>) -> Value {
    value.map_or("N/A".into(), |value| plain(value).into())
}

pub(super) fn or_all(value: Option<&Value>) -> Value {
    value.map_or("<all>".into(), |value| plain(value).into())
}

pub(super) fn since(then: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Value {
    then.map_or("<none>".into(), |then| age::since(Some(then), now).into())
}

pub(super) fn count(object: &Object, pointer: &str) -> Value {
    object.int(pointer).unwrap_or_default().into()
}

pub(super) fn fraction(object: &Object, part: &str, whole: &str) -> Value {
    // A workload that does not say wants one.
    format!("{}/{}", object.int(part).unwrap_or_default(), object.int(whole).unwrap_or(1)).into()
}

pub(super) fn entries(object: &Object, pointers: &[&str]) -> Value {
    let length = |pointer: &&str| object.get(pointer).and_then(Value::as_object).map_or(0, Map::len);
    pointers.iter().map(length).sum::<usize>().into()
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn pairs(value: Option<&Value>) -> Value {
    let pairs = value.and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", plain(value))).collect();
    or_none(&pairs.join(","))
}

/// A label selector with expressions, `app=a,tier in (b,c)`.
pub(super) fn label_selector(value: Option<&Value>) -> Value {
    let Some(selector) = value else { return "<none>".into() };
    let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let mut parts: Vec<String> = labels.map(|(key, value)| format!("{key}={}", plain(value))).collect();
    let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
    parts.extend(expressions.map(|expression| {
        let key = text(expression, "key");
        let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
        let values: Vec<&str> = values.filter_map(Value::as_str).collect();
        match text(expression, "operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        }
    }));
    or_none(&parts.join(","))
}

fn of_containers(object: &Object, key: &str) -> Value {
    let containers = object.array("/spec/template/spec/containers").iter();
    containers.map(|container| text(container, key)).collect::<Vec<_>>().join(",").into()
}

pub(super) fn containers(object: &Object, _: DateTime<Utc>) -> Value {
    of_containers(object, "name")
}

pub(super) fn images(object: &Object, _: DateTime<Utc>) -> Value {
    of_containers(object, "image")
}

pub(super) fn selector(object: &Object, _: DateTime<Utc>) -> Value {
    match object.get("/spec/selector") {
        Some(selector)
            if selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some() =>
        {
            label_selector(Some(selector))
        }
        other => pairs(other),
    }
}

/// The addresses of a load balancer, cut to a column's width.
pub(super) fn ingress_points(object: &Object, width: usize) -> String {
    let points = object.array("/status/loadBalancer/ingress").iter();
    let points: Vec<&str> =
        points.map(|p| if text(p, "ip").is_empty() { text(p, "hostname") } else { text(p, "ip") }).collect();
    let points = points.join(",");
    match points.char_indices().nth(width.saturating_sub(3)) {
        Some((at, _)) if points.chars().count() > width => format!("{}...", &points[..at]),
        _ => points,
    }
}

pub(super) fn external_ip(object: &Object, _: DateTime<Utc>) -> Value {
    let external = object.array("/spec/externalIPs").iter().filter_map(Value::as_str);
    let external: Vec<&str> = external.collect();
    match object.str("/spec/type") {
        "ExternalName" => object.str("/spec/externalName").into(),
        "LoadBalancer" => {
            let points = ingress_points(object, usize::MAX);
            let all = std::iter::once(points.as_str()).filter(|p| !p.is_empty()).chain(external);
            or(&all.collect::<Vec<_>>().join(","), "<pending>")
        }
        _ => or_none(&external.join(",")),
    }
}

pub(super) fn service_ports(object: &Object, _: DateTime<Utc>) -> Value {
    let ports = object.array("/spec/ports").iter().map(|port| {
        let number = |key: &str| port.get(key).and_then(Value::as_i64).filter(|n| *n > 0);
        let protocol = if text(port, "protocol").is_empty() { "TCP" } else { text(port, "protocol") };
        match number("nodePort") {
            Some(node) => format!("{}:{node}/{protocol}", number("port").unwrap_or_default()),
            None => format!("{}/{protocol}", number("port").unwrap_or_default()),
        }
    });
    or_none(&ports.collect::<Vec<_>>().join(","))
}

pub(super) fn job_status(object: &Object, _: DateTime<Utc>) -> Value {
    let is = |kind: &str| object.condition(kind).is_some_and(|c| c.is_true());
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if object.is_deleting() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
    .into()
}

pub(super) fn job_duration(object: &Object, now: DateTime<Utc>) -> Value {
    let Some(start) = object.time("/status/startTime") else { return "".into() };
    age::human(object.time("/status/completionTime").unwrap_or(now) - start).into()
}

pub(super) fn node_status(object: &Object, _: DateTime<Utc>) -> Value {
    let mut status = match object.condition("Ready") {
        Some(condition) if condition.is_true() => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object.get("/spec/unschedulable").and_then(Value::as_bool) == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    status.into()
}

pub(super) fn node_roles(object: &Object, _: DateTime<Utc>) -> Value {
    let labels = object.labels().into_iter().flatten();
    let roles: Vec<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role),
            _ if key == "kubernetes.io/role" => value.as_str().filter(|role| !role.is_empty()),
            _ => None,
        })
        .collect();
    or_none(&roles.join(","))
}

pub(super) fn node_address(object: &Object, kind: &str) -> Value {
    let found = object.array("/status/addresses").iter().find(|address| text(address, "type") == kind);
    or_none(found.map_or("", |address| text(address, "address")))
}

pub(super) fn endpoints(object: &Object, _: DateTime<Utc>) -> Value {
    let subsets = object.array("/subsets").iter();
    let all: Vec<String> = subsets
        .flat_map(|subset| {
            let list = |key: &str| subset.get(key).and_then(Value::as_array).unwrap_or_default();
            let ports: Vec<i64> =
                list("ports").iter().filter_map(|port| port.get("port")?.as_i64()).collect();
            let addresses = list("addresses").iter().map(|address| text(address, "ip"));
            addresses
                .flat_map(|ip| match ports.as_slice() {
                    [] => vec![ip.to_owned()],
                    ports => ports.iter().map(|port| format!("{ip}:{port}")).collect(),
                })
                .collect::<Vec<_>>()
        })
        .collect();
    or_none(&some_of(&all))
}

/// The first three, and how many more there are.
fn some_of(all: &[String]) -> String {
    match all {
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a},{b},{c} + {} more...", rest.len()),
        all => all.join(","),
    }
}

pub(super) fn slice_ports(object: &Object, _: DateTime<Utc>) -> Value {
    let ports: Vec<String> =
        object.array("/ports").iter().map(|port| port.get("port").map_or("*".to_owned(), plain)).collect();
    or(&some_of(&ports), "<unset>")
}

pub(super) fn slice_endpoints(object: &Object, _: DateTime<Utc>) -> Value {
    let endpoints = object.array("/endpoints").iter();
    let addresses = endpoints.filter_map(|endpoint| endpoint.get("addresses")?.as_array()).flatten();
    let all: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    or(&some_of(&all), "<unset>")
}

pub(super) fn ingress_hosts(object: &Object, _: DateTime<Utc>) -> Value {
    let hosts =
        object.array("/spec/rules").iter().map(|rule| text(rule, "host")).filter(|host| !host.is_empty());
    let hosts: Vec<String> = hosts.map(str::to_owned).collect();
    or(&some_of(&hosts), "*")
}

pub(super) fn claim_status(object: &Object, _: DateTime<Utc>) -> Value {
    if object.is_deleting() { "Terminating".into() } else { object.str("/status/phase").into() }
}

pub(super) fn access_modes(object: &Object, pointer: &str) -> Value {
    let modes = object.array(pointer).iter().filter_map(Value::as_str).map(|mode| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    });
    modes.collect::<Vec<_>>().join(",").into()
}

/// `requests.cpu: 1/2, pods: 3/10`; limits and the rest are in columns of their own.
pub(super) fn quota(object: &Object, limits: bool) -> Value {
    let hard = object.get("/status/hard").and_then(Value::as_object).into_iter().flatten();
    let parts = hard.filter(|(name, _)| name.starts_with("limits.") == limits).map(|(name, hard)| {
        let used = object.get("/status/used").and_then(|used| used.get(name)).map_or("0".to_owned(), plain);
        format!("{name}: {used}/{}", plain(hard))
    });
    parts.collect::<Vec<_>>().join(", ").into()
}

pub(super) fn subjects(object: &Object, kind: &str) -> Value {
    let of_kind = object.array("/subjects").iter().filter(|subject| text(subject, "kind") == kind);
    let names = of_kind.map(|subject| match text(subject, "namespace") {
        "" => text(subject, "name").to_owned(),
        namespace => format!("{namespace}/{}", text(subject, "name")),
    });
    names.collect::<Vec<_>>().join(", ").into()
}

pub(super) fn route_services(object: &Object, _: DateTime<Utc>) -> Value {
    let others = object.array("/spec/alternateBackends").iter().map(|backend| text(backend, "name"));
    std::iter::once(object.str("/spec/to/name")).chain(others).collect::<Vec<_>>().join(",").into()
}

pub(super) fn route_termination(object: &Object, _: DateTime<Utc>) -> Value {
    match (object.str("/spec/tls/termination"), object.str("/spec/tls/insecureEdgeTerminationPolicy")) {
        (termination, "" | "None") => termination.into(),
        (termination, insecure) => format!("{termination}/{insecure}").into(),
    }
}

/// The first time that is there: of a series, of the last of several, of a single event.
pub(super) fn event_last_seen(object: &Object, now: DateTime<Utc>) -> Value {
    let times = ["/series/lastObservedTime", "/lastTimestamp", "/deprecatedLastTimestamp", "/eventTime"];
    let last = times.iter().find_map(|pointer| object.time(pointer));
    age::since(last.or_else(|| object.time("/firstTimestamp")), now).into()
}

pub(super) fn event_first_seen(object: &Object, now: DateTime<Utc>) -> Value {
    let times = ["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"];
    age::since(times.iter().find_map(|pointer| object.time(pointer)), now).into()
}

pub(super) fn event_object(object: &Object, _: DateTime<Utc>) -> Value {
    let of = if object.get("/involvedObject").is_some() { "/involvedObject" } else { "/regarding" };
    let (kind, name) = (object.str(&format!("{of}/kind")), object.str(&format!("{of}/name")));
    if name.is_empty() {
        return kind.to_lowercase().into();
    }
    format!("{}/{name}", kind.to_lowercase()).into()
}

pub(super) fn event_source(object: &Object, _: DateTime<Utc>) -> Value {
    let component = match object.str("/source/component") {
        "" => object.str("/reportingComponent"),
        component => component,
    };
    let host = match object.str("/source/host") {
        "" => object.str("/reportingInstance"),
        host => host,
    };
    if host.is_empty() { component.into() } else { format!("{component}, {host}").into() }
}

pub(super) fn event_count(object: &Object, _: DateTime<Utc>) -> Value {
    let count =
        ["/series/count", "/count", "/deprecatedCount"].iter().find_map(|pointer| object.int(pointer));
    count.unwrap_or(1).into()
}
