//! What a file of a bundle is, by its path.

/// The kind of file that a path promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// `mcpgw/manifest.json`.
    Manifest,
    /// `mcpgw/failures.json`.
    Failures,
    /// The time of a must-gather.
    Timestamp,
    /// The API groups that the server announced.
    Discovery,
    /// The log of a container.
    Log(Log),
    /// Objects.
    Objects(Objects),
    /// A file of ours that is neither object nor log.
    Extra,
    /// It has no known place; its content may tell.
    Unknown,
    /// Made from the rest of the bundle, or for people.
    Ignored,
}

/// Whose log it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
    pub(super) previous: bool,
}

/// Which objects a file of the must-gather layout holds; all empty for loose files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Objects {
    /// In which of the two trees it stands, if in any.
    pub(super) scope: Option<Scope>,
    /// The API group, empty for core.
    pub(super) group: String,
    /// The plural resource name.
    pub(super) plural: String,
    /// Whether the file holds all objects of the kind there, rather than one.
    pub(super) list: bool,
}

/// A tree of the must-gather layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// `cluster-scoped-resources`.
    Cluster,
    /// `namespaces/<name>`.
    Namespace(String),
}

/// Tells what a path promises.
pub(super) fn of(path: &str) -> Place {
    let parts: Vec<&str> = path.split('/').collect();
    let marker = parts.iter().position(|p| matches!(*p, "namespaces" | "cluster-scoped-resources" | "mcpgw"));
    let Some(marker) = marker.filter(|at| at + 1 < parts.len()) else { return loose(&parts) };
    match &parts[marker..] {
        ["mcpgw", "manifest.json"] => Place::Manifest,
        ["mcpgw", "failures.json"] => Place::Failures,
        ["mcpgw", "analysis", ..] | ["mcpgw", "topology.json" | "redaction-report.json"] => Place::Ignored,
        ["mcpgw", ..] => Place::Extra,
        ["namespaces", namespace, "pods", pod, container, _, "logs", rest @ ..] => match rest {
            [name] | ["rotated", name] => Place::Log(Log {
                namespace: (*namespace).to_owned(),
                pod: (*pod).to_owned(),
                container: (*container).to_owned(),
                previous: name.starts_with("previous"),
            }),
            _ => Place::Ignored,
        },
        [_, .., name] if stem(name).is_none() => Place::Ignored,
        ["namespaces", namespace, "pods", _, _] => objects(namespace, "", "pods", false),
        ["namespaces", namespace, name] if stem(name) == Some(*namespace) => Place::Objects(Objects {
            scope: Some(Scope::Cluster),
            group: String::new(),
            plural: "namespaces".to_owned(),
            list: false,
        }),
        ["namespaces", namespace, group, name] => {
            objects(namespace, group, stem(name).unwrap_or_default(), true)
        }
        ["namespaces", namespace, group, plural, _] => objects(namespace, group, plural, false),
        ["cluster-scoped-resources", group, name] => cluster(group, stem(name).unwrap_or_default(), true),
        ["cluster-scoped-resources", group, plural, _] => cluster(group, plural, false),
        _ => Place::Objects(Objects::default()),
    }
}

fn objects(namespace: &str, group: &str, plural: &str, list: bool) -> Place {
    let scope = Some(Scope::Namespace(namespace.to_owned()));
    Place::Objects(Objects { scope, group: group_of(group), plural: plural.to_owned(), list })
}

fn cluster(group: &str, plural: &str, list: bool) -> Place {
    Place::Objects(Objects {
        scope: Some(Scope::Cluster),
        group: group_of(group),
        plural: plural.to_owned(),
        list,
    })
}

fn group_of(directory: &str) -> String {
    if directory == "core" { String::new() } else { directory.to_owned() }
}

/// The name without the extension of a file of objects.
fn stem(name: &str) -> Option<&str> {
    [".yaml", ".yml", ".json"].iter().find_map(|extension| name.strip_suffix(extension))
}

fn loose(parts: &[&str]) -> Place {
    let Some(name) = parts.last() else { return Place::Unknown };
    match *name {
        "timestamp" => Place::Timestamp,
        "aggregated-discovery-apis.yaml" | "aggregated-discovery-apis.json" => Place::Discovery,
        "version" | "gather.logs" | "must-gather.logs" | "event-filter.html" | "must-gather.log" => {
            Place::Ignored
        }
        "aggregated-discovery-api.yaml" | "aggregated-discovery-api.json" => Place::Ignored,
        name if stem(name).is_some() => Place::Objects(Objects::default()),
        _ => Place::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::path;
    use crate::model::kinds;

    fn list(namespace: &str, group: &str, plural: &str, list: bool) -> Place {
        objects(namespace, group, plural, list)
    }

    #[test]
    fn every_path_that_is_written_is_understood() {
        assert_eq!(of(path::MANIFEST), Place::Manifest);
        assert_eq!(of(path::FAILURES), Place::Failures);
        assert_eq!(of(path::REPORT_JSON), Place::Ignored);
        assert_eq!(of(&path::envoy("ns", "pod", "stats.txt")), Place::Extra);
        assert_eq!(of(&path::config_secret("ns")), Place::Extra);
        assert_eq!(of(&path::list(&kinds::POD, "ns")), list("ns", "core", "pods", true));
        assert_eq!(of(&path::pod("ns", "p")), list("ns", "core", "pods", false));
        assert_eq!(
            of(&path::object(&kinds::HTTP_ROUTE, "ns", "r")),
            list("ns", "gateway.networking.k8s.io", "httproutes", false)
        );
        assert_eq!(
            of(&path::object(&kinds::GATEWAY_CLASS, "", "istio")),
            cluster("gateway.networking.k8s.io", "gatewayclasses", false)
        );
        assert_eq!(of(&path::namespace("ns")), cluster("core", "namespaces", false));
        for previous in [false, true] {
            let log = Log { namespace: "ns".into(), pod: "p".into(), container: "c".into(), previous };
            assert_eq!(of(&path::log("ns", "p", "c", previous)), Place::Log(log));
        }
    }

    #[test]
    fn foreign_bundles_are_understood_too() {
        let log = Log { namespace: "ns".into(), pod: "p".into(), container: "c".into(), previous: false };
        for name in ["current.insecure.log", "rotated/0.log.20260101-000000.gz"] {
            let path = format!("quay-io-image/namespaces/ns/pods/p/c/c/logs/{name}");
            assert_eq!(of(&path), Place::Log(log.clone()));
        }
        assert_eq!(of("cluster-scoped-resources/config.openshift.io/infrastructures.yaml"), {
            cluster("config.openshift.io", "infrastructures", true)
        });
        assert_eq!(of("dump/routes.json"), Place::Objects(Objects::default()));
        assert_eq!(of("timestamp"), Place::Timestamp);
        assert_eq!(of("dump"), Place::Unknown);
        assert_eq!(of("namespaces/ns/core/configmaps.yaml.swp"), Place::Ignored);
    }
}
