//! Healthy installations of every supported kind, each with names of its own where names matter.

use oc_mcpgw::demo;
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// Every kind of healthy installation, by name.
pub fn healthy_kinds() -> Vec<(&'static str, Fixture)> {
    let mut kinds = vec![
        ("0.9", Fixture::healthy()),
        ("0.6", version_0_6()),
        ("head", head()),
        ("openshift", openshift()),
        ("external-servers-only", external_servers_only()),
        ("two-gateways", two_gateways()),
        ("https-wildcard", https_wildcard()),
        ("no-kuadrant", no_kuadrant()),
    ];
    kinds.extend(crate::fixture_variations::variations());
    kinds
}

/// Version 0.6: `v1alpha1` only, `toolPrefix`, the broker polled by the controller, OAuth settings
/// by hand, and the router key on the command line.
pub fn version_0_6() -> Fixture {
    let mut fixture = Fixture::from(demo::renamed(&[
        ("mcp-controller:v0.9.0", "mcp-controller:v0.6.1"),
        ("mcp-gateway:v0.9.0", "mcp-gateway:v0.6.1"),
    ]));
    for kind in ["MCPGatewayExtension", "MCPServerRegistration", "MCPVirtualServer"] {
        fixture = fixture.edit_all(kind, |object| object["apiVersion"] = json!("mcp.kuadrant.io/v1alpha1"));
        let plural = format!("{}s.mcp.kuadrant.io", kind.to_lowercase());
        fixture = fixture.edit("CustomResourceDefinition", "", &plural, |crd| {
            let mut version = crd["spec"]["versions"][0].clone();
            version["name"] = json!("v1alpha1");
            crd["spec"]["versions"] = json!([version]);
            crd["status"]["storedVersions"] = json!(["v1alpha1"]);
        });
    }
    fixture
        .edit("CustomResourceDefinition", "", "mcpserverregistrations.mcp.kuadrant.io", |crd| {
            let version = &mut crd["spec"]["versions"][0];
            rename_field(
                &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"],
                "prefix",
                "toolPrefix",
            );
            version["additionalPrinterColumns"][0]["jsonPath"] = json!(".spec.toolPrefix");
        })
        .edit_all("MCPServerRegistration", |registration| {
            rename_field(&mut registration["spec"], "prefix", "toolPrefix");
            for unknown in ["state", "userSpecificList", "category"] {
                registration["spec"].as_object_mut().expect("a spec").remove(unknown);
            }
            registration["status"]["conditions"][0]["message"] =
                json!("server added successfully. Total tools added 4");
            registration["status"]["discoveredTools"] = json!(4);
        })
        .edit("MCPGatewayExtension", "mcp-system", "mcp-gateway", |extension| {
            extension["spec"].as_object_mut().expect("a spec").remove("oauthProtectedResource");
            extension["spec"].as_object_mut().expect("a spec").remove("urlElicitation");
        })
        .edit_broker(|container| {
            let key = "--mcp-router-key=00000000000000000000000000000000000000000000000000000000000000ff";
            container["command"].as_array_mut().expect("a command").push(json!(key));
        })
        .refresh_answers()
}

/// What is on the main branch after 0.9: `v1alpha1` is no longer served.
pub fn head() -> Fixture {
    let mut fixture = Fixture::from(demo::renamed(&[
        ("mcp-controller:v0.9.0", "mcp-controller:main"),
        ("mcp-gateway:v0.9.0", "mcp-gateway:main"),
    ]));
    for plural in ["mcpgatewayextensions", "mcpserverregistrations", "mcpvirtualservers"] {
        fixture = fixture.edit("CustomResourceDefinition", "", &format!("{plural}.mcp.kuadrant.io"), |crd| {
            crd["spec"]["versions"][1]["served"] = json!(false);
        });
    }
    fixture
}

