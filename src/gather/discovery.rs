//! What the API server serves: which kinds in which versions, and which groups do not answer.
//!
//! Aggregated discovery tells everything in two requests and marks groups whose server is down as
//! stale. Servers that do not know it are asked group by group, for our groups only; there a group
//! that fails is recorded and costs nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::client::{Api, Refusal};
use crate::model::{Kind, kinds};

/// Aggregated discovery, stable or beta, or else the older form.
const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
/// Plain JSON.
pub(crate) const JSON: &str = "application/json";

/// The groups of the MCP gateway before it moved to Kuadrant; only looked for, never understood.
pub(crate) const LEGACY_GROUP: &str = "mcp.kagenti.com";

/// One resource in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) listable: bool,
}

/// What is served.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// By group and plural name: the versions, the server's favourite first.
    resources: BTreeMap<(String, String), Vec<(String, Resource)>>,
    /// Groups that are registered, but whose server does not answer, with the reason.
    pub(crate) stale: BTreeMap<String, String>,
    /// Every group of the server.
    pub(crate) groups: BTreeSet<String>,
    /// Whether ports of pods can be forwarded at all.
    pub(crate) port_forward: bool,
    /// The documents as they came, `api` and `apis`, where discovery was aggregated.
    pub(crate) documents: Vec<(&'static str, Value)>,
}

impl Served {
    /// Asks the server.
    ///
    /// # Errors
    /// Why the server does not even tell what it serves.
    pub(crate) async fn discover(api: &Api) -> Result<Self, Refusal> {
        let mut served = Self::default();
        let (core, groups) = tokio::join!(api.get_json("/api", ACCEPT), api.get_json("/apis", ACCEPT));
        let groups = groups?;
        match groups["kind"].as_str() {
            Some("APIGroupDiscoveryList") => {
                served.read_aggregated(&groups);
                served.documents.push(("apis", groups));
            }
            Some("APIGroupList") => served.ask_each_group(api, &groups).await?,
            _ => {
                return Err(Refusal::local(
                    NO_DISCOVERY,
                    "its answer to /apis is JSON, but no list of API groups",
                ));
            }
        }
        match core? {
            core if core["kind"] == "APIGroupDiscoveryList" => {
                served.read_aggregated(&core);
                served.documents.push(("api", core));
            }
            _ => {
                let list = api.get_json("/api/v1", JSON).await?;
                served.read_list("", "v1", &list);
            }
        }
        served.documents.sort_by_key(|(name, _)| *name);
        Ok(served)
    }

    fn read_aggregated(&mut self, list: &Value) {
        for group in array(&list["items"]) {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            self.groups.insert(name.to_owned());
            for version in array(&group["versions"]) {
                let Some(version_name) = version["version"].as_str() else { continue };
                if version["freshness"] == "Stale" {
                    let why =
                        format!("the server of {name}/{version_name} does not answer (discovery is stale)");
                    self.stale.insert(name.to_owned(), why);
                }
                if !version["resources"].is_array() {
                    let why = format!("the server of {name}/{version_name} does not say what it serves");
                    self.stale.entry(name.to_owned()).or_insert(why);
                }
                for resource in array(&version["resources"]) {
                    let Some(plural) = resource["resource"].as_str() else { continue };
                    if (name, plural) == ("", "pods") {
                        let sub = array(&resource["subresources"]);
                        self.port_forward |= sub.iter().any(|sub| sub["subresource"] == "portforward");
                    }
                    let found = Resource {
                        kind: resource["responseKind"]["kind"].as_str().unwrap_or_default().to_owned(),
                        namespaced: resource["scope"] == "Namespaced",
                        listable: array(&resource["verbs"]).iter().any(|verb| verb == "list"),
                    };
                    self.add(name, plural, version_name, found);
                }
            }
        }
    }

    async fn ask_each_group(&mut self, api: &Api, list: &Value) -> Result<(), Refusal> {
        let ours: BTreeSet<&str> = kinds::ALL
            .iter()
            .map(|kind| kind.group)
            .chain([LEGACY_GROUP])
            .filter(|g| !g.is_empty())
            .collect();
        for group in array(&list["groups"]) {
            let Some(name) = group["name"].as_str() else { continue };
            self.groups.insert(name.to_owned());
            if !ours.contains(name) {
                continue;
            }
            let favourite = group["preferredVersion"]["version"].as_str().unwrap_or_default();
            let mut versions: Vec<&str> =
                array(&group["versions"]).iter().filter_map(|v| v["version"].as_str()).collect();
            versions.sort_by_key(|version| *version != favourite);
            for version in versions {
                let path =
                    format!("/apis/{}/{}", super::client::segment(name), super::client::segment(version));
                match api.get_json(&path, JSON).await {
                    Ok(list) if list["resources"].is_array() => self.read_list(name, version, &list),
                    Ok(_) => {
                        let why = format!("the server of {name}/{version} does not say what it serves");
                        self.stale.insert(name.to_owned(), why);
                    }
                    Err(refusal) if refusal.is_cut() => return Err(refusal),
                    Err(refusal) => {
                        let why =
                            format!("the server of {name}/{version} does not answer ({})", refusal.line());
                        self.stale.insert(name.to_owned(), why);
                    }
                }
            }
        }
        Ok(())
    }

    fn read_list(&mut self, group: &str, version: &str, list: &Value) {
        self.groups.insert(group.to_owned());
        for resource in array(&list["resources"]) {
            self.port_forward |= group.is_empty() && resource["name"] == "pods/portforward";
            let Some(plural) = resource["name"].as_str().filter(|name| !name.contains('/')) else { continue };
            let found = Resource {
                kind: resource["kind"].as_str().unwrap_or_default().to_owned(),
                namespaced: resource["namespaced"] == true,
                listable: array(&resource["verbs"]).iter().any(|verb| verb == "list"),
            };
            self.add(group, plural, version, found);
        }
    }

