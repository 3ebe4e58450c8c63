//! Faults of the bundle and of the installation: MG002-MG007.

use oc_mcpgw::model::kinds;
use serde_json::json;

use super::Fault;
use crate::fixture::Fixture;

pub const FAULTS: &[Fault] = &[
    Fault { code: "MG001", name: "the policies were not collected", root: false, apply: uncollected },
    Fault { code: "MG002", name: "a list was refused", root: true, apply: refused },
    Fault { code: "MG003", name: "MCP gateway not installed", root: true, apply: no_mcp_gateway },
    Fault { code: "MG003", name: "Istio not installed", root: true, apply: no_istio },
    Fault { code: "MG004", name: "old Kubernetes", root: true, apply: old_kubernetes },
    Fault { code: "MG005", name: "log from the future", root: true, apply: clock_ahead },
    Fault { code: "MG006", name: "two controllers", root: true, apply: two_controllers },
    Fault { code: "MG006", name: "operator failed", root: true, apply: failed_operator },
    Fault { code: "MG007", name: "broker at debug level", root: true, apply: debug_level },
    Fault { code: "MG007", name: "connection string on the command line", root: true, apply: secret_flag },
];

fn refused(fixture: Fixture) -> Fixture {
    fixture.uncollected(&kinds::NETWORK_POLICY, Some("team-weather"))
}

/// Not a finding but an open question.
fn uncollected(fixture: Fixture) -> Fixture {
    fixture.uncollected(&kinds::AUTH_POLICY, None)
}

fn no_mcp_gateway(fixture: Fixture) -> Fixture {
    ["MCPGatewayExtension", "MCPServerRegistration", "MCPVirtualServer"]
        .iter()
        .fold(fixture, |fixture, kind| fixture.remove_all(kind, None))
        .remove("CustomResourceDefinition", "", "mcpgatewayextensions.mcp.kuadrant.io")
        .remove("CustomResourceDefinition", "", "mcpserverregistrations.mcp.kuadrant.io")
        .remove("CustomResourceDefinition", "", "mcpvirtualservers.mcp.kuadrant.io")
}

fn no_istio(fixture: Fixture) -> Fixture {
    fixture.remove_all("EnvoyFilter", None).remove(
        "CustomResourceDefinition",
        "",
        "envoyfilters.networking.istio.io",
    )
}

fn old_kubernetes(fixture: Fixture) -> Fixture {
    fixture.set("Node", "", "worker-1", "/status/nodeInfo/kubeletVersion", json!("v1.26.9"))
}

fn clock_ahead(fixture: Fixture) -> Fixture {
    fixture.append_log(
        "team-weather",
        "weather",
        "server",
        "{\"time\":\"2026-09-14T10:41:00Z\",\"level\":\"info\",\"msg\":\"tools/list\"}\n",
    )
}

fn two_controllers(fixture: Fixture) -> Fixture {
    fixture.set("Deployment", "mcp-system", "mcp-gateway-controller", "/spec/replicas", json!(2))
}

fn failed_operator(fixture: Fixture) -> Fixture {
    fixture.add(
        "apiVersion: operators.coreos.com/v1alpha1\nkind: ClusterServiceVersion\nmetadata: {name: mcp-gateway.v0.9.0, namespace: mcp-system, creationTimestamp: \"2026-08-20T09:00:00Z\"}\nspec: {}\nstatus: {phase: Failed, reason: InstallCheckFailed, message: \"install timeout\"}\n",
    )
}

fn debug_level(fixture: Fixture) -> Fixture {
    let line = "time=2026-09-14T10:20:00.1Z level=DEBUG msg=\"managing connection\" component=broker\n";
    fixture.append_log("mcp-system", "mcp-gateway", "mcp-gateway", &line.repeat(8))
}

fn secret_flag(fixture: Fixture) -> Fixture {
    fixture.edit("Deployment", "mcp-system", "mcp-gateway", |deployment| {
        let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
        let command = container["command"].as_array_mut().expect("a command");
        command.push(json!("--cache-connection-string=redis://:not-a-real-password@redis:6379"));
    })
}