/// OpenShift: the built-in class and its control plane in `openshift-ingress`, a Route in front,
/// everything installed by the lifecycle manager.
pub fn openshift() -> Fixture {
    let mut fixture = Fixture::from(demo::renamed(&[
        ("gateway-system", "openshift-ingress"),
        ("istio-system", "openshift-ingress"),
        ("mcp-gateway-istio", "mcp-gateway-openshift-default"),
        ("gatewayClassName: istio", "gatewayClassName: openshift-default"),
        ("gateway-class-name: istio", "gateway-class-name: openshift-default"),
        (
            "kind: GatewayClass\nmetadata: {name: istio,",
            "kind: GatewayClass\nmetadata: {name: openshift-default,",
        ),
        ("controllerName: istio.io/gateway-controller", "controllerName: openshift.io/gateway-controller/v1"),
        ("  name: istiod\n", "  name: istiod-openshift-gateway\n"),
        ("serviceAccountName: istiod", "serviceAccountName: istiod-openshift-gateway"),
        ("istiod.openshift-ingress.svc", "istiod-openshift-gateway.openshift-ingress.svc"),
        ("{name: REVISION, value: default}", "{name: REVISION, value: openshift-gateway}"),
        ("istio.io/rev: default", "istio.io/rev: openshift-gateway"),
        ("mcp.example.com", "mcp.apps.example.com"),
    ]));
    let installation = &mut fixture.installation;
    let log = installation
        .logs
        .iter()
        .find(|l| l.container == "discovery")
        .expect("the log of istiod")
        .text
        .clone();
    installation.logs.retain(|l| l.container != "discovery");
    fixture
        .edit("Gateway", "openshift-ingress", "mcp-gateway", |gateway| {
            gateway["metadata"]["labels"] = json!({"istio.io/rev": "openshift-gateway"});
        })
        .log("openshift-ingress", "istiod-openshift-gateway", "discovery", false, &log)
        .add(include_str!("fixture_openshift.yaml"))
        .refresh_answers()
}

/// The installation on OpenShift, but under the names of the default one: what is made of it ([`on_openshift`]) is
/// what people have, and whoever changes it need not know other names.
pub fn before_openshift() -> Fixture {
    Fixture::healthy().add(include_str!("fixture_openshift.yaml")).edit(
        "Gateway",
        "gateway-system",
        "mcp-gateway",
        |gateway| gateway["metadata"]["labels"] = json!({"istio.io/rev": "default"}),
    )
}

