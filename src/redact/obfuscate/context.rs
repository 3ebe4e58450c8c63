//! Where an ordinary word is a name: behind a word that says so, in a path, in a host name of the cluster,
//! beside an object that is known to stand there.

use super::What;
use super::learn::Pairs;
use super::tokens::begins;

/// How far is looked back for the word that announces a list.
const LIST: usize = 2048;

/// Whether the word at `start..end`, which is called like a name of this kind, is that name here.
pub(super) fn is_name(text: &[u8], start: usize, end: usize, kind: What, name: &str, pairs: &Pairs) -> bool {
    let before = start.checked_sub(1).map(|at| text[at]);
    let after = text.get(end).copied();
    let joins = |byte: Option<u8>| byte == Some(b'-');
    if !begins(text, start) || joins(before) || joins(after) || &text[start..end] != name.as_bytes() {
        return false;
    }
    if after.is_some_and(|b| b.is_ascii_alphanumeric()) {
        return false;
    }
    match kind {
        What::Namespace => is_namespace(text, start, end, name, pairs),
        // `worker-1` is no word; `minikube` is told by what stands around it.
        What::Node => {
            (name.contains('-') && before != Some(b'_') && after != Some(b'_')) || is_node(text, start)
        }
        What::Cluster => announced(text, start, &|word| {
            word == "cluster"
                || ["clustername", "cluster_name", "cluster_id", "clusterid", "infrastructurename"]
                    .iter()
                    .any(|w| word.ends_with(w))
        }),
        What::Ip | What::Host | What::Email => false,
    }
}

fn is_node(text: &[u8], start: usize) -> bool {
    let head = &text[..start];
    (["nodes/", "node/"].iter().any(|path| head.ends_with(path.as_bytes())))
        || (head.ends_with(b" to ")
            && memchr::memmem::find(&head[head.len().saturating_sub(200)..], b"assigned ").is_some())
        || announced(text, start, &|word| {
            ["nodename", "node_name", "kubernetes.io/hostname"].iter().any(|w| word.ends_with(w))
                || matches!(word, "node" | "nodes" | "kubelet" | "hostname")
        })
}

fn is_namespace(text: &[u8], start: usize, end: usize, name: &str, pairs: &Pairs) -> bool {
    let (head, tail) = (&text[..start], &text[end..]);
    let word_ends = |rest: &[u8]| !rest.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-');
    // Names that the cluster gives to Services and pods.
    for suffix in [&b".svc"[..], b".pod.cluster", b".pod.svc"] {
        if let Some(rest) = tail.strip_prefix(suffix)
            && word_ends(rest)
        {
            return true;
        }
    }
    // Paths of the API, of bundles, of identities.
    const BEFORE: &[&str] = &[
        "namespaces/",
        "namespace/",
        "/ns/",
        "system:serviceaccount:",
        "system:serviceaccounts:",
        "mcpgw/envoy/",
        "mcpgw/broker/",
        "mcpgw/config-secret/",
        "projects/",
        "namespaces%2F",
        "namespaces\\/",
        "namespaces&#x2f;",
    ];
    if BEFORE.iter().any(|word| head.ends_with(word.as_bytes())) {
        return true;
    }
    if head.ends_with(b"pods/") && tail.first() == Some(&b'_') {
        return true;
    }
    // `namespaces/name/name.yaml`, as bundles have it.
    let folder = head.strip_suffix(b"/").and_then(|head| head.strip_suffix(name.as_bytes()));
    if folder.is_some_and(|folder| folder.ends_with(b"namespaces/")) && tail.starts_with(b".yaml") {
        return true;
    }
    // `namespace/name`, `name.namespace`, `namespace.name`, where there is such an object.
    if let Some(after) = slash(tail) {
        let rest = name_at(after);
        if known(rest, name, pairs) {
            return true;
        }
        let alone = head.last().is_none_or(|b| b" \"'([{=,:|\n\t`>".contains(b)) || !begins_word(head);
        if name.contains('-') && alone && (!rest.is_empty() || after.first() == Some(&b'*')) {
            return true;
        }
    }
    if tail.first() == Some(&b'.') && known(name_at(&tail[1..]), name, pairs) {
        return true;
    }
    if head.last() == Some(&b'.') {
        let label = head[..head.len() - 1]
            .iter()
            .rev()
            .take(253)
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
            .count();
        let before = std::str::from_utf8(&head[head.len() - 1 - label..head.len() - 1]).unwrap_or_default();
        let last = before.rsplit('.').next().unwrap_or_default();
        let goes_on = tail.first() == Some(&b'.') && tail.get(1).is_some_and(u8::is_ascii_alphanumeric);
        if !goes_on && (pairs.has(name, before) || pairs.has(name, last)) {
            return true;
        }
    }
    announced(text, start, &|word| {
        word.ends_with("namespace")
            || word.ends_with("namespaces")
            || word.ends_with("kubernetes.io/metadata.name")
            || matches!(word, "ns" | "-n" | "project" | "exportto")
    })
}

