//! What stands behind a reason of a Gateway's conditions: its parameters, a quota, the word of the load balancer.

use serde_json::json;

use crate::model::json::Value;
use crate::model::{Object, Seen, kinds};
use crate::report::{Evidence, ObjectRef};
use crate::rules::{Context, Draft, evidence, remedy, suggest};
use crate::shell::Command;
use crate::shell::shell;

/// The cause of a condition, as the specs and events show it.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// What it is and what to do, in sentences.
    pub text: String,
    objects: Vec<ObjectRef>,
    evidence: Vec<Evidence>,
    commands: Vec<Command>,
}

impl Behind {
    /// Adds all but the text to a finding.
    pub(super) fn add_to(self, draft: &mut Draft) {
        for object in self.objects {
            draft.object(object);
        }
        for evidence in self.evidence {
            draft.evidence(evidence);
        }
        draft.commands(self.commands);
    }
}

/// Why `spec.infrastructure.parametersRef` is refused: Istio takes a ConfigMap of the Gateway's own namespace, and
/// nothing else (`validateParametersRef` of its Gateway controller).
pub(super) fn parameters(context: &Context<'_>, gateway: &Object) -> Option<Behind> {
    const POINTER: &str = "/spec/infrastructure/parametersRef";
    let reference = gateway.get(POINTER)?;
    let text = |key: &str| reference.get(key).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (gateway.namespace(), text("name"));
    let kind = if text("group").is_empty() {
        text("kind").to_owned()
    } else {
        format!("{}.{}", text("kind"), text("group"))
    };
    let found = context.bundle.find(&kinds::CONFIG_MAP, namespace, name);
    let mut behind = Behind { evidence: vec![gateway.evidence(POINTER)], ..Behind::default() };
    behind.text = if kind != "ConfigMap" {
        format!(
            "spec.infrastructure.parametersRef names {kind} {name}; Istio takes a ConfigMap. Put the options into \
             one, or take the reference out: the proxy then has the defaults."
        )
    } else if let Seen::Found(map) = found {
        behind.objects.push(map.reference());
        behind.evidence.push(map.evidence("/metadata/name"));
        format!(
            "ConfigMap {namespace}/{name} of spec.infrastructure.parametersRef exists: correct what it holds."
        )
    } else {
        behind.objects.push(suggest::reference(&kinds::CONFIG_MAP, namespace, name));
        let near = suggest::sentence(context, &kinds::CONFIG_MAP, namespace, name);
        format!(
            "spec.infrastructure.parametersRef names ConfigMap {namespace}/{name}, which does not exist.{near} Create \
             it, or take the reference out: the proxy then has the defaults."
        )
    };
    if kind == "ConfigMap" && matches!(found, Seen::Found(_)) {
        behind.commands.push(shell!("oc -n {} edit configmap {}", namespace, name));
        return Some(behind);
    }
    let patch = match suggest::similar(context, &kinds::CONFIG_MAP, namespace, name) {
        Some(near) if kind == "ConfigMap" => {
            json!([{"op": "replace", "path": format!("{POINTER}/name"), "value": near.name()}])
        }
        _ => json!([{"op": "remove", "path": POINTER}]),
    };
    behind.commands.push(remedy::patch(gateway, patch));
    Some(behind)
}

/// A quota of the Gateway's namespace that leaves no room for its Service, while it has none.
pub(super) fn quota(context: &Context<'_>, gateway: &Object) -> Option<Behind> {
    const SERVICES: [&str; 4] =
        ["services", "services.loadbalancers", "services.nodeports", "count/services"];
    if context.workloads().gateway_service(gateway).is_some() {
        return None;
    }
    let namespace = gateway.namespace();
    let quotas = context.bundle.list(&kinds::RESOURCE_QUOTA).filter(|q| q.namespace() == namespace);
    for quota in quotas {
        let amount = |place: &str, what: &str| {
            let value = quota.get(place)?.get(what)?;
            value.as_i64().or_else(|| value.as_str()?.parse().ok())
        };
        for what in SERVICES {
            let (hard, used) = (amount("/spec/hard", what), amount("/status/used", what).unwrap_or(0));
            let Some(hard) = hard.filter(|hard| used >= *hard) else { continue };
            let name = quota.name();
            let field = what.replace('/', "~1");
            let patch = json!({"spec": {"hard": {what: (used + 1).to_string()}}});
            return Some(Behind {
                text: format!(
                    "ResourceQuota {namespace}/{name} allows {hard} {what}, {used} are used, and the Gateway has no \
                     Service: raise the quota; the Gateway's controller then makes the Service."
                ),
                objects: vec![quota.reference()],
                evidence: vec![
                    quota.evidence(&format!("/spec/hard/{field}")),
                    quota.evidence(&format!("/status/used/{field}")),
                ],
                commands: vec![remedy::merge(quota, patch)],
            });
        }
    }
    None
}

/// What the load balancer's controller says about a Service that it gave no address.
pub(super) fn load_balancer(context: &Context<'_>, service: &Object) -> Option<Behind> {
    let mut behind = Behind::default();
    let events = context.workloads().events_of(&service.reference());
    let warnings: Vec<&Object> = events.into_iter().filter(|e| e.str("/type") == "Warning").collect();
    if let Some(event) = warnings.iter().max_by_key(|e| (evidence::event_time(e), e.name().to_owned())) {
        let said = ["/message", "/note"].iter().map(|p| event.str(p)).find(|t| !t.is_empty());
        behind.text = format!("Its controller says: {}", evidence::short(said.unwrap_or_default(), 160));
        behind.evidence.push(evidence::event(event));
    }
    let class = service.str("/spec/loadBalancerClass");
    if !class.is_empty() {
        behind.evidence.push(service.evidence("/spec/loadBalancerClass"));
        behind.text.push_str(&format!(" It waits for an implementation of class {class}."));
    }
    (!behind.evidence.is_empty()).then_some(behind)
}
