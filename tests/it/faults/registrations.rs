//! Faults of MCPServerRegistrations and of what stands behind their routes.

use serde_json::json;

use super::Fault;
use super::gateways::registration_not_ready;
use super::routes::service_gone;
use crate::fixture::Fixture;

/// The faults of this subject.
pub const FAULTS: &[Fault] = &[
    Fault {
        code: "MG402",
        name: "the target is in another namespace by field",
        root: true,
        apply: target_namespace,
    },
    Fault { code: "MG404", name: "the backend's grant is missing", root: false, apply: backend_grant },
    Fault { code: "MG407", name: "the Service is headless", root: true, apply: headless },
    Fault { code: "MG408", name: "the target port's name has a typo", root: true, apply: target_port },
    Fault { code: "MG408", name: "the port speaks SCTP", root: true, apply: sctp },
    Fault { code: "MG411", name: "the server has another path", root: true, apply: another_path },
    Fault { code: "MG411", name: "the server is no MCP server", root: true, apply: no_mcp_server },
    Fault { code: "MG411", name: "the server speaks an old protocol", root: true, apply: old_protocol },
    Fault { code: "MG412", name: "the prefix has a hyphen", root: true, apply: prefix_hyphen },
    Fault { code: "MG413", name: "two servers with one prefix", root: true, apply: same_prefix },
    Fault { code: "MG414", name: "the old field of the prefix", root: true, apply: old_prefix },
    Fault { code: "MG415", name: "the controller has no line about it", root: true, apply: not_seen },
    Fault { code: "MG416", name: "the broker does not know a server", root: true, apply: not_loaded },
    Fault { code: "MG417", name: "the server offers nothing", root: true, apply: no_tools },
    Fault { code: "MG417", name: "the server's Service lost its pods", root: false, apply: unreachable },
    Fault { code: "MG418", name: "switched off", root: true, apply: disabled },
    Fault { code: "MG419", name: "a route with two rules", root: true, apply: two_rules },
    Fault { code: "MG419", name: "a route without hostname", root: true, apply: no_hostname },
    Fault { code: "MG420", name: "a TLS port without saying so", root: true, apply: tls_port },
    Fault { code: "MG421", name: "a tool without its prefix", root: true, apply: unprefixed_tool },
    Fault { code: "MG422", name: "an entry that nobody registered", root: true, apply: stale_entry },
    Fault { code: "MG423", name: "two labels under the wildcard", root: true, apply: two_labels },
    Fault { code: "MG424", name: "the route has another path", root: true, apply: other_path },
    Fault { code: "MG401", name: "the target's name has a typo", root: true, apply: target_typo },
    Fault { code: "MG401", name: "the target is in another namespace", root: true, apply: target_elsewhere },
    Fault { code: "MG403", name: "the config Secret cannot be written", root: true, apply: not_ready },
    Fault { code: "MG403", name: "no status at all", root: true, apply: no_status },
    Fault { code: "MG405", name: "the server's image cannot be pulled", root: false, apply: pods },
    Fault { code: "MG406", name: "the Service is gone", root: true, apply: service_gone },
    Fault { code: "MG409", name: "the server is not ready", root: false, apply: pods },
    Fault { code: "MG410", name: "the selector has a typo", root: true, apply: selector },
];

const REGISTRATION: (&str, &str, &str) = ("MCPServerRegistration", "team-weather", "weather");

fn set(fixture: Fixture, pointer: &str, value: serde_json::Value) -> Fixture {
    fixture.set(REGISTRATION.0, REGISTRATION.1, REGISTRATION.2, pointer, value)
}

/// The server has always been at this path, and the broker finds it there.
fn other_path(fixture: Fixture) -> Fixture {
    set(fixture, "/spec/path", json!("/v2/mcp"))
}

fn target_typo(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/targetRef/name", json!("wether"));
    registration_not_ready(
        fixture,
        "team-weather",
        "weather",
        "failed to get targeted httproute HTTPRoute.gateway.networking.k8s.io \"wether\" not found",
    )
}

fn target_elsewhere(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/targetRef/name", json!("orders"));
    registration_not_ready(
        fixture,
        "team-weather",
        "weather",
        "failed to get targeted httproute HTTPRoute.gateway.networking.k8s.io \"orders\" not found",
    )
}

fn not_ready(fixture: Fixture) -> Fixture {
    registration_not_ready(
        fixture,
        "team-weather",
        "weather",
        "failed to write config: secrets \"mcp-gateway-config\" is forbidden: User \
         \"system:serviceaccount:mcp-system:mcp-controller\" cannot update resource \"secrets\" in API group \"\" in the \
         namespace \"mcp-system\"",
    )
}

fn no_status(fixture: Fixture) -> Fixture {
    set(fixture, "/status", json!({}))
}

fn pods(fixture: Fixture) -> Fixture {
    fixture.pod_waits("team-weather", "weather", "ImagePullBackOff", "Back-off pulling image")
}