/// What stands behind a slash, however it is written: in JSON, URLs and pages it may be escaped.
fn slash(text: &[u8]) -> Option<&[u8]> {
    [&b"/"[..], b"\\/", b"%2F", b"%2f", b"&#x2f;", b"&#47;"].iter().find_map(|form| text.strip_prefix(*form))
}

/// Whether a word goes over the end of this text.
fn begins_word(head: &[u8]) -> bool {
    head.last().is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_'))
}

/// The name of an object that a text begins with.
fn name_at(text: &[u8]) -> &str {
    let len = text
        .iter()
        .take(253)
        .take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        .count();
    std::str::from_utf8(&text[..len]).unwrap_or_default()
}

/// Whether this, or a beginning of it that ends at a `-` or `.`, is an object in the namespace: generated names
/// begin with the name of what they were made for.
fn known(name: &str, namespace: &str, pairs: &Pairs) -> bool {
    let mut name = name;
    loop {
        if name.is_empty() {
            return false;
        }
        if pairs.has(namespace, name) {
            return true;
        }
        name = name.rfind(['-', '.']).map_or("", |at| &name[..at]);
    }
}

/// Whether the word before a value, or before the list that it stands in, says what it is.
fn announced(text: &[u8], start: usize, says: &dyn Fn(&str) -> bool) -> bool {
    let mut at = skip_marks(text, start);
    if at > 0 && text[at - 1] == b',' {
        // A list: back to its beginning.
        let low = at.saturating_sub(LIST);
        let is_item = |b: &u8| b.is_ascii_alphanumeric() || b"-.,\"' \\*".contains(b);
        let run = text[low..at].iter().rev().take_while(|b| is_item(b)).count();
        at -= run;
        if at > 0 && text[at - 1] == b'[' {
            at = skip_marks(text, at);
        } else {
            // `WATCH=a,b`: the first item follows the word directly.
            let flag = text[low..at + run]
                .iter()
                .rev()
                .take_while(|b| !b.is_ascii_whitespace() && **b != b'=')
                .count();
            at = at + run - flag;
            at = skip_marks(text, at);
        }
    } else if at > 0 && text[at - 1] == b'-' && is_bullet(text, at - 1) {
        let Some(key) = key_of_list(text, at - 1) else { return false };
        at = key;
    }
    if at == start {
        return false;
    }
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/');
    let run = text[..at].iter().rev().take(96).take_while(|b| is_word(b)).count();
    let word = String::from_utf8_lossy(&text[at - run..at]).to_ascii_lowercase();
    says(&word) || (word.ends_with("-n") && says("-n") && word.trim_start_matches('-') == "n")
}

/// Skips quotes, joins and brackets before a value.
fn skip_marks(text: &[u8], start: usize) -> usize {
    let mut at = start;
    for _ in 0..16 {
        let Some(last) = at.checked_sub(1) else { break };
        if b" \"'`\\:=([{\t".contains(&text[last]) {
            at = last;
        } else if at >= 3
            && text[at - 3] == b'%'
            && matches!(&text[at - 2..at], b"3D" | b"3d" | b"3A" | b"3a" | b"22" | b"20")
        {
            at -= 3;
        } else {
            break;
        }
    }
    at
}

