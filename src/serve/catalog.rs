//! What this API server serves: every kind of the bundle with its names, scope and versions.
//!
//! The names come from the CRDs in the bundle first, then from the tables of kinds, and for a
//! kind that neither knows from the file that holds it. A version is only offered if an object
//! can be answered in it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::builtin;
use crate::model::bundle::Outcome;
use crate::model::json::Value;
use crate::model::{Bundle, Object, kinds};

/// One kind that is served.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// The versions, the preferred one first.
    pub(crate) versions: Vec<String>,
    /// `additionalPrinterColumns` of the CRD, by version; absent when there is no CRD.
    pub(crate) columns: Option<BTreeMap<String, Vec<Value>>>,
    /// Whether the kind has a status subresource.
    pub(crate) status: bool,
}

impl Resource {
    /// `httproutes.gateway.networking.k8s.io`.
    pub(crate) fn full_name(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `gateway.networking.k8s.io/v1`, or `v1`.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }
}

/// Everything that is served, in the order of discovery.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    resources: Vec<Resource>,
    by_plural: BTreeMap<(String, String), usize>,
}

impl Catalog {
    /// Finds out what a bundle allows to serve.
    pub(crate) fn of(bundle: &Bundle) -> Self {
        let mut found: BTreeMap<(String, String), Resource> = BTreeMap::new();
        for crd in bundle.list(&kinds::CUSTOM_RESOURCE_DEFINITION) {
            if let Some(resource) = from_crd(crd) {
                found.insert((resource.group.clone(), resource.kind.clone()), resource);
            }
        }
        let not_installed: BTreeSet<(&str, &str)> = bundle
            .collections()
            .iter()
            .filter(|c| c.outcome == Outcome::NotInstalled)
            .map(|c| (c.group.as_str(), c.kind.as_str()))
            .collect();
        for kind in kinds::ALL.iter().filter(|k| builtin::is_builtin_group(k.group)) {
            if !not_installed.contains(&(kind.group, kind.kind)) {
                let resource = from_table(kind, &[kind.versions[0]]);
                found.entry((kind.group.to_owned(), kind.kind.to_owned())).or_insert(resource);
            }
        }
        for c in bundle.collections().iter().filter(|c| c.outcome != Outcome::NotInstalled) {
            let key = (c.group.clone(), c.kind.clone());
            let resource = found.entry(key).or_insert_with(|| {
                let mut resource = unnamed(&c.group, &c.kind, None);
                resource.plural.clone_from(&c.resource);
                resource
            });
            add_version(resource, &c.version);
        }
        for object in bundle.objects() {
            let key = (object.group().to_owned(), object.kind().to_owned());
            let resource =
                found.entry(key).or_insert_with(|| unnamed(object.group(), object.kind(), Some(object)));
            add_version(resource, object.version());
        }
        let mut resources: Vec<Resource> = found.into_values().filter(|r| !r.versions.is_empty()).collect();
        for resource in &mut resources {
            resource.versions.sort_by_cached_key(|version| Reverse(priority(version)));
        }
        resources.sort_by_cached_key(|r| (group_order(&r.group), r.group.clone(), r.plural.clone()));
        let by_plural =
            resources.iter().enumerate().map(|(i, r)| ((r.group.clone(), r.plural.clone()), i)).collect();
        Self { resources, by_plural }
    }

    /// All kinds, by group and plural.
    pub(crate) fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The kind with this plural.
    pub(crate) fn by_plural(&self, group: &str, plural: &str) -> Option<&Resource> {
        self.by_plural.get(&(group.to_owned(), plural.to_owned())).map(|&i| &self.resources[i])
    }

    /// The groups in the order of discovery, each with its versions, the preferred one first.
    pub(crate) fn groups(&self) -> Vec<(&str, Vec<&str>)> {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for resource in &self.resources {
            if groups.last().is_none_or(|(group, _)| *group != resource.group) {
                groups.push((&resource.group, Vec::new()));
            }
            if let Some((_, versions)) = groups.last_mut() {
                for version in &resource.versions {
                    if !versions.contains(&version.as_str()) {
                        versions.push(version);
                    }
                }
            }
        }
        for (_, versions) in &mut groups {
            versions.sort_by_cached_key(|version| Reverse(priority(version)));
        }
        groups
    }
}

