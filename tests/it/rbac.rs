//! The least role: an API server that enforces it refuses nothing, and without each of its rules the
//! documented thing is missing, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use oc_mcpgw::model::kinds;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::gather::{Fault, Served, archive, files, json as json_of, status, text};
use crate::gather_matrix::side_by_side;

/// What a request needs: group, resource with its subresource, verb. `None` for discovery.
fn needs(asked: &str) -> Option<(String, String, &'static str)> {
    let path = asked.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => return None,
    };
    let (resource, verb) = match rest {
        [] => return None,
        ["namespaces", _, resource] | [resource] => ((*resource).to_owned(), "list"),
        ["namespaces", _, resource, _] | [resource, _] => ((*resource).to_owned(), "get"),
        ["namespaces", _, resource, _, sub, ..] => (format!("{resource}/{sub}"), "get"),
        _ => panic!("{asked}"),
    };
    Some((group.to_owned(), resource, verb))
}

fn allows(rules: &[Value], (group, resource, verb): &(String, String, &str)) -> bool {
    let has = |rule: &Value, key: &str, word: &str| {
        rule[key].as_array().is_some_and(|list| list.iter().any(|value| value == word))
    };
    rules.iter().any(|rule| {
        has(rule, "apiGroups", group) && has(rule, "resources", resource) && has(rule, "verbs", verb)
    })
}

/// An API server that enforces these rules.
fn enforcing(rules: Vec<Value>) -> Fault {
    Arc::new(move |asked| {
        let needs = needs(asked)?;
        (!allows(&rules, &needs)).then(|| {
            let (group, resource, verb) = needs;
            let message = format!("{resource}.{group} is forbidden: User \"gatherer\" cannot {verb} it");
            status(403, "Forbidden", &message)
        })
    })
}

fn rules() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("gather-scripts/rbac.yaml");
    let role: Value = serde_yaml::from_slice(&std::fs::read(path).expect("the role")).expect("YAML");
    role["rules"].as_array().expect("rules").clone()
}

/// The resources of a rule as one word: `gateways.gateway.networking.k8s.io`.
fn resources(rule: &Value) -> BTreeSet<String> {
    let group = rule["apiGroups"][0].as_str().expect("a group");
    let dot = if group.is_empty() { "" } else { "." };
    let of = |resource: &Value| format!("{}{dot}{group}", resource.as_str().expect("a resource"));
    rule["resources"].as_array().expect("resources").iter().map(of).collect()
}

/// An installation in which a container ran before, so that its previous log is asked for, and reads a
/// ConfigMap, and that has every kind that gather knows: no cluster has both OpenShift's and all others, but the role is for each.
fn installation() -> Fixture {
    let mut fixture = Fixture::healthy().edit("Pod", "team-weather", "weather", |pod| {
        pod["status"]["containerStatuses"][0]["lastState"] = json!({"terminated": {"exitCode": 1}});
        pod["spec"]["volumes"] = json!([{"name": "settings", "configMap": {"name": "settings"}}]);
    });
    for kind in kinds::ALL {
        let is_there = fixture.installation.objects.iter().any(|object| object["kind"] == kind.kind);
        if !is_there {
            let dot = if kind.group.is_empty() { "" } else { "/" };
            let mut object = json!({
                "apiVersion": format!("{}{dot}{}", kind.group, kind.versions[0]), "kind": kind.kind,
                "metadata": {"name": "cluster", "uid": format!("9a52c9e1-7b54-4a8e-9d52-{:012x}", kind.plural.len())},
            });
            if kind.namespaced {
                object["metadata"]["namespace"] = json!("mcp-system");
            }
            fixture.installation.objects.push(object);
        }
    }
    fixture
}

/// The resources of requests, as [`resources`] names them.
fn asked_for(requests: &[String]) -> BTreeSet<String> {
    let named = |(group, resource, _): (String, String, &str)| match group.as_str() {
        "" => resource,
        group => format!("{resource}.{group}"),
    };
    requests.iter().filter_map(|asked| needs(asked)).map(named).collect()
}

#[test]
fn with_the_least_role_nothing_is_refused() {
    let served = Served::with(&installation(), enforcing(rules()));
    let output = served.gather(&["-o", "x.tar.gz"]);
    let refused = files(&served.directory.path().join("x.tar.gz"));
    let refused = text(&refused["mcpgw/failures.json"]);
    assert!(!refused.contains("403"), "{refused}");
    assert_eq!(output.status.code(), Some(0), "{}{refused}", text(&output.stdout));
    // And the role has nothing that is not needed.
    let asked = asked_for(&served.requests.lock().expect("no panic"));
    let mut granted: BTreeSet<String> = rules().iter().flat_map(resources).collect();
    // Slices stand for Endpoints; these are asked for only where slices are not served.
    assert!(granted.remove("endpoints"));
    let needless: Vec<&String> = granted.difference(&asked).collect();
    assert!(needless.is_empty(), "nobody asks for {needless:?}");
}

#[test]
fn without_each_rule_the_documented_thing_is_missing() {
    let rules = rules();
    let rows = side_by_side(&rules, |removed| {
        let others: Vec<Value> = rules.iter().filter(|rule| *rule != removed).cloned().collect();
        let served = Served::with(&installation(), enforcing(others));
        let output = served.gather(&["-o", "x.tar.gz", "--no-analyze"]);
        let of_rule = resources(removed);
        let group = removed["apiGroups"][0].as_str().expect("a group");
        let names = removed["resources"].as_array().expect("resources").iter().filter_map(Value::as_str);
        let names = names.collect::<Vec<_>>().join(", ");
        let row = |consequence: &str| {
            format!("| {} | {names} | {consequence} |", if group.is_empty() { "core" } else { group })
        };
        let said = || format!("without {names:?}: {}{}", text(&output.stdout), text(&output.stderr));
        let asked = served.requests.lock().expect("no panic").clone();
        let asked_for = asked_for(&asked);
        assert!(of_rule.iter().any(|resource| asked_for.contains(resource)), "nobody asked for {names:?}");
        assert_eq!(output.status.code(), Some(4), "{}", said());
        let files = files(&archive(&output, served.directory.path()));
        let failures = json_of(&files, "mcpgw/failures.json");
        let mut consequences = BTreeSet::new();
        for failure in failures.as_array().expect("a list") {
            assert_eq!(failure["code"], 403, "{failure:#}");
            let resource = failure["resource"].as_str().expect("a resource");
            // Control planes are found through Deployments, a way to a pod through its proxy.
            assert!(of_rule.contains(resource), "{resource} is not of the rule {names:?}: {failure:#}");
            let consequence = failure["consequence"].as_str().expect("a consequence");
            let needed = consequence.starts_with("rules that need ");
            consequences.insert(
                if needed { "rules that need them cannot tell (MG001)" } else { consequence }.to_owned(),
            );
        }
        assert!(!consequences.is_empty(), "{}", said());
        let consequences: Vec<String> = consequences.into_iter().collect();
        row(&consequences.join("; "))
    });
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("gather-scripts/README.md");
    let readme = std::fs::read_to_string(readme).expect("the page");
    let missing: Vec<&String> = rows.iter().filter(|row| !readme.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "gather-scripts/README.md lacks or tells otherwise:\n{}", rows.join("\n"));
}