/// Whether this hyphen begins an item of a YAML list.
fn is_bullet(text: &[u8], hyphen: usize) -> bool {
    let line = memchr::memrchr(b'\n', &text[..hyphen]).map_or(0, |n| n + 1);
    text[line..hyphen].iter().all(|b| *b == b' ') && text.get(hyphen + 1) == Some(&b' ')
}

/// The end of the key of the YAML list that an item's hyphen stands in.
fn key_of_list(text: &[u8], hyphen: usize) -> Option<usize> {
    let mut line = memchr::memrchr(b'\n', &text[..hyphen]).map_or(0, |n| n + 1);
    for _ in 0..64 {
        let end = line.checked_sub(1)?;
        line = memchr::memrchr(b'\n', &text[..end]).map_or(0, |n| n + 1);
        let content = text[line..end].trim_ascii();
        if content.starts_with(b"- ") && !content.ends_with(b":") {
            continue;
        }
        return content.ends_with(b":").then(|| skip_marks(text, end));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, kind: What, name: &str) -> usize {
        let mut names = super::super::Names::new([kind].into());
        names.object(&serde_json::json!({"namespace": "test", "name": "orders"}));
        names.object(&serde_json::json!({"namespace": "mcp-test", "name": "weather"}));
        memchr::memmem::find_iter(text.as_bytes(), name.as_bytes())
            .filter(|at| is_name(text.as_bytes(), *at, at + name.len(), kind, name, &names.pairs))
            .count()
    }

    #[test]
    fn a_word_is_a_namespace_where_one_stands() {
        for text in [
            "namespace: test",
            r#""namespace":"test""#,
            r#"\"namespace\":\"test\""#,
            r#"namespaces "test" not found"#,
            "in namespace test: no",
            "exported_namespace=\"test\"",
            "kubectl get pods -n test",
            "--namespace=test",
            "/api/v1/namespaces/test/pods",
            "fieldSelector=metadata.namespace%3Dtest",
            "spiffe://cluster.local/ns/test/sa/x",
            "system:serviceaccount:test:x",
            "outbound|8080||orders.test.svc.cluster.local",
            "~test.svc.cluster.local",
            "http://orders.test:8080/mcp",
            "default/test/x test/orders",
            "test/orders-7d9f-xyz",
            "wasmplugin/test.orders",
            "/var/log/pods/test_orders_uid/",
            "mcpgw/envoy/test/orders",
            "namespaces:\n  - a\n  - test\n",
            r#""targetNamespaces":["a","test"]"#,
            "WATCH_NAMESPACE=a,test",
            "kubernetes.io/metadata.name: test",
            "<b>test&#x2f;orders</b>",
            "name=test%2Forders",
        ] {
            assert_eq!(found(text, What::Namespace, "test"), 1, "{text}");
        }
        for text in [
            "this is a test of it",
            "name: test",
            "app: test",
            "test/e2e/run.go",
            "test-server",
            "a.test.com",
            "latest testing",
            "\"test\": 1",
            "steps:\n  - test\n",
            "image: quay.io/test/image",
        ] {
            assert_eq!(found(text, What::Namespace, "test"), 0, "{text}");
        }
    }

    #[test]
    fn names_with_hyphens_need_less() {
        assert_eq!(found("reconcile mcp-test/anything", What::Namespace, "mcp-test"), 1);
        assert_eq!(found("hosts: [mcp-test/*]", What::Namespace, "mcp-test"), 1);
        assert_eq!(found("quay.io/mcp-test/image mcp-test", What::Namespace, "mcp-test"), 0);
    }

    #[test]
    fn nodes_and_clusters() {
        assert_eq!(found("assigned a/b to minikube", What::Node, "minikube"), 1);
        assert_eq!(found("nodeName: minikube, node \"minikube\"", What::Node, "minikube"), 2);
        assert_eq!(found("started minikube", What::Node, "minikube"), 0);
        assert_eq!(found("x worker-1: worker-10 worker-1a", What::Node, "worker-1"), 1);
        assert_eq!(found("cluster_id=\"prod\" prod, cluster prod", What::Cluster, "prod"), 2);
        let path = "namespaces/mcp-test/mcp-test.yaml";
        assert_eq!(found(path, What::Namespace, "mcp-test"), 2);
    }
}
