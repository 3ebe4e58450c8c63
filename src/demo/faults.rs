//! The faulty installation of the `demo` command: three independent faults, with everything that
//! the controllers write because of them.
//!
//! 1. The broker's image cannot be pulled: the extension never becomes ready, the EnvoyFilter is
//!    never written, no registration gets anywhere.
//! 2. The credential Secret of `orders` lacks the label without which the controller does not see
//!    it. Nobody says so yet: the controller gives up earlier, because of the first fault.
//! 3. The route of `weather` has a hostname that its listener does not serve.

use serde_json::{Value, json};

use super::{Installation, healthy, identity};

/// The image that the cluster's registry refuses.
const IMAGE: &str = "registry.example.com/kuadrant/mcp-gateway:v0.9.1";

/// The installation with its three faults.
#[must_use]
pub fn faulty() -> Installation {
    let mut installation = healthy();
    image_cannot_be_pulled(&mut installation);
    credential_without_label(&mut installation);
    hostname_outside_the_listener(&mut installation);
    installation.refresh_answers();
    installation
}

fn image_cannot_be_pulled(installation: &mut Installation) {
    let pod = installation.pod_of("mcp-system", "mcp-gateway");
    for object in installation.objects.iter_mut().filter(|o| identity(o).1 == "mcp-system") {
        let (kind, _, name) = identity(object);
        let (template, created) = match kind {
            "Deployment" | "ReplicaSet"
                if name.starts_with("mcp-gateway") && !name.contains("controller") =>
            {
                ("/spec/template/spec/containers/0/image", "2026-09-14T09:48:31Z")
            }
            "Pod" if name == pod => ("/spec/containers/0/image", "2026-09-14T09:48:32Z"),
            "MCPGatewayExtension" => ("", "2026-09-14T09:48:30Z"),
            _ => continue,
        };
        object["metadata"]["creationTimestamp"] = json!(created);
        if let Some(image) = object.pointer_mut(template).filter(|_| !template.is_empty()) {
            *image = json!(IMAGE);
        }
    }
    if let Some(pod) = installation.get_mut("Pod", "mcp-system", &pod) {
        let status = &mut pod["status"];
        status["startTime"] = json!("2026-09-14T09:48:32Z");
        status["containerStatuses"][0] = json!({
            "name": "mcp-gateway", "image": IMAGE, "imageID": "", "ready": false, "started": false, "restartCount": 0, "lastState": {},
            "state": {"waiting": {
                "reason": "ImagePullBackOff",
                "message": format!("Back-off pulling image \"{IMAGE}\": ErrImagePull: failed to resolve reference \"{IMAGE}\": unexpected status from HEAD request: 401 Unauthorized"),
            }},
        });
    }
    installation.unready("mcp-system", "mcp-gateway", &pod);
    installation.set_log("mcp-system", &pod, "mcp-gateway", false, "");
    installation.apply(&include_str!("installation/faulty-events.yaml").replace("POD", &pod));

    let controller = installation.pod_of("mcp-system", "mcp-gateway-controller");
    let log = include_str!("logs/faulty-mcp-controller.log");
    installation.set_log("mcp-system", &controller, "mcp-controller", false, log);
    if let Some(controller) = installation.get_mut("Pod", "mcp-system", &controller) {
        set_env(&mut controller["spec"]["containers"][0]["env"], "RELATED_IMAGE_ROUTER_BROKER", IMAGE);
    }
    for (kind, name) in [
        ("Deployment", "mcp-gateway-controller".to_owned()),
        ("ReplicaSet", controller.rsplit_once('-').map_or_else(String::new, |(set, _)| set.to_owned())),
    ] {
        if let Some(owner) = installation.get_mut(kind, "mcp-system", &name) {
            let env = &mut owner["spec"]["template"]["spec"]["containers"][0]["env"];
            set_env(env, "RELATED_IMAGE_ROUTER_BROKER", IMAGE);
        }
    }

    installation.set_condition(
        ("MCPGatewayExtension", "mcp-system", "mcp-gateway"),
        ["Ready", "False", "DeploymentNotReady", "broker-router deployment is not ready"],
        "2026-09-14T09:48:31Z",
    );
    installation.remove("EnvoyFilter", "gateway-system", "mcp-ext-proc-mcp-system-gateway");
    if let Some(gateway) = installation.get_mut("Gateway", "gateway-system", "mcp-gateway")
        && let Some(conditions) =
            gateway.pointer_mut("/status/listeners/0/conditions").and_then(Value::as_array_mut)
    {
        conditions.retain(|c| c["type"] != "MCPGatewayExtension");
    }
    for (namespace, name) in
        [("team-commerce", "orders"), ("team-commerce", "inventory"), ("team-platform", "tickets")]
    {
        installation.set_condition(
            ("MCPServerRegistration", namespace, name),
            ["Ready", "False", "NotReady", "no valid mcpgatewayextensions configured"],
            "2026-09-14T09:48:32Z",
        );
    }
    for (namespace, name) in ROUTES {
        if let Some(conditions) = route_conditions(installation, namespace, name) {
            conditions.retain(|c| c["type"] != "Programmed");
        }
    }
    if let Some(secret) = installation.get_mut("Secret", "mcp-system", "mcp-gateway-config") {
        secret["data"] = json!({"config.yaml": "c2VydmVyczogW10K"});
    }
    let gateway = installation.pod_of("gateway-system", "mcp-gateway-istio");
    installation.append_log("gateway-system", &gateway, "istio-proxy", UNAVAILABLE);
}

