//! What remedies print is tried: the commands of each fault's roots are applied to the objects, the
//! controllers have their say, and then nothing may be wrong any more.
//!
//! What controllers do afterwards is imitated, not assumed: a status is written anew only for the spec that is
//! there, what is derived (EndpointSlices, pods, Envoy's answers, managed objects) is derived again. Whatever
//! the specs still have wrong, the rules see in the specs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use oc_mcpgw::demo;
use oc_mcpgw::report::Report;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::commands::{self, Done};
use crate::faults::{self, Fault};
use crate::fixes::{self, FIXES, Fix};
use crate::fixture::Fixture;

/// Whether the kubelet, which tries again and again, can now start the pods of a Deployment: what a command made
/// is in their namespace, and is a Secret or a right of their account.
fn is_helped(fixture: &Fixture, done: &Done, deployment: &Value) -> bool {
    let namespace = deployment["metadata"]["namespace"].as_str().unwrap_or_default();
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let waits = fixture
        .installation
        .get("Pod", namespace, &fixture.pod_of(namespace, name))
        .is_some_and(|pod| pod["status"].to_string().contains("\"waiting\""));
    // Pods that were refused are made as soon as the quota allows them.
    let refused = deployment["status"].to_string().contains("exceeded quota");
    if refused && done.touched.iter().any(|(kind, of, _)| kind == "ResourceQuota" && of == namespace) {
        return true;
    }
    let made = |(kind, of, _): &(String, String, String)| {
        of == namespace && matches!(kind.as_str(), "Secret" | "rolebinding")
    };
    waits && done.touched.iter().any(made)
}

/// Why a remedy cannot be tried to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// No command is printed that would repair it: `fixes` says what a person does.
    Person,
    /// The evidence is a log, a status or a probe of the past: with or without the commands it is no longer there
    /// when somebody collects again, so that its absence proves nothing.
    Past,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Solved,
    Not(Why),
    Wrong(String),
}

/// The code and the name of a fault.
type Name = (&'static str, &'static str);

/// The commands of these end the cause; what was logged, or the status that was old, passes by itself.
const PAST: &[Name] = &[
    ("MG007", "broker at debug level"),
    ("MG217", "a generation behind"),
    ("MG217", "no status for a parent"),
    ("MG403", "no status at all"),
    ("MG310", "a generation behind"),
    ("MG310", "no status at all"),
    ("MG310", "the controller fails over and over"),
    ("MG415", "the controller has no line about it"),
];