/// Gives an installation the names that it has on OpenShift: in objects, logs and all that was answered.
pub fn on_openshift(fixture: Fixture) -> Fixture {
    const NAMES: &[(&str, &str)] = &[
        ("gateway-system", "openshift-ingress"),
        ("istio-system", "openshift-ingress"),
        ("mcp-gateway-istio", "mcp-gateway-openshift-default"),
        (r#""gatewayClassName":"istio""#, r#""gatewayClassName":"openshift-default""#),
        (r#"gateway-class-name":"istio""#, r#"gateway-class-name":"openshift-default""#),
        (
            r#""controllerName":"istio.io/gateway-controller""#,
            r#""controllerName":"openshift.io/gateway-controller/v1""#,
        ),
        ("istiod.openshift-ingress", "istiod-openshift-gateway.openshift-ingress"),
        (r#""name":"istiod""#, r#""name":"istiod-openshift-gateway""#),
        (r#""serviceAccountName":"istiod""#, r#""serviceAccountName":"istiod-openshift-gateway""#),
        (r#""name":"REVISION","value":"default""#, r#""name":"REVISION","value":"openshift-gateway""#),
        (r#""istio.io/rev":"default""#, r#""istio.io/rev":"openshift-gateway""#),
        ("mcp.example.com", "mcp.apps.example.com"),
    ];
    let plain = |text: &str| NAMES.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    // Pods have names made of their Deployment's and its namespace's.
    let mut generated: Vec<(String, String)> = Vec::new();
    for (namespace, name) in [("gateway-system", "mcp-gateway-istio"), ("istio-system", "istiod")] {
        let named = if name == "istiod" { "istiod-openshift-gateway".to_owned() } else { plain(name) };
        let (before, after) = (fixture.pod_of(namespace, name), fixture.pod_of(&plain(namespace), &named));
        // Deployment, hash of the ReplicaSet, letters of the pod.
        let parts = |pod: &str| -> (String, String) {
            let (set, letters) = pod.rsplit_once('-').expect("a pod's name");
            (set.rsplit_once('-').expect("a ReplicaSet's name").1.to_owned(), letters.to_owned())
        };
        let (before, after) = (parts(&before), parts(&after));
        generated.push((format!("{name}-{}", before.0), format!("{named}-{}", after.0)));
        generated.extend([(before.0, after.0), (before.1, after.1)]);
    }
    let rename = |text: &str| {
        let text = generated.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        plain(&text)
    };
    let mut fixture = fixture;
    let installation = &mut fixture.installation;
    let mut objects: Vec<Value> = Vec::new();
    for object in &installation.objects {
        let mut object: Value = serde_json::from_str(&rename(&object.to_string())).expect("JSON");
        if object["kind"] == "GatewayClass" && object["metadata"]["name"] == "istio" {
            object["metadata"]["name"] = json!("openshift-default");
        }
        let place = |o: &Value| {
            (o["kind"].clone(), o["metadata"]["namespace"].clone(), o["metadata"]["name"].clone())
        };
        // Two namespaces became one.
        if object["kind"] != "Namespace" || !objects.iter().any(|o| place(o) == place(&object)) {
            objects.push(object);
        }
    }
    installation.objects = objects;
    for log in &mut installation.logs {
        (log.namespace, log.pod, log.text) = (rename(&log.namespace), rename(&log.pod), rename(&log.text));
    }
    for (path, content) in &mut installation.extras {
        *path = rename(path);
        if let Ok(text) = std::str::from_utf8(content) {
            *content = rename(text).into_bytes();
        }
    }
    fixture
}

/// All servers are outside the cluster.
pub fn external_servers_only() -> Fixture {
    let gone = ["team-weather", "team-commerce"];
    let mut fixture = Fixture::healthy();
    for namespace in gone {
        fixture = fixture.remove_namespace(namespace);
    }
    fixture.installation.objects.retain(|object| {
        let rule = &object["metadata"]["annotations"]["HTTPRouteRule.gateway.networking.k8s.io"];
        !gone.iter().any(|ns| rule.as_str().is_some_and(|rule| rule.contains(&format!(":{ns}/"))))
    });
    for log in &mut fixture.installation.logs {
        log.text = lines_without(&log.text, &gone);
    }
    fixture
        .edit("Gateway", "gateway-system", "mcp-gateway", |gateway| gateway["status"]["listeners"][1]["attachedRoutes"] = json!(1))
        .set("MCPVirtualServer", "mcp-system", "shop-assistant", "/spec/tools", json!(["tickets_search"]))
        .config(
            "mcp-system",
            "servers:\n- name: team-platform/tickets\n  url: https://tickets.vendor.example/mcp\n  hostname: tickets.mcp.local\n  prefix: tickets_\n  state: Enabled\n  credential: Bearer not-a-real-token-tickets-77f0\n",
        )
        .refresh_answers()
}

/// A second gateway with an extension, servers and prefixes of its own; one controller for both.
pub fn two_gateways() -> Fixture {
    let second = demo::renamed(&[
        ("gateway-system", "gateway-b"),
        ("mcp-system", "mcp-b"),
        ("team-", "b-team-"),
        ("mcp.example.com", "mcp-b.example.com"),
        ("198.51.100.20", "198.51.100.21"),
    ]);
    let mut fixture = Fixture::healthy();
    let controller = fixture.pod_of("mcp-system", "mcp-gateway-controller");
    for object in second.objects {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let is_new = namespace.starts_with("b-")
            || namespace.ends_with("-b")
            || (object["kind"] == "Namespace" && (name.starts_with("b-") || name.ends_with("-b")));
        let is_policy = object["kind"] == "AuthPolicy" || name.starts_with("kuadrant-");
        let is_controller = name.contains("mcp-gateway-controller") || name == "mcp-controller";
        if is_new && !is_policy && !is_controller {
            fixture.installation.objects.push(object);
        }
    }
    let mut other = String::new();
    for log in second.logs {
        if log.container == "mcp-controller" {
            other = log.text;
        } else if log.namespace.starts_with("b-") || log.namespace.ends_with("-b") {
            fixture.installation.logs.push(log);
        }
    }
    fixture.installation.append_log("mcp-system", &controller, "mcp-controller", &other);
    fixture.refresh_answers()
}

/// One wildcard HTTPS listener for everything, the public host derived from it.
pub fn https_wildcard() -> Fixture {
    let mut fixture = Fixture::from(demo::renamed(&[
        (".mcp.local", ".tools.example.com"),
        ("mcp.example.com:8080", "mcp.tools.example.com:8443"),
        ("http://mcp.tools", "https://mcp.tools"),
        ("hostnames: [mcp.example.com]", "hostnames: [mcp.tools.example.com]"),
        ("--mcp-gateway-public-host=mcp.example.com", "--mcp-gateway-public-host=mcp.tools.example.com"),
        (
            "--mcp-gateway-private-host=mcp-gateway-istio.gateway-system.svc.cluster.local:8080",
            "--mcp-gateway-private-host=https://mcp-gateway-istio.gateway-system.svc.cluster.local:8443",
        ),
        ("svc.cluster.local:8080\", observedGeneration", "svc.cluster.local:8443\", observedGeneration"),
        (
            "{name: mcp, port: 8080, targetPort: 8080, nodePort: 31880, appProtocol: http}",
            "{name: mcps, port: 8443, targetPort: 8443, nodePort: 31843, appProtocol: https}",
        ),
        ("sectionName: mcp\n", "sectionName: mcps\n"),
        ("sectionName: mcp}", "sectionName: mcps}"),
        ("portNumber: 8080", "portNumber: 8443"),
    ]));
    fixture.installation.objects.retain(|object| object["metadata"]["name"] != "mcp-tool-access");
    fixture
        .add(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: tools-tls, namespace: gateway-system, creationTimestamp: \"2026-08-20T08:44:00Z\"}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  tls.key: not-a-real-key\n",
            indent(&certificate(&["*.tools.example.com"], 2026, 2027))
        ))
        .edit("Gateway", "gateway-system", "mcp-gateway", |gateway| {
            let spec = &mut gateway["spec"]["listeners"];
            spec.as_array_mut().expect("listeners").remove(0);
            spec[0]["port"] = json!(8443);
            spec[0]["protocol"] = json!("HTTPS");
            spec[0]["allowedRoutes"] = json!({"namespaces": {"from": "All"}});
            spec[0]["tls"] = json!({"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": "tools-tls"}]});
            let status = gateway["status"]["listeners"].as_array_mut().expect("listeners");
            let mut listener = status.remove(0);
            listener["name"] = json!("mcps");
            listener["attachedRoutes"] = json!(5);
            status[0] = listener;
        })
        .edit_all("AuthConfig", |config| {
            config["spec"].as_object_mut().expect("a spec").remove("authorization");
            config["spec"]["response"].as_object_mut().expect("a response").remove("unauthorized");
            config["status"]["summary"]["numAuthorizationPolicies"] = json!(0);
        })
        .refresh_answers()
}

/// Istio and the MCP gateway alone.
pub fn no_kuadrant() -> Fixture {
    let mut fixture = Fixture::healthy().remove_namespace("kuadrant-system");
    fixture.installation.objects.retain(|object| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let api = object["apiVersion"].as_str().unwrap_or_default();
        let foreign = |group: &str| group != "mcp.kuadrant.io" && group.ends_with("kuadrant.io");
        let definition = object["kind"] == "CustomResourceDefinition"
            && foreign(object["spec"]["group"].as_str().unwrap_or_default());
        !(definition
            || foreign(api.split('/').next().unwrap_or_default())
            || (object["kind"] == "EnvoyFilter" && name.starts_with("kuadrant-")))
    });
    fixture
        .edit("MCPGatewayExtension", "mcp-system", "mcp-gateway", |extension| {
            extension["spec"].as_object_mut().expect("a spec").remove("oauthProtectedResource");
        })
        .edit_broker(|container| {
            container["env"]
                .as_array_mut()
                .expect("env")
                .retain(|e| !e["name"].as_str().is_some_and(|n| n.starts_with("OAUTH_")));
        })
        .refresh_answers()
}

/// A certificate in PEM for these names, valid from August of one year to August of another.
pub fn certificate(names: &[&str], from: i32, to: i32) -> String {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut parameters = rcgen::CertificateParams::new(names).expect("names of a certificate");
    parameters.not_before = rcgen::date_time_ymd(from, 8, 1);
    parameters.not_after = rcgen::date_time_ymd(to, 8, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    parameters.self_signed(&key).expect("a certificate").pem()
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn rename_field(object: &mut Value, from: &str, to: &str) {
    let fields = object.as_object_mut().expect("an object");
    if let Some(value) = fields.remove(from) {
        fields.insert(to.to_owned(), value);
    }
}

fn lines_without(text: &str, words: &[&str]) -> String {
    text.lines()
        .filter(|line| !words.iter().any(|word| line.contains(word)))
        .map(|line| format!("{line}\n"))
        .collect()
}
