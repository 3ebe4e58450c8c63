//! Faults of the bundle and of the installation: MG002-MG007.

use oc_mcpgw::model::kinds;

use super::Fault;
use crate::fixture::Fixture;

pub const FAULTS: &[Fault] = &[
    Fault { code: "MG002", name: "a list was refused", root: true, apply: refused },
    Fault { code: "MG003", name: "MCP gateway not installed", root: true, apply: no_mcp_gateway },
    Fault { code: "MG003", name: "Istio not installed", root: true, apply: no_istio },
];

fn refused(fixture: Fixture) -> Fixture {
    fixture.uncollected(&kinds::NETWORK_POLICY, Some("team-weather"))
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
