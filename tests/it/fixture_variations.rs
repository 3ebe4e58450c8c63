//! Healthy installations that look unusual: what people really run, and what an eager rule would
//! take for a fault.

use oc_mcpgw::demo;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::fixture_kinds::{https_wildcard, openshift};

/// Every variation, by name.
pub fn variations() -> Vec<(&'static str, Fixture)> {
    vec![
        ("lived-in", lived_in()),
        ("lived-in-openshift", lived_in_openshift()),
        ("other-names", other_names()),
        ("port-80", port_80()),
        ("many-replicas", many_replicas()),
        ("jobs-and-rollouts", jobs_and_rollouts()),
        ("sidecars", sidecars()),
        ("dual-stack", dual_stack()),
        ("two-parents", two_parents()),
        ("manual-deployment", manual_deployment()),
        ("mixed-api-versions", mixed_api_versions()),
        ("extra-conditions", extra_conditions()),
        ("certificate-for-40-days", certificate_for_40_days()),
        ("wasm-plugin", wasm_plugin()),
        ("one-namespace", one_namespace()),
        ("disabled-server", disabled_server()),
        ("filtered-tools", filtered_tools()),
        ("just-registered", just_registered()),
        ("a-conflict-of-writers", a_conflict_of_writers()),
    ]
}

/// A server that became ready a minute before the collection: the kubelet has not brought its entry to the broker.
fn just_registered() -> Fixture {
    let fixture = crate::faults::named("MG416", "the broker does not know a server", Fixture::healthy());
    fixture.set(
        "MCPServerRegistration",
        "team-weather",
        "weather",
        "/status/conditions/0/lastTransitionTime",
        json!((demo::reference_time() - chrono::TimeDelta::minutes(1)).to_rfc3339()),
    )
}

/// Errors of a controller that was not the only one to write; it tried again and was done.
fn a_conflict_of_writers() -> Fixture {
    (0..5).fold(Fixture::healthy(), |fixture, second| {
        fixture.append_log(
            "mcp-system",
            "mcp-gateway-controller",
            "mcp-controller",
            &format!(
                "time=2026-09-14T10:28:4{second}.000Z level=ERROR msg=\"Reconciler error\" \
                 controller=mcpgatewayextension namespace=mcp-system name=mcp-gateway error=\"Operation cannot be \
                 fulfilled on mcpgatewayextensions: the object has been modified; please apply your changes to the \
                 latest version and try again\"\n"
            ),
        )
    })
}

/// The tools that a client sees are those of its wristband, which the broker can verify.
fn filtered_tools() -> Fixture {
    let pair = rcgen::KeyPair::generate().expect("randomness");
    crate::faults::wristband(Fixture::healthy(), &pair, &pair)
}

const GATEWAY: (&str, &str, &str) = ("Gateway", "gateway-system", "mcp-gateway");

/// Network policies that close everything but what is needed, limits, records, scaling, and
/// containers that crashed long ago.
fn lived_in() -> Fixture {
    let mut fixture = Fixture::healthy().add(include_str!("fixture_lived_in.yaml"));
    for (namespace, name) in [("mcp-system", "mcp-gateway"), ("team-commerce", "orders")] {
        fixture = restarted_long_ago(fixture, namespace, name);
    }
    let answers = [(
        "well-known",
        json!({"request": "GET http://mcp.example.com:8080/.well-known/oauth-protected-resource", "status": 200}),
    )];
    for (name, answer) in answers {
        fixture = fixture.extra(&format!("mcpgw/probes/{name}.json"), answer.to_string().as_bytes());
    }
    fixture.refresh_answers()
}

/// A crash on the day on which the pod was made, two days before the collection, and its log.
fn restarted_long_ago(fixture: Fixture, namespace: &str, deployment: &str) -> Fixture {
    let mut container = String::new();
    fixture
        .edit("Pod", namespace, deployment, |pod| {
            let status = &mut pod["status"]["containerStatuses"][0];
            container = status["name"].as_str().expect("a name").to_owned();
            status["restartCount"] = json!(1);
            status["lastState"] = json!({"terminated": {"exitCode": 1, "reason": "Error",
                "startedAt": "2026-09-12T06:19:58Z", "finishedAt": "2026-09-12T06:20:01Z"}});
        })
        .log(
            namespace,
            deployment,
            &container,
            true,
            "time=2026-09-12T06:20:01Z level=ERROR msg=\"not yet there\"\n",
        )
}

