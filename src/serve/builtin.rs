//! Names of the kinds that every API server has, beyond those of [`crate::model::kinds`], and the
//! categories and rules that make `kubectl` treat a kind the way its users know.

/// A kind that comes with Kubernetes.
pub(crate) struct Builtin {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) short: &'static [&'static str],
    pub(crate) namespaced: bool,
}

macro_rules! builtins {
    ($($group:literal $version:literal $kind:literal $plural:literal [$($short:literal),*] $namespaced:literal;)+) => {
        /// Kinds that the table of the analysis does not need, but that must-gathers hold.
        pub(crate) static EXTRA: &[Builtin] = &[$(Builtin {
            group: $group, version: $version, kind: $kind, plural: $plural, short: &[$($short),*],
            namespaced: $namespaced,
        }),+];
    };
}

builtins! {
    "" "v1" "LimitRange" "limitranges" ["limits"] true;
    "" "v1" "PersistentVolume" "persistentvolumes" ["pv"] false;
    "" "v1" "PodTemplate" "podtemplates" [] true;
    "" "v1" "ReplicationController" "replicationcontrollers" ["rc"] true;
    "apps" "v1" "ControllerRevision" "controllerrevisions" [] true;
    "batch" "v1" "CronJob" "cronjobs" ["cj"] true;
    "batch" "v1" "Job" "jobs" [] true;
    "networking.k8s.io" "v1" "Ingress" "ingresses" ["ing"] true;
    "networking.k8s.io" "v1" "IngressClass" "ingressclasses" [] false;
    "policy" "v1" "PodDisruptionBudget" "poddisruptionbudgets" ["pdb"] true;
    "rbac.authorization.k8s.io" "v1" "ClusterRole" "clusterroles" [] false;
    "rbac.authorization.k8s.io" "v1" "ClusterRoleBinding" "clusterrolebindings" [] false;
    "rbac.authorization.k8s.io" "v1" "Role" "roles" [] true;
    "rbac.authorization.k8s.io" "v1" "RoleBinding" "rolebindings" [] true;
    "storage.k8s.io" "v1" "StorageClass" "storageclasses" ["sc"] false;
    "coordination.k8s.io" "v1" "Lease" "leases" [] true;
    "scheduling.k8s.io" "v1" "PriorityClass" "priorityclasses" ["pc"] false;
    "admissionregistration.k8s.io" "v1" "MutatingWebhookConfiguration" "mutatingwebhookconfigurations" [] false;
    "admissionregistration.k8s.io" "v1" "ValidatingWebhookConfiguration" "validatingwebhookconfigurations" [] false;
    "apiregistration.k8s.io" "v1" "APIService" "apiservices" [] false;
    "certificates.k8s.io" "v1" "CertificateSigningRequest" "certificatesigningrequests" ["csr"] false;
}

/// The groups that are compiled into an API server, in the order in which it lists them. What
/// comes first wins when two groups have a resource of the same name (`ingresses`).
pub(crate) const GROUPS: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
];

/// Whether a group is compiled into an API server, so that its kinds exist on every cluster.
pub(crate) fn is_builtin_group(group: &str) -> bool {
    GROUPS.contains(&group)
}

/// The categories of a kind (`kubectl get all`), where no CRD tells them.
pub(crate) fn categories(group: &str, kind: &str) -> &'static [&'static str] {
    match (group, kind) {
        ("", "Pod" | "Service" | "ReplicationController")
        | ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        | ("autoscaling", "HorizontalPodAutoscaler")
        | ("batch", "Job" | "CronJob") => &["all"],
        ("apiextensions.k8s.io" | "apiregistration.k8s.io" | "admissionregistration.k8s.io", _) => {
            &["api-extensions"]
        }
        ("gateway.networking.k8s.io", _) => &["gateway-api"],
        ("networking.istio.io" | "security.istio.io" | "telemetry.istio.io" | "extensions.istio.io", _) => {
            &["istio-io"]
        }
        ("cert-manager.io", _) => &["cert-manager"],
        ("operators.coreos.com", _) => &["olm"],
        _ => &[],
    }
}

/// The plural of a kind that nobody names: English, as `kubectl` guesses it.
pub(crate) fn guess_plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.as_bytes() {
        [.., b's' | b'x' | b'z'] => format!("{lower}es"),
        [.., b'c' | b's', b'h'] => format!("{lower}es"),
        [.., before, b'y'] if !b"aeiou".contains(before) => format!("{}ies", &lower[..lower.len() - 1]),
        _ => format!("{lower}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_guessed_like_kubectl_does() {
        for (kind, plural) in [
            ("Widget", "widgets"),
            ("Policy", "policies"),
            ("Gateway", "gateways"),
            ("Ingress", "ingresses"),
            ("Box", "boxes"),
            ("Batch", "batches"),
        ] {
            assert_eq!(guess_plural(kind), plural);
        }
    }
}