    fn add(&mut self, group: &str, plural: &str, version: &str, resource: Resource) {
        let versions = self.resources.entry((group.to_owned(), plural.to_owned())).or_default();
        if !versions.iter().any(|(known, _)| known == version) {
            versions.push((version.to_owned(), resource));
        }
    }

    /// The version in which to read a kind: the first of our table that is served, else the one
    /// that the server likes best. `None` when the kind is not served at all.
    pub(crate) fn version(&self, kind: &Kind) -> Option<&str> {
        let versions = self.resources.get(&(kind.group.to_owned(), kind.plural.to_owned()))?;
        let usable = || versions.iter().filter(|(_, resource)| resource.listable);
        kind.versions
            .iter()
            .find_map(|wanted| usable().find(|(version, _)| version == wanted))
            .or_else(|| usable().next())
            .map(|(version, _)| version.as_str())
    }

    /// Why a kind that is not served may exist nevertheless.
    pub(crate) fn stale(&self, kind: &Kind) -> Option<&str> {
        self.stale.get(kind.group).map(String::as_str)
    }

    /// Whether any of the kinds that an MCP gateway is made of is served.
    pub(crate) fn has_any_of_ours(&self) -> bool {
        const OURS: [&str; 5] = [
            "mcp.kuadrant.io",
            LEGACY_GROUP,
            "gateway.networking.k8s.io",
            "kuadrant.io",
            "networking.istio.io",
        ];
        OURS.iter().any(|group| self.groups.contains(*group))
    }

    /// The names of the CustomResourceDefinitions behind the kinds that we read, and of every kind
    /// of the MCP gateway's own groups.
    pub(crate) fn definitions(&self) -> BTreeSet<String> {
        const BUILT_IN: [&str; 8] = [
            "",
            "apps",
            "autoscaling",
            "discovery.k8s.io",
            "networking.k8s.io",
            "apiextensions.k8s.io",
            "route.openshift.io",
            "policy",
        ];
        const OWN: [&str; 3] = ["mcp.kuadrant.io", LEGACY_GROUP, "kuadrant.io"];
        let known = kinds::ALL.iter().filter(|kind| self.version(kind).is_some());
        let mut names: BTreeSet<String> =
            known.filter(|kind| !BUILT_IN.contains(&kind.group)).map(|kind| kind.resource()).collect();
        for (group, plural) in self.resources.keys() {
            if OWN.contains(&group.as_str()) {
                names.insert(format!("{plural}.{group}"));
            }
        }
        names
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The reason of an answer to a question for the served kinds that is something else.
pub(crate) const NO_DISCOVERY: &str = "NoDiscovery";

/// The path under which objects of a kind are listed, in one namespace or everywhere.
pub(crate) fn list_path(kind: &Kind, version: &str, namespace: Option<&str>) -> String {
    let root = if kind.group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{}/{version}", kind.group)
    };
    match namespace.filter(|_| kind.namespaced) {
        Some(namespace) => format!("{root}/namespaces/{}/{}", super::client::segment(namespace), kind.plural),
        None => format!("{root}/{}", kind.plural),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn aggregated() -> Served {
        let resource = |plural: &str, kind: &str| json!({"resource": plural, "responseKind": {"kind": kind}, "scope": "Namespaced", "verbs": ["get", "list"]});
        let mut served = Served::default();
        served.read_aggregated(&json!({"kind": "APIGroupDiscoveryList", "items": [
            {"metadata": {"name": "mcp.kuadrant.io"}, "versions": [
                {"version": "v1alpha1", "freshness": "Current", "resources": [resource("mcpserverregistrations", "MCPServerRegistration")]},
                {"version": "v1", "freshness": "Current", "resources": [resource("mcpserverregistrations", "MCPServerRegistration"), resource("novelties", "Novelty")]},
            ]},
            {"metadata": {"name": "gateway.networking.k8s.io"}, "versions": [
                {"version": "v3", "freshness": "Current", "resources": [resource("httproutes", "HTTPRoute")]},
            ]},
            {"metadata": {"name": "route.openshift.io"}, "versions": [{"version": "v1", "freshness": "Stale", "resources": []}]},
        ]}));
        served
    }

    #[test]
    fn our_order_of_versions_wins_and_unknown_ones_still_work() {
        let served = aggregated();
        assert_eq!(served.version(&kinds::MCP_SERVER_REGISTRATION), Some("v1"));
        assert_eq!(served.version(&kinds::HTTP_ROUTE), Some("v3"));
        assert_eq!(served.version(&kinds::GATEWAY), None);
        assert!(served.stale(&kinds::ROUTE).is_some());
        assert!(served.stale(&kinds::GATEWAY).is_none());
    }

    #[test]
    fn definitions_cover_our_groups() {
        let names: Vec<_> = aggregated().definitions().into_iter().collect();
        assert_eq!(
            names,
            [
                "httproutes.gateway.networking.k8s.io",
                "mcpserverregistrations.mcp.kuadrant.io",
                "novelties.mcp.kuadrant.io"
            ]
        );
    }

    #[test]
    fn paths() {
        assert_eq!(list_path(&kinds::POD, "v1", Some("a")), "/api/v1/namespaces/a/pods");
        assert_eq!(
            list_path(&kinds::GATEWAY_CLASS, "v1", Some("a")),
            "/apis/gateway.networking.k8s.io/v1/gatewayclasses"
        );
    }
}