/// The OpenShift class with an egress firewall and a DNS record.
fn lived_in_openshift() -> Fixture {
    openshift().add(
        r#"
apiVersion: k8s.ovn.org/v1
kind: EgressFirewall
metadata: {name: default, namespace: openshift-ingress, creationTimestamp: "2026-08-20T08:44:00Z"}
spec:
  egress:
  - {type: Allow, to: {dnsName: tickets.vendor.example}, ports: [{protocol: TCP, port: 443}]}
  - {type: Allow, to: {cidrSelector: 10.0.0.0/8}}
  - {type: Deny, to: {cidrSelector: 0.0.0.0/0}}
status: {status: EgressFirewall Rules applied}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-all, namespace: mcp-system, creationTimestamp: "2026-08-20T08:44:00Z"}
spec: {podSelector: {}, policyTypes: [Ingress], ingress: [{}]}
---
apiVersion: kuadrant.io/v1alpha1
kind: DNSRecord
metadata: {name: mcp-gateway-mcp, namespace: openshift-ingress, creationTimestamp: "2026-08-26T07:00:05Z"}
spec:
  endpoints:
  - {dnsName: mcp.apps.example.com, recordType: A, recordTTL: 60, targets: [198.51.100.20]}
  rootHost: mcp.apps.example.com
status:
  conditions:
  - {type: Ready, status: "True", reason: ProviderSuccess, message: Provider ensured the dns record, lastTransitionTime: "2026-08-26T07:01:05Z"}
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: vendors, creationTimestamp: "2026-08-05T08:00:00Z"}
spec:
  priority: 30
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: mcp-system}}}
  egress:
  - {name: vendors, action: Allow, to: [{domainNames: ["*.vendor.example"]}], ports: [{portNumber: {protocol: TCP, port: 443}}]}
  - {name: no-internet, action: Deny, to: [{networks: [0.0.0.0/0]}], ports: [{portNumber: {protocol: TCP, port: 443}}]}
---
apiVersion: policy.networking.k8s.io/v1alpha1
kind: BaselineAdminNetworkPolicy
metadata: {name: default, creationTimestamp: "2026-08-05T08:00:00Z"}
spec:
  subject: {namespaces: {matchLabels: {tenant: isolated}}}
  egress: [{name: isolated, action: Deny, to: [{networks: [0.0.0.0/0]}]}]
"#,
    )
}

/// Other namespaces, listeners, classes of names: nothing may depend on ours.
fn other_names() -> Fixture {
    Fixture::from(demo::renamed(&[
        ("gateway-system", "edge"),
        ("mcp-system", "ai-tools"),
        ("kuadrant-system", "policy"),
        ("istio-system", "mesh"),
        ("team-", "prj-7-"),
        ("name: mcps\n", "name: backends\n"),
        ("sectionName: mcps", "sectionName: backends"),
        ("name: mcp\n    hostname", "name: public\n    hostname"),
        ("- name: mcp\n    attachedRoutes", "- name: public\n    attachedRoutes"),
        ("sectionName: mcp\n", "sectionName: public\n"),
        ("sectionName: mcp}", "sectionName: public}"),
        ("gateway listener mcp ", "gateway listener public "),
        ("mcp.example.com", "tools.corp.example.net"),
        (".mcp.local", ".mcp.internal"),
    ]))
}

