//! Near misses: what a name that leads nowhere may have meant.

use super::Context;
use crate::model::{Kind, Object, kinds};
use crate::report::ObjectRef;

/// How many objects of a namespace are compared with a name.
const COMPARED: usize = 500;

/// Names an object that is not in the bundle.
pub(super) fn reference(kind: &Kind, namespace: &str, name: &str) -> ObjectRef {
    let version = kind.versions[0];
    ObjectRef {
        api_version: if kind.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", kind.group)
        },
        kind: kind.kind.to_owned(),
        namespace: (kind.namespaced && !namespace.is_empty()).then(|| namespace.to_owned()),
        name: name.to_owned(),
    }
}

/// Names the missing API (MG003) as the cause, if the cluster does not serve the kind.
pub(super) fn api_missing(context: &Context<'_>, draft: &mut super::Draft, kind: &Kind) {
    if context.bundle.not_installed(kind) {
        let name = kind.resource();
        draft.because_of(&["MG003"], reference(&kinds::CUSTOM_RESOURCE_DEFINITION, "", &name));
    }
}

/// The objects of this kind and name in other namespaces.
pub(super) fn elsewhere<'a>(
    context: &'a Context<'_>,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Vec<&'a Object> {
    let named = context.named(kind.kind, name).iter().copied();
    named.filter(|o| o.group() == kind.group && o.namespace() != namespace).collect()
}

/// The object of the namespace whose name comes closest, if any is close.
pub(super) fn similar<'a>(
    context: &'a Context<'_>,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Option<&'a Object> {
    let candidates = context.bundle.list_in(kind, namespace).take(COMPARED);
    closest(name, candidates.map(|o| (o.name(), o)))
}

/// The first of these names and how many there are besides: `a, b, c and 9 more`.
pub(super) fn some(names: &[&str], most: usize) -> String {
    match names.len().checked_sub(most) {
        Some(more) if more > 1 => format!("{} and {more} more", names[..most].join(", ")),
        _ => names.join(", "),
    }
}

/// The candidate whose text comes closest to this one, if any is close.
pub(super) fn closest<'c, T>(wanted: &str, candidates: impl Iterator<Item = (&'c str, T)>) -> Option<T> {
    let mut best: Option<(f64, T)> = None;
    for (text, candidate) in candidates {
        if text == wanted {
            continue;
        }
        let part = text.len().min(wanted.len()) >= 4 && (text.contains(wanted) || wanted.contains(text));
        // One letter wrong, missing, too many, or two exchanged, also where the name is short.
        let slip = text.len().min(wanted.len()) >= 3 && strsim::osa_distance(wanted, text) == 1;
        let score = strsim::jaro_winkler(wanted, text).max(if part { 0.9 } else { 0.0 }).max(if slip {
            0.89
        } else {
            0.0
        });
        if score >= 0.88 && best.as_ref().is_none_or(|(first, _)| score > *first) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// A sentence about what the name may have meant, with a leading space; empty when nothing is close.
pub(super) fn sentence(context: &Context<'_>, kind: &Kind, namespace: &str, name: &str) -> String {
    if let Some(near) = similar(context, kind, namespace, name) {
        return format!(" Did you mean {}?", near.name());
    }
    match elsewhere(context, kind, namespace, name).as_slice() {
        [] => String::new(),
        [one] => format!(" A {} of this name exists in namespace {}.", kind.kind, one.namespace()),
        several => {
            let list: Vec<&str> = several.iter().take(5).map(|o| o.namespace()).collect();
            format!(" A {} of this name exists in namespaces {}.", kind.kind, list.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn close_names() {
        let names = ["weather", "orders", "inventory"];
        let near = |wanted: &str| closest(wanted, names.iter().map(|n| (*n, *n)));
        assert_eq!(near("wether"), Some("weather"));
        assert_eq!(near("orders-route"), Some("orders"));
        assert_eq!(near("payments"), None);
        assert_eq!(near("weather"), None);
    }
}
