//! Discovery: what exists, in the legacy and in the aggregated form, and the documents around it.

use serde_json::{Value, json};

use super::catalog::{Catalog, Resource};

const READ_VERBS: [&str; 3] = ["get", "list", "watch"];

/// Kinds that are only ever posted: `kubectl auth whoami`, `auth can-i`.
const REVIEWS: [(&str, &str, &str); 3] = [
    ("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews"),
    ("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews"),
];

/// All groups with their versions, those of the reviews included; the core group first.
fn groups(catalog: &Catalog) -> Vec<(&str, Vec<&str>)> {
    let mut groups = catalog.groups();
    for (group, _, _) in REVIEWS {
        if !groups.iter().any(|(g, _)| *g == group) {
            groups.push((group, vec!["v1"]));
        }
    }
    groups
}

/// The resources of a group in one of its versions.
fn resources<'a>(
    catalog: &'a Catalog,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Resource> {
    let of_group = catalog.resources().iter().filter(move |r| r.group == group);
    of_group.filter(move |r| r.versions.iter().any(|v| v == version))
}

fn reviews<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = (&'static str, &'static str)> + 'a {
    let of_group = REVIEWS.iter().filter(move |(g, _, _)| *g == group && version == "v1");
    of_group.map(|(_, kind, plural)| (*kind, *plural))
}

/// The subresources of a kind: name, kind, verbs.
fn subresources(resource: &Resource, streams: bool) -> Vec<(&'static str, &str, Vec<&'static str>)> {
    let mut subresources = Vec::new();
    if resource.group.is_empty() && resource.kind == "Pod" {
        subresources.push(("log", "Pod", vec!["get"]));
        if streams {
            subresources.push(("portforward", "PodPortForwardOptions", vec!["create", "get"]));
            subresources.push(("proxy", "PodProxyOptions", vec!["get"]));
        }
    }
    if resource.status {
        subresources.push(("status", resource.kind.as_str(), vec!["get"]));
    }
    subresources
}

/// `/api`.
pub(crate) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

fn group_versions(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({
        "name": group,
        "versions": versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(entry),
    })
}

/// `/apis`.
pub(crate) fn group_list(catalog: &Catalog) -> Value {
    let groups: Vec<Value> = groups(catalog)
        .iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_versions(group, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
pub(crate) fn group(catalog: &Catalog, name: &str) -> Option<Value> {
    let groups = groups(catalog);
    let (group, versions) = groups.iter().find(|(group, _)| *group == name && !group.is_empty())?;
    let mut document = group_versions(group, versions);
    document["kind"] = "APIGroup".into();
    document["apiVersion"] = "v1".into();
    Some(document)
}

/// `/api/v1` and `/apis/<group>/<version>`. `streams`: whether pods can be forwarded to.
pub(crate) fn resource_list(catalog: &Catalog, group: &str, version: &str, streams: bool) -> Option<Value> {
    if !groups(catalog).iter().any(|(g, versions)| *g == group && versions.contains(&version)) {
        return None;
    }
    let mut list = Vec::new();
    for resource in resources(catalog, group, version) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": READ_VERBS,
        });
        if !resource.short.is_empty() {
            entry["shortNames"] = resource.short.clone().into();
        }
        if !resource.categories.is_empty() {
            entry["categories"] = resource.categories.clone().into();
        }
        list.push(entry);
        for (name, kind, verbs) in subresources(resource, streams) {
            list.push(json!({
                "name": format!("{}/{name}", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": kind, "verbs": verbs,
            }));
        }
    }
    for (kind, plural) in reviews(group, version) {
        list.push(json!({
            "name": plural, "singularName": kind.to_lowercase(), "namespaced": false, "kind": kind,
            "verbs": ["create"],
        }));
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list,
    }))
}

/// The aggregated form: all resources of all groups in one document. `core` chooses between
/// `/api` and `/apis`; `version` is `v2` or `v2beta1`, which differ in their name alone.
pub(crate) fn aggregated(catalog: &Catalog, core: bool, version: &str, streams: bool) -> Value {
    let items: Vec<Value> = groups(catalog)
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    json!({
                        "version": version, "freshness": "Current",
                        "resources": aggregated_resources(catalog, group, version, streams),
                    })
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    })
}

fn aggregated_resources(catalog: &Catalog, group: &str, version: &str, streams: bool) -> Vec<Value> {
    let kind_of = |kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut list: Vec<Value> = resources(catalog, group, version)
        .map(|resource| {
            let scope = if resource.namespaced { "Namespaced" } else { "Cluster" };
            let mut entry = json!({
                "resource": resource.plural, "responseKind": kind_of(&resource.kind), "scope": scope,
                "singularResource": resource.singular, "verbs": READ_VERBS,
            });
            if !resource.short.is_empty() {
                entry["shortNames"] = resource.short.clone().into();
            }
            if !resource.categories.is_empty() {
                entry["categories"] = resource.categories.clone().into();
            }
            let subresources: Vec<Value> = subresources(resource, streams)
                .into_iter()
                .map(|(name, kind, verbs)| {
                    json!({"subresource": name, "responseKind": kind_of(kind), "verbs": verbs})
                })
                .collect();
            if !subresources.is_empty() {
                entry["subresources"] = subresources.into();
            }
            entry
        })
        .collect();
    list.extend(reviews(group, version).map(|(kind, plural)| {
        json!({
            "resource": plural, "responseKind": kind_of(kind), "scope": "Cluster",
            "singularResource": kind.to_lowercase(), "verbs": ["create"],
        })
    }));
    list
}

/// The paths that exist, as `/` lists them.
pub(crate) fn root(catalog: &Catalog) -> Value {
    let mut paths: Vec<String> = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2"]
        .into_iter()
        .chain(["/openapi/v3", "/readyz", "/version"])
        .map(str::to_owned)
        .collect();
    for (group, versions) in groups(catalog).iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.sort();
    json!({"paths": paths})
}

/// `/version`, from what the bundle says of its cluster (`v1.31.4+abc`), else an honest zero.
pub(crate) fn version(git_version: Option<&str>) -> Value {
    let git_version = git_version.unwrap_or("v0.0.0-unknown");
    let numbers = git_version.trim_start_matches('v');
    let mut parts = numbers.split(['.', '-', '+']);
    let mut next = || parts.next().filter(|p| p.bytes().all(|b| b.is_ascii_digit())).unwrap_or("0");
    let (major, minor) = (next(), next());
    json!({
        "major": major, "minor": minor, "gitVersion": git_version, "gitCommit": "", "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "",
    })
}