/// The listeners on port 80, as many people have it.
fn port_80() -> Fixture {
    Fixture::from(demo::renamed(&[
        (
            "    port: 8080\n    protocol: HTTP\n    allowedRoutes",
            "    port: 80\n    protocol: HTTP\n    allowedRoutes",
        ),
        (
            "{name: mcp, port: 8080, targetPort: 8080, nodePort: 31880",
            "{name: mcp, port: 80, targetPort: 80, nodePort: 31880",
        ),
        ("portNumber: 8080", "portNumber: 80"),
        (
            "mcp-gateway-istio.gateway-system.svc.cluster.local:8080",
            "mcp-gateway-istio.gateway-system.svc.cluster.local:80",
        ),
        ("mcp.example.com:8080", "mcp.example.com"),
    ]))
}

/// Three brokers with a session store, two proxies, two controllers of Istio, an autoscaler.
fn many_replicas() -> Fixture {
    let store = r#"
apiVersion: v1
kind: Secret
metadata: {name: sessions, namespace: mcp-system, creationTimestamp: "2026-08-21T08:00:00Z", labels: {mcp.kuadrant.io/secret: "true"}}
type: Opaque
stringData: {CACHE_CONNECTION_STRING: "redis://sessions.mcp-system.svc.cluster.local:6379"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: sessions, namespace: mcp-system, creationTimestamp: "2026-08-21T08:00:00Z", labels: {app: sessions}}
spec:
  replicas: 1
  selector: {matchLabels: {app: sessions}}
  template:
    metadata: {labels: {app: sessions}}
    spec:
      containers:
      - {name: valkey, image: "docker.io/valkey/valkey:8", ports: [{containerPort: 6379, protocol: TCP}]}
---
apiVersion: v1
kind: Service
metadata: {name: sessions, namespace: mcp-system, creationTimestamp: "2026-08-21T08:00:00Z"}
spec: {selector: {app: sessions}, ports: [{name: redis, port: 6379, targetPort: 6379}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: mcp-gateway-istio, namespace: gateway-system, creationTimestamp: "2026-08-21T08:00:00Z"}
spec: {minReplicas: 2, maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: mcp-gateway-istio}}
status: {currentReplicas: 2, desiredReplicas: 2, conditions: [{type: ScalingActive, status: "True", reason: ValidMetricFound, lastTransitionTime: "2026-08-21T08:00:00Z"}, {type: ScalingLimited, status: "True", reason: TooFewReplicas, lastTransitionTime: "2026-08-21T08:00:00Z"}]}
"#;
    let mut fixture = Fixture::healthy()
        .set(
            "MCPGatewayExtension",
            "mcp-system",
            "mcp-gateway",
            "/spec/sessionStore",
            json!({"secretName": "sessions"}),
        )
        .edit_broker(|container| {
            let variable = json!({"name": "CACHE_CONNECTION_STRING",
                "valueFrom": {"secretKeyRef": {"name": "sessions", "key": "CACHE_CONNECTION_STRING"}}});
            container["env"].as_array_mut().expect("variables").push(variable);
        });
    for (namespace, name, replicas) in [
        ("mcp-system", "mcp-gateway", 3),
        ("gateway-system", "mcp-gateway-istio", 2),
        ("team-weather", "weather", 2),
    ] {
        fixture = scaled(fixture, namespace, name, replicas);
    }
    fixture.add(store).refresh_answers()
}

/// Runs this many pods of a Deployment.
fn scaled(mut fixture: Fixture, namespace: &str, name: &str, replicas: u64) -> Fixture {
    let prefix = format!("{name}-");
    fixture.installation.objects.retain(|object| {
        let is = |kind: &str| object["kind"] == kind;
        let of = object["metadata"]["namespace"] == namespace
            && object["metadata"]["name"].as_str().is_some_and(|n| n.starts_with(&prefix));
        let own = object["metadata"]["ownerReferences"][0]["name"] == name;
        !(of && own && (is("ReplicaSet") || is("EndpointSlice")))
    });
    // Each pod logs what the first does.
    let first = fixture.pod_of(namespace, name);
    let logs: Vec<_> = fixture
        .installation
        .logs
        .iter()
        .filter(|l| l.namespace == namespace && l.pod == first)
        .cloned()
        .collect();
    let mut fixture = fixture
        .edit("Deployment", namespace, name, |deployment| {
            deployment["spec"]["replicas"] = json!(replicas);
            deployment.as_object_mut().expect("an object").remove("status");
        })
        .add("");
    let set = first.rsplit_once('-').expect("a pod's name").0;
    let pods = fixture.installation.objects.iter().filter(|o| o["kind"] == "Pod");
    let names: Vec<String> = pods
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .filter(|name| name.starts_with(set) && *name != first)
        .map(str::to_owned)
        .collect();
    assert_eq!(names.len() as u64 + 1, replicas);
    for pod in names {
        for log in &logs {
            fixture.installation.set_log(namespace, &pod, &log.container, log.previous, &log.text);
        }
    }
    fixture
}