/// A fault is repaired by the commands that its report prints, or else by the fix that a person makes: none has
/// neither, and none that has commands is left to a person.
#[test]
fn every_remedy_repairs_its_fault() {
    let faults = faults::all();
    let outcomes: Vec<(&Fault, Outcome)> = faults.par_iter().map(|fault| (*fault, trial(fault))).collect();
    let count = |wanted: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|(_, o)| wanted(o)).count();
    println!(
        "{} faults: {} repaired by the printed commands, {} of them of the past, {} by what a person does",
        outcomes.len(),
        count(&|o| matches!(o, Outcome::Solved | Outcome::Not(Why::Past))),
        count(&|o| *o == Outcome::Not(Why::Past)),
        count(&|o| *o == Outcome::Not(Why::Person)),
    );
    let mut wrong = Vec::new();
    let mut fixes: BTreeMap<Name, &Fix> = FIXES.iter().map(|fix| (fix.fault, fix)).collect();
    assert_eq!(fixes.len(), FIXES.len(), "a fault has two fixes");
    let mut past: BTreeSet<Name> = PAST.iter().copied().collect();
    for (fault, outcome) in &outcomes {
        let name = (fault.code, fault.name);
        match (outcome, fixes.remove(&name), past.remove(&name)) {
            (Outcome::Solved, None, false)
            | (Outcome::Not(Why::Past), None, true)
            | (Outcome::Not(Why::Person), Some(_), false) => {}
            (Outcome::Not(Why::Person), None, _) => {
                wrong.push(format!("{name:?} has neither commands that repair it nor a fix"));
            }
            (outcome, fix, past) => {
                wrong.push(format!("{name:?}: {outcome:?}, but the tables say {fix:?}, past: {past}"));
            }
        }
    }
    wrong
        .extend(fixes.keys().chain(&past).map(|fault| format!("{fault:?} is in a table and does not exist")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fix_repairs_its_fault() {
    let wrong: Vec<String> = FIXES.par_iter().filter_map(|fix| tried(fix).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Takes the steps of a fix: each changes something, none can be left out, and after all nothing is wrong.
fn tried(fix: &Fix) -> Result<(), String> {
    let (code, name) = fix.fault;
    let broken = faults::named(code, name, Fixture::healthy());
    let report = broken.report();
    let of_roots = |wanted: &dyn Fn(&str) -> bool| {
        report.findings.iter().filter(|f| f.caused_by.is_empty()).any(|f| wanted(&f.remedy.text))
    };
    if fix.says.is_empty() || !of_roots(&|text| text.contains(fix.says)) {
        let texts: Vec<_> =
            report.findings.iter().map(|f| format!("{}: {}", f.code, f.remedy.text)).collect();
        return Err(format!("{:?}: no root says {:?}: {texts:#?}", fix.fault, fix.says));
    }
    let mut state = broken.clone();
    for step in fix.steps {
        let before = state.installation.clone();
        let refused = !state.refusals().kinds.is_empty();
        state = fixes::take(*step, state);
        let after = &state.installation;
        let texts =
            |logs: &[demo::ContainerLog]| -> Vec<String> { logs.iter().map(|l| l.text.clone()).collect() };
        let same = before.objects == after.objects
            && before.extras == after.extras
            && texts(&before.logs) == texts(&after.logs)
            && refused != state.refusals().kinds.is_empty();
        if same {
            return Err(format!("{:?}: {step:?} changes nothing", fix.fault));
        }
    }
    let still = bad(&state.report());
    if !still.is_empty() {
        return Err(format!("{:?}: after the fix: {still:#?}", fix.fault));
    }
    for without in (0..fix.steps.len()).filter(|_| fix.steps.len() > 1) {
        let others = fix.steps.iter().enumerate().filter(|(at, _)| *at != without);
        let state = others.fold(broken.clone(), |state, (_, step)| fixes::take(*step, state));
        if bad(&state.report()).is_empty() {
            return Err(format!("{:?}: {:?} is superfluous", fix.fault, fix.steps[without]));
        }
    }
    Ok(())
}

fn trial(fault: &Fault) -> Outcome {
    let broken = (fault.apply)(Fixture::healthy());
    let report = broken.report();
    let roots: Vec<_> = report.findings.iter().filter(|f| f.caused_by.is_empty()).collect();
    let code = roots.first().map_or("", |root| root.code.as_str()).to_owned();
    let mut after = broken.clone();
    let mut done = Done::default();
    for command in roots.iter().flat_map(|root| &root.remedy.commands) {
        if let Err(error) = commands::run(&mut after.installation, &mut done, command) {
            let person = error.starts_with("nobody says what");
            return if person {
                Outcome::Not(Why::Person)
            } else {
                Outcome::Wrong(format!("{command}: {error}"))
            };
        }
    }
    if done.touched.is_empty() {
        let pretended = roots.iter().flat_map(|r| &r.remedy.commands).find(|c| commands::changes(c));
        return match pretended {
            Some(command) => Outcome::Wrong(format!("{command} changes nothing")),
            None => Outcome::Not(Why::Person),
        };
    }
    // Without the commands, time and controllers alone must not repair it, or the trial proves nothing.
    let mut control = broken;
    controllers(&mut control, None);
    let report = control.report();
    let persists = !bad(&report).is_empty() || report.findings.iter().any(|f| f.code == code);
    controllers(&mut after, Some(&done));
    let left = bad(&after.report());
    match (left.is_empty(), persists) {
        (true, true) => Outcome::Solved,
        (true, false) => Outcome::Not(Why::Past),
        (false, _) => Outcome::Wrong(format!("after the remedy: {left:#?}")),
    }
}

/// What a report says beyond that of the healthy installation: findings, be they for information only, and what it
/// cannot tell.
fn bad(report: &Report) -> Vec<String> {
    static NORMAL: LazyLock<BTreeSet<String>> = LazyLock::new(|| said(&Fixture::healthy().report()));
    said(report).difference(&NORMAL).cloned().collect()
}

fn said(report: &Report) -> BTreeSet<String> {
    let findings = report.findings.iter().map(|f| format!("{} {}", f.code, f.title));
    let open = report.unknown.iter().map(|u| format!("cannot tell {}: {}", u.codes.join(","), u.missing));
    findings.chain(open).collect()
}

/// What the cluster makes of the objects: statuses and derived objects, and the logs of a later hour. Without
/// commands (`None`) nothing restarts, nothing that was deleted comes back and Envoy answers as before.
fn controllers(fixture: &mut Fixture, done: Option<&Done>) {
    let healthy = Fixture::healthy().installation;
    let mut started = BTreeSet::new();
    if let Some(done) = done {
        managed(fixture, &healthy, done);
        started = rollouts(fixture, &healthy, done);
    }
    statuses(fixture, &started);
    let later: BTreeSet<String> = healthy
        .objects
        .iter()
        .filter(|o| o["kind"] == "Event")
        .map(|o| o["metadata"]["name"].to_string())
        .collect();
    fixture
        .installation
        .objects
        .retain(|o| o["kind"] != "Event" || later.contains(&o["metadata"]["name"].to_string()));
    fixture.installation.logs.clone_from(&healthy.logs);
    // The controller logs what it does about registrations that it has not seen before.
    let registrations: Vec<_> = fixture
        .installation
        .objects
        .iter()
        .filter(|o| o["kind"] == "MCPServerRegistration")
        .map(identity)
        .collect();
    let controller = fixture.pod_of("mcp-system", "mcp-gateway-controller");
    for (_, namespace, name) in registrations {
        if done.is_some() && healthy.get("MCPServerRegistration", &namespace, &name).is_none() {
            let line = format!(
                "time=2026-09-14T10:29:00.000Z level=INFO msg=\"main reconcile logic starting for\" controller=mcpserverregistration \
                 namespace={namespace} name={name}\n"
            );
            fixture.installation.append_log("mcp-system", &controller, "mcp-controller", &line);
        }
    }
    let pods: BTreeSet<(String, String)> = fixture
        .installation
        .objects
        .iter()
        .filter(|o| o["kind"] == "Pod")
        .map(identity)
        .map(|(_, namespace, name)| (namespace, name))
        .collect();
    fixture.installation.logs.retain(|l| pods.contains(&(l.namespace.clone(), l.pod.clone())));
    if done.is_some() {
        fixture.installation.objects.retain(|o| o["kind"] != "EndpointSlice");
        fixture.installation.apply("");
        fixture.installation.refresh_answers();
    }
}

/// Controllers write statuses for the specs that are there; of Deployments those whose pods were started anew.
pub fn statuses(fixture: &mut Fixture, started: &BTreeSet<(String, String)>) {
    let healthy = Fixture::healthy().installation;
    for object in &mut fixture.installation.objects {
        let (kind, namespace, name) = identity(object);
        if matches!(kind.as_str(), "Pod" | "ReplicaSet" | "Node" | "CustomResourceDefinition") {
            continue;
        }
        if kind == "Deployment" && !started.contains(&(namespace.clone(), name.clone())) {
            continue;
        }
        let same = healthy.get(&kind, &namespace, &name);
        let alike = same.or_else(|| {
            healthy.objects.iter().find(|o| o["kind"] == *kind && o["metadata"]["name"] == *name)
        });
        let Some(status) = alike.and_then(|o| o.get("status")) else { continue };
        let generation = object["metadata"]["generation"].clone();
        let mut status = status.clone();
        observed(&mut status, &generation);
        if kind == "HTTPRoute" {
            let parents = object["spec"]["parentRefs"].as_array().cloned().unwrap_or_default();
            let template = status["parents"][0].clone();
            status["parents"] = parents
                .into_iter()
                .map(|parent| {
                    let mut entry = template.clone();
                    entry["parentRef"] = parent;
                    entry
                })
                .collect();
        }
        if kind == "Gateway" {
            let listeners = object["spec"]["listeners"].as_array().cloned().unwrap_or_default();
            let template = status["listeners"][1].clone();
            let before = object["status"]["listeners"].as_array().cloned().unwrap_or_default();
            let known = status["listeners"].as_array().cloned().unwrap_or_default();
            status["listeners"] = listeners
                .iter()
                .map(|listener| {
                    let known = match listener["protocol"].as_str() {
                        Some("HTTP" | "HTTPS" | "TLS" | "TCP" | "UDP") => &known,
                        // Nobody can serve it, however often the controller looks.
                        _ => &before,
                    };
                    let mut entry =
                        known.iter().find(|k| k["name"] == listener["name"]).unwrap_or(&template).clone();
                    entry["name"] = listener["name"].clone();
                    entry
                })
                .collect();
        }
        if kind == "Deployment" {
            let count = object["spec"]["replicas"].as_u64().unwrap_or(1);
            for field in ["replicas", "readyReplicas", "availableReplicas", "updatedReplicas"] {
                status[field] = json!(count);
            }
        }
        object["status"] = status;
    }
}

/// What a controller owns and writes again when it is gone and something made it look.
fn managed(fixture: &mut Fixture, healthy: &demo::Installation, done: &Done) {
    let installation = &mut fixture.installation;
    let looked = |kinds: &[&str]| done.touched.iter().any(|(kind, ..)| kinds.contains(&kind.as_str()));
    let mut back = Vec::new();
    if looked(&["MCPGatewayExtension", "EnvoyFilter", "Gateway", "clusterrolebinding"])
        && let Some(extension) = installation.get("MCPGatewayExtension", "mcp-system", "mcp-gateway")
        && extension["spec"]["targetRef"]["namespace"] == "gateway-system"
    {
        back.push(("EnvoyFilter", "gateway-system", "mcp-ext-proc-mcp-system-gateway"));
    }
    if looked(&["Gateway", "Service"])
        && installation.get("Gateway", "gateway-system", "mcp-gateway").is_some()
    {
        back.push(("Service", "gateway-system", "mcp-gateway-istio"));
    }
    if looked(&["Secret"]) {
        back.push(("Secret", "mcp-system", "mcp-gateway-config"));
    }
    // A class that is known again deploys the proxy.
    if looked(&["Gateway"]) {
        let of_gateway = |o: &&Value| {
            o["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"] == "mcp-gateway"
                || o["metadata"]["ownerReferences"][0]["name"] == "mcp-gateway-istio"
        };
        let missing: Vec<Value> = healthy
            .objects
            .iter()
            .filter(of_gateway)
            .filter(|o| {
                let (kind, namespace, name) = identity(o);
                installation.get(&kind, &namespace, &name).is_none()
            })
            .cloned()
            .collect();
        installation.objects.extend(missing);
    }
    // A registration that was moved or made again is written under its new name.
    for (_, namespace, name) in done.touched.iter().filter(|(kind, ..)| kind == "MCPServerRegistration") {
        let there = installation.get("MCPServerRegistration", namespace, name).is_some();
        if there && healthy.get("MCPServerRegistration", namespace, name).is_none() {
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::STANDARD;
            let secret =
                installation.get_mut("Secret", "mcp-system", "mcp-gateway-config").expect("a config");
            let yaml = engine.decode(secret["data"]["config.yaml"].as_str().expect("data")).expect("base64");
            let mut config: Value = serde_yaml::from_slice(&yaml).expect("YAML");
            for server in config["servers"].as_array_mut().expect("servers") {
                if server["name"].as_str().and_then(|n| n.split_once('/')).is_some_and(|(_, n)| n == name) {
                    server["name"] = json!(format!("{namespace}/{name}"));
                }
            }
            secret["data"]["config.yaml"] = json!(engine.encode(config.to_string()));
        }
    }
    for (kind, namespace, name) in back {
        if installation.get(kind, namespace, name).is_none() {
            let mut object = healthy.get(kind, namespace, name).expect("a managed object").clone();
            if name == "mcp-gateway-config" {
                object["data"]["config.yaml"] = json!(written(installation, &object));
            }
            installation.objects.push(object);
        }
    }
    // The controller copies the Gateway's revision to its filter.
    let revision = installation
        .get("Gateway", "gateway-system", "mcp-gateway")
        .map(|g| g["metadata"]["labels"]["istio.io/rev"].clone())
        .unwrap_or_default();
    if revision.is_string()
        && let Some(filter) =
            installation.get_mut("EnvoyFilter", "gateway-system", "mcp-ext-proc-mcp-system-gateway")
    {
        filter["metadata"]["labels"]["istio.io/rev"] = revision;
    }
}

/// The config Secret's content with the servers that are registered.
fn written(installation: &demo::Installation, secret: &Value) -> String {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let yaml = engine.decode(secret["data"]["config.yaml"].as_str().expect("data")).expect("base64");
    let mut config: Value = serde_yaml::from_slice(&yaml).expect("YAML");
    config["servers"].as_array_mut().expect("servers").retain(|server| {
        let (namespace, name) = server["name"].as_str().and_then(|n| n.split_once('/')).unwrap_or_default();
        installation.get("MCPServerRegistration", namespace, name).is_some()
    });
    engine.encode(config.to_string())
}

/// Pods of Deployments that were changed are new ones, as healthy as a new pod is.
fn rollouts(fixture: &mut Fixture, healthy: &demo::Installation, done: &Done) -> BTreeSet<(String, String)> {
    let mut before = done.touched.clone();
    // A changed extension changes its broker.
    if before.iter().any(|(kind, ..)| kind == "MCPGatewayExtension") {
        before.push(("Deployment".to_owned(), "mcp-system".to_owned(), "mcp-gateway".to_owned()));
    }
    for deployment in fixture.installation.objects.iter().filter(|o| o["kind"] == "Deployment") {
        if is_helped(fixture, done, deployment) {
            before.push(identity(deployment));
        }
    }
    for (_, namespace, name) in before.iter().filter(|(kind, ..)| kind == "Deployment") {
        let first = fixture.installation.pod_of(namespace, name);
        let set = first.rsplit_once('-').expect("a pod's name").0.to_owned();
        fixture.installation.objects.retain(|object| {
            let of = object["metadata"]["namespace"] == **namespace
                && matches!(object["kind"].as_str(), Some("Pod" | "ReplicaSet"));
            !(of && object["metadata"]["name"].as_str().is_some_and(|n| n.starts_with(&set)))
        });
        // The pod has the same name as before, and with it the healthy one's log.
        let template =
            fixture.installation.get("Deployment", namespace, name).map(|d| d["spec"]["template"].clone());
        let same = healthy
            .get("Deployment", namespace, name)
            .is_some_and(|d| Some(&d["spec"]["template"]) == template.as_ref());
        if same {
            let kept = healthy.objects.iter().filter(|o| {
                matches!(o["kind"].as_str(), Some("Pod" | "ReplicaSet"))
                    && o["metadata"]["namespace"] == **namespace
                    && o["metadata"]["name"].as_str().is_some_and(|n| n.starts_with(&set))
            });
            let kept: Vec<Value> = kept.cloned().collect();
            fixture.installation.objects.extend(kept);
        }
    }
    fixture.installation.apply("");
    let of_deployments = before.into_iter().filter(|(kind, ..)| kind == "Deployment");
    of_deployments.map(|(_, namespace, name)| (namespace, name)).collect()
}

/// Every generation in a status becomes the present one.
fn observed(status: &mut Value, generation: &Value) {
    match status {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                if key == "observedGeneration" {
                    *value = generation.clone();
                } else {
                    observed(value, generation);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| observed(item, generation)),
        _ => {}
    }
}

/// Kind, namespace and name.
pub fn identity(object: &Value) -> (String, String, String) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}
