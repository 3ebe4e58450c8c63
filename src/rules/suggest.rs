//! Near misses: what a name that leads nowhere may have meant.

use super::Context;
pub(super) use crate::model::near::closest;
use crate::model::{Kind, Object, kinds, near};
use crate::report::ObjectRef;

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
    near::similar(context.bundle, kind, namespace, name)
}

/// The first of these names and how many there are besides: `a, b, c and 9 more`.
pub(super) fn some(names: &[&str], most: usize) -> String {
    first(names.iter().copied(), most)
}

/// The same of names that come one by one.
pub(super) fn first<'n>(names: impl ExactSizeIterator<Item = &'n str>, most: usize) -> String {
    match names.len().checked_sub(most) {
        Some(more) if more > 1 => {
            format!("{} and {more} more", names.take(most).collect::<Vec<_>>().join(", "))
        }
        _ => names.collect::<Vec<_>>().join(", "),
    }
}

/// A sentence about what the name may have meant, with a leading space; empty when nothing is close.
pub(super) fn sentence(context: &Context<'_>, kind: &Kind, namespace: &str, name: &str) -> String {
    if let Some(near) = similar(context, kind, namespace, name) {
        return format!(" Did you mean {}?", near.name());
    }
    match elsewhere(context, kind, namespace, name).as_slice() {
        [] => String::new(),
        [one] => format!(" {} of this name exists in namespace {}.", article(kind), one.namespace()),
        several => {
            let list: Vec<&str> = several.iter().take(5).map(|o| o.namespace()).collect();
            format!(" {} of this name exists in namespaces {}.", article(kind), list.join(", "))
        }
    }
}

/// A kind with its article, as it is spoken: `An HTTPRoute`, `A Gateway`.
fn article(kind: &Kind) -> String {
    let article = if kind.kind.starts_with(['A', 'E', 'H', 'I', 'M', 'O']) { "An" } else { "A" };
    format!("{article} {}", kind.kind)
}