/// Pods of jobs that have ended, a pod that is ending, and an old ReplicaSet.
fn jobs_and_rollouts() -> Fixture {
    let mut fixture = Fixture::healthy();
    for (namespace, name, reason, code) in [
        ("mcp-system", "migrate-7hx2p", "Completed", 0),
        ("team-weather", "import-29310-k8v4d", "Completed", 0),
    ] {
        fixture.installation.objects.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "uid": format!("job-{name}"),
                "creationTimestamp": "2026-09-14T02:00:00Z", "labels": {"job-name": name, "app": "migrate"}},
            "spec": {"restartPolicy": "Never", "nodeName": "worker-1", "containers": [{"name": "main", "image": "registry.example.com/tools/job:1"}]},
            "status": {"phase": "Succeeded", "conditions": [
                {"type": "Ready", "status": "False", "reason": "PodCompleted", "lastTransitionTime": "2026-09-14T02:01:00Z"},
                {"type": "ContainersReady", "status": "False", "reason": "PodCompleted", "lastTransitionTime": "2026-09-14T02:01:00Z"},
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-09-14T02:00:00Z"}],
                "containerStatuses": [{"name": "main", "ready": false, "restartCount": 0, "image": "registry.example.com/tools/job:1",
                    "state": {"terminated": {"exitCode": code, "reason": reason, "startedAt": "2026-09-14T02:00:02Z", "finishedAt": "2026-09-14T02:01:00Z"}}}]},
        }));
    }
    for (namespace, name) in [("mcp-system", "mcp-gateway"), ("team-commerce", "orders")] {
        let current = fixture.pod_of(namespace, name);
        let mut ending = fixture.installation.get("Pod", namespace, &current).expect("a pod").clone();
        let old = format!("{name}-5c4d7f6b88");
        ending["metadata"]["name"] = json!(format!("{old}-zx81q"));
        ending["metadata"]["uid"] = json!(format!("ending-{name}"));
        ending["metadata"]["deletionTimestamp"] = json!("2026-09-14T10:29:58Z");
        ending["metadata"]["ownerReferences"][0]["name"] = json!(old);
        ending["metadata"]["ownerReferences"][0]["uid"] = json!(format!("old-{name}"));
        ending["metadata"]["labels"]["pod-template-hash"] = json!("5c4d7f6b88");
        for condition in ending["status"]["conditions"].as_array_mut().expect("conditions") {
            if condition["type"] == "Ready" || condition["type"] == "ContainersReady" {
                condition["status"] = json!("False");
                condition["reason"] = json!("ContainersNotReady");
                condition["lastTransitionTime"] = json!("2026-09-14T10:29:50Z");
            }
        }
        let status = &mut ending["status"]["containerStatuses"][0];
        status["ready"] = json!(false);
        status["state"] =
            json!({"terminated": {"exitCode": 143, "reason": "Error", "finishedAt": "2026-09-14T10:29:59Z"}});
        let set = current.rsplit_once('-').expect("a pod's name").0;
        let mut before = fixture.installation.get("ReplicaSet", namespace, set).expect("a set").clone();
        before["metadata"]["name"] = json!(old);
        before["metadata"]["uid"] = json!(format!("old-{name}"));
        before["metadata"]["labels"]["pod-template-hash"] = json!("5c4d7f6b88");
        before["spec"]["selector"]["matchLabels"]["pod-template-hash"] = json!("5c4d7f6b88");
        before["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] = json!("5c4d7f6b88");
        before["spec"]["replicas"] = json!(0);
        before["status"] = json!({"replicas": 0, "observedGeneration": 2});
        fixture.installation.objects.push(ending);
        fixture.installation.objects.push(before);
    }
    fixture.refresh_answers()
}