/// The routes of the registrations.
const ROUTES: [(&str, &str); 4] = [
    ("team-weather", "weather"),
    ("team-commerce", "orders"),
    ("team-commerce", "inventory"),
    ("team-platform", "tickets"),
];

/// What the gateway logs when nobody answers for the broker.
const UNAVAILABLE: &str = r#"[2026-09-14T10:27:40.220Z] "POST /mcp HTTP/1.1" 503 UH no_healthy_upstream - "-" 211 19 0 - "203.0.113.40" "mcp-client/1.9" "8d6f2f54-0101-4c1e-8f0f-1a2b3c4d0101" "mcp.example.com:8080" "-" outbound|8080||mcp-gateway.mcp-system.svc.cluster.local - 10.244.2.11:8080 203.0.113.40:52110 - mcp-system.mcp-gateway-route.0
[2026-09-14T10:28:41.225Z] "POST /mcp HTTP/1.1" 503 UH no_healthy_upstream - "-" 211 19 0 - "203.0.113.40" "mcp-client/1.9" "8d6f2f54-0102-4c1e-8f0f-1a2b3c4d0102" "mcp.example.com:8080" "-" outbound|8080||mcp-gateway.mcp-system.svc.cluster.local - 10.244.2.11:8080 203.0.113.40:52110 - mcp-system.mcp-gateway-route.0
"#;

fn credential_without_label(installation: &mut Installation) {
    if let Some(secret) = installation.get_mut("Secret", "team-commerce", "orders-credentials") {
        secret["metadata"]["labels"] = json!({"app": "orders"});
    }
}

fn hostname_outside_the_listener(installation: &mut Installation) {
    if let Some(route) = installation.get_mut("HTTPRoute", "team-weather", "weather") {
        route["spec"]["hostnames"] = json!(["weather.mcp.example.com"]);
        route["metadata"]["generation"] = json!(2);
    }
    if let Some(conditions) = route_conditions(installation, "team-weather", "weather") {
        for condition in conditions.iter_mut() {
            condition["observedGeneration"] = json!(2);
            if condition["type"] == "Accepted" {
                condition["status"] = json!("False");
                condition["reason"] = json!("NoMatchingListenerHostname");
                condition["message"] = json!("no hostnames matched parent hostname \"*.mcp.local\"");
                condition["lastTransitionTime"] = json!("2026-09-14T09:31:07Z");
            }
        }
    }
    if let Some(gateway) = installation.get_mut("Gateway", "gateway-system", "mcp-gateway") {
        gateway["status"]["listeners"][1]["attachedRoutes"] = json!(3);
    }
    installation.objects.retain(|object| {
        let rule = object.pointer("/metadata/annotations/HTTPRouteRule.gateway.networking.k8s.io");
        !(identity(object).0 == "AuthConfig"
            && rule.and_then(Value::as_str).is_some_and(|r| r.contains(":team-weather/")))
    });
    installation.set_condition(
        ("MCPServerRegistration", "team-weather", "weather"),
        ["Ready", "False", "NotReady", "no valid gateways for httproute"],
        "2026-09-14T09:48:32Z",
    );
}

/// The conditions of a route for its only parent.
fn route_conditions<'a>(
    installation: &'a mut Installation,
    namespace: &str,
    name: &str,
) -> Option<&'a mut Vec<Value>> {
    installation
        .get_mut("HTTPRoute", namespace, name)?
        .pointer_mut("/status/parents/0/conditions")?
        .as_array_mut()
}

fn set_env(env: &mut Value, name: &str, value: &str) {
    for variable in env.as_array_mut().into_iter().flatten() {
        if variable["name"] == name {
            variable["value"] = json!(value);
        }
    }
}