fn selector(mut fixture: Fixture) -> Fixture {
    for object in &mut fixture.installation.objects {
        let service = object["metadata"]["labels"]["kubernetes.io/service-name"] == "weather";
        if object["metadata"]["namespace"] == "team-weather" && service {
            object["endpoints"] = json!([]);
        }
    }
    fixture.set("Service", "team-weather", "weather", "/spec/selector", json!({"app": "wether"}))
}

fn target_namespace(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/targetRef/namespace", json!("team-commerce"));
    let fixture = set(fixture, "/spec/targetRef/name", json!("inventory"));
    registration_not_ready(
        fixture,
        "team-weather",
        "weather",
        "failed to get targeted httproute HTTPRoute.gateway.networking.k8s.io \"inventory\" not found",
    )
}

fn backend_grant(fixture: Fixture) -> Fixture {
    let route = |fixture: Fixture, field: &str, value: serde_json::Value| {
        fixture.set(
            "HTTPRoute",
            "team-weather",
            "weather",
            &format!("/spec/rules/0/backendRefs/0/{field}"),
            value,
        )
    };
    let fixture = route(fixture, "namespace", json!("team-commerce"));
    let fixture = route(fixture, "name", json!("orders"));
    let fixture = route(fixture, "port", json!(9090));
    fixture.route_status(
        "team-weather",
        "weather",
        ["ResolvedRefs", "False", "RefNotPermitted", "backendRef orders/team-commerce not accessible"],
    )
}

fn headless(fixture: Fixture) -> Fixture {
    fixture.set("Service", "team-weather", "weather", "/spec/clusterIP", json!("None"))
}

fn sctp(fixture: Fixture) -> Fixture {
    fixture.set("Service", "team-weather", "weather", "/spec/ports/0/protocol", json!("SCTP"))
}

fn target_port(fixture: Fixture) -> Fixture {
    fixture.set("Service", "team-weather", "weather", "/spec/ports/0/targetPort", json!("mpc"))
}

/// Changes what the broker says about one server.
fn broker_says(fixture: Fixture, server: &str, change: impl Fn(&mut serde_json::Value)) -> Fixture {
    let pod = fixture.pod_of("mcp-system", "mcp-gateway");
    let path = format!("mcpgw/broker/mcp-system/{pod}/status.json");
    let content = fixture.installation.extras.iter().find(|(p, _)| *p == path).expect("a status").1.clone();
    let mut status: serde_json::Value = serde_json::from_slice(&content).expect("JSON");
    let servers = status["servers"].as_array_mut().expect("servers");
    change(servers.iter_mut().find(|s| s["name"] == server).expect("the server"));
    fixture.extra(&path, status.to_string().as_bytes())
}

/// The broker cannot use a server, with this error.
pub fn broker_fails(fixture: Fixture, server: &str, message: &str) -> Fixture {
    broker_says(fixture, server, |server| {
        server["ready"] = json!(false);
        server["totalTools"] = json!(0);
        server["message"] = json!(message);
    })
}

fn another_path(fixture: Fixture) -> Fixture {
    fixture.probe("mcp-initialize.team-weather.weather", |probe| {
        probe["status"] = json!(404);
        probe["body"] = json!({"bytes": 9, "contentType": "text/plain"});
    })
}

fn no_mcp_server(fixture: Fixture) -> Fixture {
    fixture.probe("mcp-initialize.team-weather.weather", |probe| {
        probe["body"] = json!({"bytes": 612, "contentType": "text/html"});
    })
}

fn old_protocol(fixture: Fixture) -> Fixture {
    broker_says(fixture, "team-weather/weather", |server| {
        server["protocolValidation"] =
            json!({"isValid": false, "supportedVersion": "2024-11-05", "expectedVersion": "2025-11-25"});
    })
}

/// Sets the prefix of a registration, under the name that its version has for the field.
fn prefix(fixture: Fixture, namespace: &str, name: &str, prefix: &str) -> Fixture {
    fixture.edit("MCPServerRegistration", namespace, name, |registration| {
        let field = if registration["spec"]["toolPrefix"].is_string() { "toolPrefix" } else { "prefix" };
        registration["spec"][field] = json!(prefix);
    })
}

fn prefix_hyphen(fixture: Fixture) -> Fixture {
    prefix(fixture, REGISTRATION.1, REGISTRATION.2, "weather-v2")
}

fn same_prefix(fixture: Fixture) -> Fixture {
    let fixture = prefix(fixture, "team-commerce", "inventory", "weather_");
    let fixture = fixture.set(
        "MCPVirtualServer",
        "mcp-system",
        "shop-assistant",
        "/spec/tools",
        json!(["orders_get_order"]),
    );
    fixture.status(
        "MCPServerRegistration",
        "team-commerce",
        "inventory",
        [
            "Ready",
            "False",
            "PrefixConflict",
            "conflict: prefix \"weather_\" is already used by MCPServerRegistration team-weather/weather in the same \
             MCPGatewayExtension",
        ],
    )
}

