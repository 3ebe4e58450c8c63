//! Proxies whose version no istiod serves (MG004).

use super::platform::version;
use crate::model::Object;
use crate::model::json::Value;
use crate::model::workloads::Component;
use crate::rules::Context;
use crate::shell::{Command, shell};

/// A proxy that is too old, or too new, for every istiod.
pub(super) struct Skew<'a> {
    /// Its pod.
    pub proxy: &'a Object,
    /// The JSON pointer of its image.
    pub pointer: String,
    /// What is wrong.
    pub title: String,
    /// What makes new pods of it.
    pub restart: Command,
}

/// The tag of a container's image.
pub(super) fn tag(container: &Value) -> &str {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    image.rsplit('/').next().and_then(|name| name.split_once(':')).map_or("", |(_, tag)| tag)
}

/// The first such proxy: Istio lets it be one minor version behind its istiod, and never ahead. Which istiod of several
/// serves it is not asked; one that fits is enough. Vendors count in other numbers, which cannot be compared.
pub(super) fn skewed_proxy<'a>(context: &Context<'a>) -> Option<Skew<'a>> {
    let istiods = context.workloads().deployments_of(Component::Istiod).iter();
    let served: Vec<(u32, u32)> = istiods
        .flat_map(|istiod| istiod.array("/spec/template/spec/containers"))
        .filter(|c| c.get("name").and_then(Value::as_str) == Some("discovery"))
        .filter_map(|c| version(tag(c)))
        .collect();
    let workloads = context.workloads();
    context.proxies().iter().find_map(|group| {
        workloads.gateway_pods(group.gateway).into_iter().find_map(|pod| {
            let containers = pod.array("/spec/containers").iter().enumerate();
            let (index, container) = containers
                .into_iter()
                .find(|(_, c)| c.get("name").and_then(Value::as_str) == Some("istio-proxy"))?;
            let (major, minor) = version(tag(container))?;
            let comparable: Vec<u32> =
                served.iter().filter(|(other, _)| *other == major).map(|(_, minor)| *minor).collect();
            let fits = |istiod: &u32| (minor..=minor.saturating_add(1)).contains(istiod);
            if comparable.is_empty() || comparable.iter().any(fits) {
                return None;
            }
            let others: Vec<String> = comparable.iter().map(|minor| format!("{major}.{minor}")).collect();
            let restart = workloads.gateway_deployment(group.gateway).map_or_else(
                || shell!("oc -n {} delete pod {}", pod.namespace(), pod.name()),
                |d| shell!("oc -n {} rollout restart deployment {}", d.namespace(), d.name()),
            );
            Some(Skew {
                proxy: pod,
                pointer: format!("/spec/containers/{index}/image"),
                title: format!(
                    "Proxy {} has Istio {}, its istiod {}: Istio supports a proxy of the same minor version, or one behind",
                    pod.full_name(),
                    tag(container),
                    others.join(", ")
                ),
                restart,
            })
        })
    })
}
