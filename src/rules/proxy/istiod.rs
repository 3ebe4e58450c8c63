//! Settings of istiod that decide which EnvoyFilters reach a Gateway's proxy.

use crate::model::Object;
use crate::model::istio::envoy_filter::workload_labels;
use crate::model::json::Value;
use crate::model::workloads::Component;
use crate::report::Evidence;
use crate::rules::{Context, Draft};
use crate::shell::shell;

/// With `false` istiod gives the proxies of Gateways only policies with `targetRefs`; the controller writes a selector.
const BY_SELECTOR: &str = "ENABLE_SELECTOR_BASED_K8S_GATEWAY_POLICY";

/// An istiod that ignores the selector of a filter, with the field that says so.
pub(super) fn ignores_selectors<'a>(
    context: &Context<'a>,
    filter: &Object,
) -> Option<(&'a Object, Evidence)> {
    workload_labels(filter)?;
    context.workloads().deployments_of(Component::Istiod).iter().find_map(|istiod| {
        let containers = istiod.array("/spec/template/spec/containers").iter().enumerate();
        let mut variables = containers.flat_map(|(c, container)| {
            let list = container.get("env").and_then(Value::as_array).unwrap_or_default();
            list.iter().enumerate().map(move |(e, variable)| (c, e, variable))
        });
        let text = |variable: &'a Value, key: &str| variable.get(key).and_then(Value::as_str);
        let (c, e, _) = variables
            .find(|(_, _, v)| text(v, "name") == Some(BY_SELECTOR) && text(v, "value") == Some("false"))?;
        let pointer = format!("/spec/template/spec/containers/{c}/env/{e}");
        Some((*istiod, istiod.evidence(&pointer)))
    })
}

/// Adds the command that lets istiod look at selectors again.
pub(super) fn heed_selectors(context: &Context<'_>, filter: &Object, draft: &mut Draft) {
    if let Some((istiod, _)) = ignores_selectors(context, filter) {
        draft.object(istiod.reference()).command(shell!(
            "oc -n {} set env deployment/{} {}-",
            istiod.namespace(),
            istiod.name(),
            BY_SELECTOR
        ));
    }
}
