//! Where a bundle begins in a container, and what its members are called from there.

use std::borrow::Cow;

/// The folders that mark the root of a bundle: those of must-gathers, and our own.
const MARKERS: [&str; 3] = ["namespaces", "cluster-scoped-resources", "mcpgw"];

/// The folder that the bundle stands in: empty, or with a slash at its end.
///
/// A must-gather of several images has a root for each. The first one that is met is taken; what
/// does not stand below it keeps its whole path, and is read all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Root(String);

impl Root {
    /// The root that this member tells by standing in one of the marker folders.
    pub(super) fn marked(path: &str) -> Option<Self> {
        let mut at = 0;
        while let Some(length) = path[at..].find('/') {
            if MARKERS.contains(&&path[at..at + length]) {
                return Some(Self(path[..at].to_owned()));
            }
            at += length + 1;
        }
        None
    }

    /// The root of loose files: the innermost folder that holds all of them.
    pub(super) fn common<'a>(paths: impl Iterator<Item = &'a str>) -> Self {
        let mut common: Option<&str> = None;
        for path in paths {
            let folder = &path[..path.rfind('/').map_or(0, |at| at + 1)];
            common = Some(match common {
                None => folder,
                Some(so_far) => {
                    let same = so_far.bytes().zip(folder.bytes()).take_while(|(a, b)| a == b).count();
                    // Both agree up to here byte by byte, so it ends a character in both.
                    &so_far
                        [..so_far.as_bytes()[..same].iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1)]
                }
            });
        }
        Self(common.unwrap_or_default().to_owned())
    }

    /// The root of these files.
    pub(super) fn of<'a>(paths: impl Iterator<Item = &'a str> + Clone) -> Self {
        paths.clone().find_map(Self::marked).unwrap_or_else(|| Self::common(paths))
    }

    /// The path below the root.
    pub(super) fn strip<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix(&self.0).filter(|rest| !rest.is_empty()).unwrap_or(path)
    }
}

/// The name of a member as a path with `/` between its parts. Bytes that are no UTF-8 become
/// `%XX`. `None` when it leads out of the container.
pub(super) fn clean(name: &[u8]) -> Option<String> {
    let name: Cow<'_, str> = match std::str::from_utf8(name) {
        Ok(name) => name.into(),
        Err(_) => name
            .utf8_chunks()
            .flat_map(|chunk| {
                let escaped = chunk.invalid().iter().map(|byte| format!("%{byte:02X}"));
                std::iter::once(chunk.valid().to_owned()).chain(escaped)
            })
            .collect(),
    };
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_root_as_readers_of_must_gathers_do() {
        for (paths, root) in [
            (&["namespaces/a/a.yaml"][..], ""),
            (&["x/version", "x/cluster-scoped-resources/core/nodes/n.yaml"], "x/"),
            (&["mg/must-gather.logs", "mg/quay-io-image/namespaces/a/core/pods.yaml"], "mg/quay-io-image/"),
            (&["a/one/namespaces/x/x.yaml", "a/two/namespaces/x/x.yaml"], "a/one/"),
            (&["x/cluster-scoped-resources/core/namespaces/a.yaml"], "x/"),
            (&["dump/pods.yaml", "dump/more/routes.yaml"], "dump/"),
            (&["dump/ab/pods.yaml", "dump/ac/routes.yaml"], "dump/"),
            (&["pods.yaml"], ""),
            (&["namespaces"], ""),
            (&["dä/x", "dö/x"], ""),
            (&[], ""),
        ] {
            assert_eq!(Root::of(paths.iter().copied()).0, root, "{paths:?}");
        }
    }

    #[test]
    fn names_are_cleaned_and_never_lead_out() {
        for (name, path) in [
            (&b"./a//b/./c"[..], Some("a/b/c")),
            (b"/etc/passwd", Some("etc/passwd")),
            (b"../a", None),
            (b"a/../../b", None),
            (b"", None),
            (b"./", None),
            (b"a\xffb/\xc3\xa4", Some("a%FFb/\u{e4}")),
        ] {
            assert_eq!(clean(name).as_deref(), path);
        }
    }
}
