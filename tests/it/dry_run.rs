//! `gather --dry-run` and the role that it prints, against `serve` over TLS.

use oc_mcpgw::model::kinds;
use serde_json::Value;

use crate::fixture::Fixture;
use crate::gather::{Served, archive, text};

#[test]
fn what_is_permitted_is_green_and_nothing_is_read() {
    let served = Served::of(&Fixture::healthy());
    let output = served.gather(&["--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for wanted in [
        "as bundle-reader",
        "PLAN",
        "mcpgatewayextensions.mcp.kuadrant.io 1",
        "ESTIMATE",
        "13 pods",
        "granted",
    ] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
    assert!(!said.contains("kind: Role"), "{said}");
    let requests = served.requests.lock().expect("no panic");
    let lists = requests.iter().filter(|request| !request.contains("/selfsubject"));
    for request in lists {
        let discovery = ["/api", "/apis", "/version"]
            .iter()
            .any(|end| request.split('?').next().is_some_and(|path| path.ends_with(end)));
        assert!(discovery || request.ends_with("?limit=1"), "a dry run asks for no object: {request}");
        assert!(!request.contains("/secrets"), "{request}");
    }
    let left: Vec<_> = std::fs::read_dir(served.directory.path()).expect("a directory").collect();
    assert_eq!(left.len(), 1, "only the kubeconfig is there: {left:?}");
}

#[test]
fn what_is_missing_comes_with_the_role_that_grants_it() {
    let fixture = Fixture::healthy().uncollected(&kinds::GATEWAY, None).uncollected(&kinds::SECRET, None);
    let served = Served::of(&fixture);
    let output = served.gather(&["--dry-run=json"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).expect("a plan");
    assert_eq!(plan["schemaVersion"], "mcpgw.plan/v1");
    let missing: Vec<&str> =
        plan["missing"].as_array().expect("a list").iter().filter_map(|m| m["resource"].as_str()).collect();
    assert!(missing.contains(&"gateways"), "{missing:?}");
    let role = plan["role"].as_str().expect("a role");
    assert!(role.contains("kind: ClusterRoleBinding") && role.contains("name: bundle-reader"), "{role}");
    assert!(role.contains("- gateways"), "{role}");
    let said = text(&served.gather(&["--dry-run"]).stdout);
    assert!(said.contains("✗ list gateways.gateway.networking.k8s.io in all namespaces"), "{said}");
}

#[test]
fn a_gather_that_was_refused_leaves_the_role_in_the_archive() {
    let fault: crate::gather::Fault = std::sync::Arc::new(|asked| {
        let refused = asked.contains("/team-weather/secrets") || asked.contains("/portforward");
        refused.then(|| crate::gather::status(403, "Forbidden", "you may not"))
    });
    let served = Served::with(&Fixture::healthy(), fault);
    let output = served.gather(&["-o", "refused.tar.gz"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("mcpgw/missing-permissions.yaml"), "{}", text(&output.stdout));
    let path = archive(&output, served.directory.path());
    let source = oc_mcpgw::archive::read::open(&path).expect("an archive");
    let role = source.read("mcpgw/missing-permissions.yaml", 1 << 20).expect("readable").expect("a role");
    let role = text(&role);
    for wanted in ["namespace: team-weather", "- secrets", "- pods/portforward", "name: bundle-reader"] {
        assert!(role.contains(wanted), "{wanted} in {role}");
    }
}