/// Kubernetes' order of versions: `v2`, `v1`, `v1beta2`, `v1beta1`, `v1alpha1`, then anything else.
/// Source: "Version priority" of the CustomResourceDefinition documentation.
fn priority(version: &str) -> (u8, u64, u64, Reverse<String>) {
    let other = || (0, 0, 0, Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else { return other() };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let Ok(major) = rest[..digits].parse() else { return other() };
    let (stability, rest) = match &rest[digits..] {
        "" => return (3, major, 0, Reverse(String::new())),
        rest if rest.starts_with("beta") => (2, &rest[4..]),
        rest if rest.starts_with("alpha") => (1, &rest[5..]),
        _ => return other(),
    };
    rest.parse().map_or_else(|_| other(), |minor| (stability, major, minor, Reverse(String::new())))
}

fn group_order(group: &str) -> usize {
    builtin::GROUPS.iter().position(|g| *g == group).unwrap_or(usize::MAX)
}

fn add_version(resource: &mut Resource, version: &str) {
    if !version.is_empty() && !resource.versions.iter().any(|v| v == version) {
        resource.versions.push(version.to_owned());
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A CRD names its kind completely. Versions that it does not serve are left out; and where it
/// wants a webhook for conversion, which a bundle does not have, all but the stored one.
fn from_crd(crd: &Object) -> Option<Resource> {
    let (group, kind) = (crd.str("/spec/group"), crd.str("/spec/names/kind"));
    let plural = crd.str("/spec/names/plural");
    if group.is_empty() || kind.is_empty() || plural.is_empty() {
        return None;
    }
    let webhook = crd.str("/spec/conversion/strategy") == "Webhook";
    let is = |version: &Value, key: &str| version.get(key).and_then(Value::as_bool) == Some(true);
    let served = || crd.array("/spec/versions").iter().filter(|v| is(v, "served"));
    let name = |version: &Value| version.get("name").and_then(Value::as_str).map(str::to_owned);
    let or = |text: &str, default: String| if text.is_empty() { default } else { text.to_owned() };
    Some(Resource {
        group: group.to_owned(),
        kind: kind.to_owned(),
        list_kind: or(crd.str("/spec/names/listKind"), format!("{kind}List")),
        plural: plural.to_owned(),
        singular: or(crd.str("/spec/names/singular"), kind.to_lowercase()),
        short: strings(crd.get("/spec/names/shortNames")),
        categories: strings(crd.get("/spec/names/categories")),
        namespaced: crd.str("/spec/scope") == "Namespaced",
        versions: served().filter(|v| !webhook || is(v, "storage")).filter_map(name).collect(),
        columns: Some(
            served()
                .filter_map(|version| {
                    let columns = version.get("additionalPrinterColumns").and_then(Value::as_array);
                    Some((name(version)?, columns.unwrap_or_default().to_vec()))
                })
                .collect(),
        ),
        status: served().any(|v| v.pointer("/subresources/status").is_some()),
    })
}

fn from_table(kind: &kinds::Kind, versions: &[&str]) -> Resource {
    Resource {
        group: kind.group.to_owned(),
        kind: kind.kind.to_owned(),
        list_kind: format!("{}List", kind.kind),
        plural: kind.plural.to_owned(),
        // The singular of `endpoints` is itself; every other kind has its lower-case name.
        singular: kind.kind.to_lowercase(),
        short: kind.short.iter().map(|s| (*s).to_owned()).collect(),
        categories: owned(builtin::categories(kind.group, kind.kind)),
        namespaced: kind.namespaced,
        versions: owned(versions),
        columns: None,
        status: true,
    }
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// A kind without a CRD in the bundle: from the tables, else from what an object shows.
fn unnamed(group: &str, kind: &str, object: Option<&Object>) -> Resource {
    if let Some(known) = kinds::by_kind(group, kind) {
        return from_table(known, &[]);
    }
    let known = builtin::EXTRA.iter().find(|b| b.group == group && b.kind == kind);
    let plural = match known {
        Some(known) => known.plural.to_owned(),
        None => object.and_then(plural_of_file).unwrap_or_else(|| builtin::guess_plural(kind)),
    };
    Resource {
        group: group.to_owned(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        plural,
        singular: kind.to_lowercase(),
        short: known.map(|k| owned(k.short)).unwrap_or_default(),
        categories: owned(builtin::categories(group, kind)),
        namespaced: known.map_or_else(|| object.is_none_or(|o| !o.namespace().is_empty()), |k| k.namespaced),
        versions: known.map(|k| vec![k.version.to_owned()]).unwrap_or_default(),
        columns: None,
        status: true,
    }
}

/// The plural that the layout of a must-gather tells: the path element after the group's.
fn plural_of_file(object: &Object) -> Option<String> {
    let group = if object.group().is_empty() { "core" } else { object.group() };
    let mut parts = object.file().split('/').skip_while(|part| *part != group).skip(1);
    let plural = parts.next()?;
    let plural = plural.strip_suffix(".yaml").unwrap_or(plural);
    let sane = !plural.is_empty() && plural.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    sane.then(|| plural.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bundle::{Collection, Meta};
    use crate::model::json::json;

    fn object(value: Value, file: &str) -> Object {
        Object::new(value, file.into(), None).expect("an object")
    }

    #[test]
    fn versions_are_ordered_like_kubernetes_orders_them() {
        let mut versions = vec!["v1alpha1", "foo1", "v10", "v1beta2", "v2", "v1", "v1beta10", "v2alpha1"];
        versions.sort_by_cached_key(|v| Reverse(priority(v)));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta10", "v1beta2", "v2alpha1", "v1alpha1", "foo1"]);
    }

    #[test]
    fn a_crd_names_its_kind_and_unserved_versions_stay_away() {
        let mut bundle = Bundle::new(Meta::default());
        bundle.add_object(object(
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "foes.x.io"},
                "spec": {"group": "x.io", "scope": "Cluster",
                    "names": {"kind": "Foe", "plural": "foes", "shortNames": ["f"], "categories": ["all"]},
                    "versions": [{"name": "v1alpha1", "served": false}, {"name": "v1", "served": true, "storage": true},
                        {"name": "v1beta1", "served": true}]}}),
            "crd.yaml",
        ));
        let catalog = Catalog::of(&bundle);
        let foe = catalog.by_plural("x.io", "foes").expect("served");
        assert_eq!((foe.versions.join(" "), foe.namespaced), ("v1 v1beta1".to_owned(), false));
        assert_eq!((foe.short.join(" "), foe.singular.as_str()), ("f".to_owned(), "foe"));
    }

    #[test]
    fn kinds_that_nobody_names_are_named_by_their_file() {
        let mut bundle = Bundle::new(Meta::default());
        let value =
            json!({"apiVersion": "odd.io/v1", "kind": "Mouse", "metadata": {"name": "m", "namespace": "n"}});
        bundle.add_object(object(value, "namespaces/n/odd.io/mice/m.yaml"));
        let catalog = Catalog::of(&bundle);
        assert_eq!(catalog.by_plural("odd.io", "mice").expect("served").kind, "Mouse");
    }

    #[test]
    fn kinds_that_were_not_installed_are_not_served() {
        let collection = |kind: &kinds::Kind, outcome| Collection {
            group: kind.group.into(),
            version: kind.versions[0].into(),
            kind: kind.kind.into(),
            resource: kind.plural.into(),
            namespace: None,
            outcome,
            items: 0,
            why: None,
        };
        let mut bundle = Bundle::new(Meta::default());
        bundle.add_collection(collection(&kinds::HTTP_ROUTE, Outcome::Complete));
        bundle.add_collection(collection(&kinds::WASM_PLUGIN, Outcome::NotInstalled));
        let catalog = Catalog::of(&bundle);
        assert!(catalog.by_plural("gateway.networking.k8s.io", "httproutes").is_some());
        assert!(catalog.by_plural("extensions.istio.io", "wasmplugins").is_none());
        assert!(catalog.by_plural("", "pods").is_some(), "every API server has pods");
    }
}