fn old_prefix(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/prefix", serde_json::Value::Null);
    set(fixture, "/spec/toolPrefix", json!("weather_"))
}

fn not_seen(mut fixture: Fixture) -> Fixture {
    let pod = fixture.pod_of("mcp-system", "mcp-gateway-controller");
    let log = fixture
        .installation
        .logs
        .iter()
        .find(|log| log.pod == pod && !log.previous)
        .map(|log| log.text.clone())
        .expect("a log");
    let kept: Vec<&str> = log.lines().filter(|line| !line.contains("name=weather")).collect();
    fixture = fixture.log(
        "mcp-system",
        "mcp-gateway-controller",
        "mcp-controller",
        false,
        &(kept.join("\n") + "\n"),
    );
    fixture
}

fn not_loaded(fixture: Fixture) -> Fixture {
    let pod = fixture.pod_of("mcp-system", "mcp-gateway");
    let path = format!("mcpgw/broker/mcp-system/{pod}/status.json");
    let content = fixture.installation.extras.iter().find(|(p, _)| *p == path).expect("a status").1.clone();
    let mut status: serde_json::Value = serde_json::from_slice(&content).expect("JSON");
    status["servers"].as_array_mut().expect("servers").retain(|s| s["name"] != "team-weather/weather");
    fixture.extra(&path, status.to_string().as_bytes())
}

fn no_tools(fixture: Fixture) -> Fixture {
    broker_says(fixture, "team-weather/weather", |server| server["totalTools"] = json!(0))
}

fn unreachable(fixture: Fixture) -> Fixture {
    broker_fails(
        selector(fixture),
        "team-weather/weather",
        "dial tcp 10.96.31.11:8080: connect: connection refused",
    )
}

fn disabled(fixture: Fixture) -> Fixture {
    let fixture = set(fixture, "/spec/state", json!("Disabled"));
    fixture.status(
        REGISTRATION.0,
        REGISTRATION.1,
        REGISTRATION.2,
        ["Ready", "False", "Disabled", "server is disabled"],
    )
}

fn two_rules(fixture: Fixture) -> Fixture {
    let fixture = fixture.edit("HTTPRoute", "team-weather", "weather", |route| {
        let mut rule = route["spec"]["rules"][0].clone();
        rule["matches"][0]["path"]["value"] = json!("/sse");
        route["spec"]["rules"].as_array_mut().expect("rules").push(rule);
    });
    registration_not_ready(
        fixture.refresh_answers(),
        "team-weather",
        "weather",
        "HTTPRoute team-weather/weather has > 1 rule, which is unsupported",
    )
}

fn no_hostname(fixture: Fixture) -> Fixture {
    let fixture = fixture.edit("HTTPRoute", "team-weather", "weather", |route| {
        route["spec"].as_object_mut().expect("a spec").remove("hostnames");
    });
    registration_not_ready(
        fixture.refresh_answers(),
        "team-weather",
        "weather",
        "HTTPRoute team-weather/weather must have at least one hostname",
    )
}

fn tls_port(fixture: Fixture) -> Fixture {
    let fixture = fixture.set("Service", "team-weather", "weather", "/spec/ports/0/port", json!(443)).set(
        "Service",
        "team-weather",
        "weather",
        "/spec/ports/0/appProtocol",
        serde_json::Value::Null,
    );
    fixture
        .set("HTTPRoute", "team-weather", "weather", "/spec/rules/0/backendRefs/0/port", json!(443))
        .refresh_answers()
}

fn unprefixed_tool(fixture: Fixture) -> Fixture {
    fixture.set("MCPVirtualServer", "mcp-system", "shop-assistant", "/spec/tools/2", json!("stock"))
}

/// The registration was deleted by force, and its entry stays.
fn stale_entry(fixture: Fixture) -> Fixture {
    fixture.remove(REGISTRATION.0, REGISTRATION.1, REGISTRATION.2).remove(
        "HTTPRoute",
        "team-weather",
        "weather",
    )
}

fn two_labels(fixture: Fixture) -> Fixture {
    let fixture = fixture
        .set("HTTPRoute", "team-weather", "weather", "/spec/hostnames", json!(["v2.weather.mcp.local"]))
        .set(
            "HTTPRoute",
            "team-weather",
            "weather",
            "/spec/parentRefs/0/sectionName",
            serde_json::Value::Null,
        )
        .set(
            "HTTPRoute",
            "team-weather",
            "weather",
            "/status/parents/0/parentRef/sectionName",
            serde_json::Value::Null,
        );
    registration_not_ready(
        fixture.refresh_answers(),
        "team-weather",
        "weather",
        "no matching mcpgatewayextensions for attached listener",
    )
}