/// Servers with a proxy beside them: as a native sidecar, and as a second container.
fn sidecars() -> Fixture {
    let proxy = json!({"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.29.0", "args": ["proxy", "sidecar"],
        "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}]});
    let status = json!({"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.29.0", "ready": true, "started": true,
        "restartCount": 0, "state": {"running": {"startedAt": "2026-09-12T06:20:00Z"}}, "lastState": {}});
    Fixture::healthy()
        .edit("Pod", "team-weather", "weather", |pod| {
            let mut native = proxy.clone();
            native["restartPolicy"] = json!("Always");
            pod["spec"]["initContainers"] = json!([{"name": "istio-init", "image": "docker.io/istio/proxyv2:1.29.0"}, native]);
            let ended = json!({"name": "istio-init", "image": "docker.io/istio/proxyv2:1.29.0", "ready": true, "restartCount": 0,
                "state": {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-09-12T06:19:59Z"}}});
            pod["status"]["initContainerStatuses"] = json!([ended, status]);
        })
        .edit("Pod", "team-commerce", "orders", |pod| {
            pod["spec"]["containers"].as_array_mut().expect("containers").push(proxy.clone());
            pod["status"]["containerStatuses"].as_array_mut().expect("statuses").push(status.clone());
        })
}

/// Both families of addresses.
fn dual_stack() -> Fixture {
    let mut fixture = Fixture::healthy().edit(GATEWAY.0, GATEWAY.1, GATEWAY.2, |gateway| {
        gateway["status"]["addresses"]
            .as_array_mut()
            .expect("addresses")
            .push(json!({"type": "IPAddress", "value": "2001:db8::20"}));
    });
    let mut more = Vec::new();
    for (at, slice) in
        fixture.installation.objects.iter().filter(|o| o["kind"] == "EndpointSlice").enumerate()
    {
        let mut second = slice.clone();
        let name = second["metadata"]["name"].as_str().expect("a name").to_owned() + "v6";
        second["metadata"]["name"] = json!(name);
        second["metadata"]["uid"] = json!(format!("slice-{at}"));
        second["addressType"] = json!("IPv6");
        for (number, endpoint) in
            second["endpoints"].as_array_mut().expect("endpoints").iter_mut().enumerate()
        {
            endpoint["addresses"] = json!([format!("fd00:10:244:1::{at:x}{number:x}")]);
        }
        more.push(second);
    }
    fixture.installation.objects.extend(more);
    fixture
        .edit_all("Service", |service| {
            service["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
            service["spec"]["ipFamilyPolicy"] = json!("PreferDualStack");
        })
        .edit_all("Pod", |pod| {
            let four = pod["status"]["podIP"].clone();
            pod["status"]["podIPs"] = json!([{"ip": four}, {"ip": "fd00:10:244:1::1"}]);
        })
        .refresh_answers()
}

/// A route of an ordinary application on another Gateway and on a port of ours that is not MCP's.
/// (A registered route must not do that: its controller gives up at the first Gateway without extension.)
fn two_parents() -> Fixture {
    let mut fixture = Fixture::healthy().edit(GATEWAY.0, GATEWAY.1, GATEWAY.2, |gateway| {
        let mut listener = gateway["spec"]["listeners"][0].clone();
        listener["name"] = json!("web");
        listener["port"] = json!(8090);
        listener["hostname"] = json!("shop.example.com");
        gateway["spec"]["listeners"].as_array_mut().expect("listeners").push(listener);
        let mut status = gateway["status"]["listeners"][0].clone();
        status["name"] = json!("web");
        status["conditions"]
            .as_array_mut()
            .expect("conditions")
            .retain(|c| c["type"] != "MCPGatewayExtension");
        gateway["status"]["listeners"].as_array_mut().expect("listeners").push(status);
    });
    let copies: Vec<Value> = fixture
        .installation
        .objects
        .iter()
        .filter(|object| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            object["metadata"]["namespace"] == "gateway-system"
                && (object["kind"] == "Gateway" || name.starts_with("mcp-gateway-istio"))
        })
        .map(|object| {
            let text = object.to_string();
            let text = text
                .replace("mcp-gateway-istio", "internal-istio")
                .replace("\"mcp-gateway\"", "\"internal\"")
                .replace("198.51.100.20", "198.51.100.30")
                .replace("10.96.14.20", "10.96.14.30");
            let mut copy: Value = serde_json::from_str(&text).expect("JSON");
            copy["metadata"]["uid"] =
                json!(format!("{}-internal", object["metadata"]["uid"].as_str().unwrap_or_default()));
            if copy["kind"] == "Gateway" {
                copy["spec"]["listeners"] = json!([copy["spec"]["listeners"][2].clone()]);
                copy["status"]["listeners"] = json!([copy["status"]["listeners"][2].clone()]);
            }
            copy
        })
        .collect();
    fixture.installation.objects.extend(copies);
    let mut route =
        fixture.installation.get("HTTPRoute", "team-commerce", "orders").expect("a route").clone();
    route["metadata"] = json!({"name": "shop", "namespace": "team-commerce", "uid": "shop", "creationTimestamp": "2026-08-24T13:20:02Z", "generation": 1});
    route["spec"]["hostnames"] = json!(["shop.example.com"]);
    for pointer in ["/spec/parentRefs", "/status/parents"] {
        let list = route.pointer_mut(pointer).and_then(Value::as_array_mut).expect("parents");
        let text = list[0].to_string().replace("\"mcps\"", "\"web\"");
        let other = text.replace("\"mcp-gateway\"", "\"internal\"");
        *list = [text, other].iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
    }
    fixture.installation.objects.push(route);
    fixture.refresh_answers()
}

/// A Gateway that names a Service of its own instead of having Istio deploy the proxy.
fn manual_deployment() -> Fixture {
    let mut fixture = Fixture::healthy();
    for object in &mut fixture.installation.objects {
        let of = object["metadata"]["ownerReferences"][0]["kind"] == "Gateway";
        if of {
            object["metadata"].as_object_mut().expect("metadata").remove("ownerReferences");
            let labels = object["metadata"]["labels"].as_object_mut().expect("labels");
            labels.remove("gateway.istio.io/managed");
        }
    }
    fixture.set(
        GATEWAY.0,
        GATEWAY.1,
        GATEWAY.2,
        "/spec/addresses",
        json!([{"type": "Hostname", "value": "mcp-gateway-istio.gateway-system.svc.cluster.local"}]),
    )
}

/// The same kinds in the older versions in which clusters still serve them.
fn mixed_api_versions() -> Fixture {
    let beta = |object: &mut Value| {
        object["apiVersion"] = json!(object["apiVersion"].as_str().expect("text").replace("/v1", "/v1beta1"));
    };
    Fixture::healthy()
        .edit("HTTPRoute", "team-weather", "weather", beta)
        .edit("HTTPRoute", "team-commerce", "orders", beta)
        .edit("ReferenceGrant", "gateway-system", "allow-mcp-system", |grant| {
            grant["apiVersion"] = json!("gateway.networking.k8s.io/v1");
        })
        .edit("ServiceEntry", "team-platform", "tickets-vendor", beta)
        .edit("DestinationRule", "team-platform", "tickets-vendor", |rule| {
            rule["apiVersion"] = json!("networking.istio.io/v1alpha3");
        })
}

/// Conditions of other controllers, of which some are false when all is well.
fn extra_conditions() -> Fixture {
    Fixture::healthy()
        .status(GATEWAY.0, GATEWAY.1, GATEWAY.2, ["kuadrant.io/AuthPolicyAffected", "True", "Accepted", "Object affected by AuthPolicy"])
        .status(GATEWAY.0, GATEWAY.1, GATEWAY.2, ["DNSManaged", "False", "NoManagedZone", "not managed here"])
        .status(GATEWAY.0, GATEWAY.1, GATEWAY.2, ["example.com/Degraded", "False", "AsExpected", ""])
        .route_status("team-weather", "weather", ["PartiallyInvalid", "False", "AllValid", ""])
        .edit("HTTPRoute", "team-weather", "weather", |route| {
            let mut other = route["status"]["parents"][0].clone();
            other["controllerName"] = json!("kuadrant.io/policy-controller");
            other["conditions"] = json!([{"type": "kuadrant.io/AuthPolicyAffected", "status": "True", "reason": "Accepted",
                "message": "", "observedGeneration": 1, "lastTransitionTime": "2026-08-26T07:00:05Z"}]);
            route["status"]["parents"].as_array_mut().expect("parents").push(other);
        })
        .status("Deployment", "team-commerce", "orders", ["Progressing", "True", "ReplicaSetUpdated", ""])
        .status("Node", "", "worker-1", ["NetworkUnavailable", "False", "RouteCreated", "ready"])
        .status("MCPServerRegistration", "team-weather", "weather", ["example.com/Scanned", "False", "Pending", "not yet"])
}

/// A certificate that ends in 40 days, while renewal comes at 30.
fn certificate_for_40_days() -> Fixture {
    let pem = certificate_until(2026, 10, 24);
    https_wildcard().edit("Secret", "gateway-system", "tools-tls", |secret| {
        use base64::Engine as _;
        secret["data"]["tls.crt"] = json!(base64::engine::general_purpose::STANDARD.encode(&pem));
    })
}

fn certificate_until(year: i32, month: u8, day: u8) -> String {
    let mut parameters =
        rcgen::CertificateParams::new(vec!["*.tools.example.com".to_owned()]).expect("a certificate");
    parameters.not_before = rcgen::date_time_ymd(2026, 8, 1);
    parameters.not_after = rcgen::date_time_ymd(year, month, day);
    let key = rcgen::KeyPair::generate().expect("a key");
    parameters.self_signed(&key).expect("a certificate").pem()
}

/// Kuadrant of before 1.5, which writes a WasmPlugin.
fn wasm_plugin() -> Fixture {
    Fixture::from(demo::renamed(&[("kuadrant-operator:v1.5.0", "kuadrant-operator:v1.4.2")]))
        // Istio makes of the plugin what the filter said: Envoy's answers stay the same.
        .remove("EnvoyFilter", "gateway-system", "kuadrant-mcp-gateway")
        .add(
            r#"
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: kuadrant-mcp-gateway, namespace: gateway-system, creationTimestamp: "2026-08-26T07:00:05Z", labels: {kuadrant.io/managed: "true"}}
spec:
  targetRefs:
  - {group: gateway.networking.k8s.io, kind: Gateway, name: mcp-gateway}
  url: oci://quay.io/kuadrant/wasm-shim:v0.9.0
  phase: STATS
  pluginConfig: {services: {auth-service: {endpoint: kuadrant-auth-service, type: auth, failureMode: deny}}, actionSets: []}
"#,
        )
}

/// Gateway, extension and a server in one namespace.
fn one_namespace() -> Fixture {
    Fixture::from(demo::renamed(&[("gateway-system", "mcp-system")]))
}

/// A server that was switched off on purpose.
fn disabled_server() -> Fixture {
    let fixture = Fixture::healthy()
        .set("MCPServerRegistration", "team-commerce", "inventory", "/spec/state", json!("Disabled"))
        .set("MCPVirtualServer", "mcp-system", "shop-assistant", "/spec/tools", json!(["orders_get_order"]));
    let secret = fixture.installation.get("Secret", "mcp-system", "mcp-gateway-config").expect("a config");
    let before = {
        use base64::Engine as _;
        let data = secret["data"]["config.yaml"].as_str().expect("data");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
        String::from_utf8(bytes).expect("text")
    };
    let after =
        before.replace("prefix: inventory_\n  state: Enabled", "prefix: inventory_\n  state: Disabled");
    assert_ne!(before, after, "the configuration has the server");
    fixture.config("mcp-system", &after).refresh_answers()
}
