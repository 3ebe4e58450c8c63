//! What a request asks for: its path, its query and the form that it accepts.

use percent_encoding::percent_decode_str;

use super::status::Status;

/// A path of the API, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    /// `/`
    Root,
    /// `/healthz`, `/readyz`, `/livez` and their parts
    Health,
    /// `/version`
    Version,
    /// `/openapi/v2`
    OpenApiV2,
    /// `/openapi/v3`
    OpenApiV3,
    /// `/openapi/v3/apis/<group>/<version>`
    Schemas { group: String, version: String },
    /// `/api` (core) and `/apis`
    Discovery {
        /// Whether it is `/api`.
        core: bool,
    },
    /// `/apis/<group>`
    Group(String),
    /// `/api/v1`, `/apis/<group>/<version>`
    Resources { group: String, version: String },
    /// A list, an object or a subresource
    Resource {
        group: String,
        version: String,
        namespace: Option<String>,
        plural: String,
        name: Option<String>,
        /// The subresource, with what follows it.
        sub: Option<String>,
    },
}

impl Path {
    /// Takes a path apart.
    pub(crate) fn parse(path: &str) -> Result<Self, Status> {
        let parts: Result<Vec<String>, _> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| percent_decode_str(part).decode_utf8().map(std::borrow::Cow::into_owned))
            .collect();
        let parts = parts.map_err(|_| Status::bad_request("the path is not UTF-8"))?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [] => Ok(Self::Root),
            ["healthz" | "readyz" | "livez", ..] => Ok(Self::Health),
            ["version"] => Ok(Self::Version),
            ["openapi", "v2"] => Ok(Self::OpenApiV2),
            ["openapi", "v3"] => Ok(Self::OpenApiV3),
            ["openapi", "v3", "apis", group, version] => {
                Ok(Self::Schemas { group: (*group).to_owned(), version: (*version).to_owned() })
            }
            ["api"] => Ok(Self::Discovery { core: true }),
            ["apis"] => Ok(Self::Discovery { core: false }),
            ["apis", group] => Ok(Self::Group((*group).to_owned())),
            ["api", version] => Ok(Self::Resources { group: String::new(), version: (*version).to_owned() }),
            ["apis", group, version] => {
                Ok(Self::Resources { group: (*group).to_owned(), version: (*version).to_owned() })
            }
            ["api", version, rest @ ..] => Self::resource("", version, rest),
            ["apis", group, version, rest @ ..] => Self::resource(group, version, rest),
            _ => Err(Status::no_such_path()),
        }
    }

    fn resource(group: &str, version: &str, rest: &[&str]) -> Result<Self, Status> {
        let (namespace, rest) = match rest {
            // A Namespace itself, its status, or something in it.
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] if group.is_empty() => (None, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            _ => (None, rest),
        };
        let (plural, name, sub) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some((*name).to_owned()), None),
            [plural, name, sub, ..] => (*plural, Some((*name).to_owned()), Some((*sub).to_owned())),
            [] => return Err(Status::no_such_path()),
        };
        Ok(Self::Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace,
            plural: plural.to_owned(),
            name,
            sub,
        })
    }
}

/// The parameters of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query string apart.
    pub(crate) fn parse(query: &str) -> Self {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        });
        Self(pairs.collect())
    }

    /// The value of a parameter; an empty one counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter that can be repeated.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A boolean parameter, as API servers read it: present and not `false` or `0`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.0.iter().find(|(k, _)| k == key).is_some_and(|(_, v)| v != "false" && v != "0")
    }

    /// A number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.get(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Status::bad_request(format!("{key}={text}: not a whole number")))
    }
}

/// The form in which a client wants objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Plain,
    /// A `Table` of this version of `meta.k8s.io`.
    Table(&'static str),
    /// `PartialObjectMetadata` of this version of `meta.k8s.io`.
    Metadata(&'static str),
}

impl Form {
    /// The first accepted form that we have.
    pub(crate) fn of(accept: &str) -> Result<Self, Status> {
        if accept.trim().is_empty() {
            return Ok(Self::Plain);
        }
        accept.split(',').find_map(Self::of_range).ok_or_else(Status::not_acceptable)
    }

    fn of_range(range: &str) -> Option<Self> {
        let mut parts = range.split(';').map(str::trim);
        if !["application/json", "application/*", "*/*"].contains(&parts.next()?) {
            return None;
        }
        let (mut form, mut group, mut version) = (None, None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("as", value)) => form = Some(value),
                Some(("g", value)) => group = Some(value),
                Some(("v", value)) => version = Some(value),
                Some(("stream", _)) => return None,
                _ => {}
            }
        }
        let version = match version {
            Some("v1") | None => "v1",
            Some("v1beta1") => "v1beta1",
            Some(_) => return None,
        };
        match (form, group) {
            (None, _) => Some(Self::Plain),
            (Some("Table"), Some("meta.k8s.io")) => Some(Self::Table(version)),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("meta.k8s.io")) => {
                Some(Self::Metadata(version))
            }
            _ => None,
        }
    }
}

/// The version of aggregated discovery that a client prefers to the legacy form, if any.
pub(crate) fn aggregated(accept: &str) -> Option<&'static str> {
    for range in accept.split(',') {
        let parts: Vec<&str> = range.split(';').map(str::trim).collect();
        if !["application/json", "*/*"].contains(&parts[0]) {
            continue;
        }
        if !parts.contains(&"as=APIGroupDiscoveryList") || !parts.contains(&"g=apidiscovery.k8s.io") {
            return None;
        }
        if parts.contains(&"v=v2") {
            return Some("v2");
        }
        if parts.contains(&"v=v2beta1") {
            return Some("v2beta1");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let resource = |text: &str| match Path::parse(text).expect(text) {
            Path::Resource { group, version, namespace, plural, name, sub } => {
                let or = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
                format!("{group} {version} {} {plural} {} {}", or(namespace), or(name), or(sub))
            }
            other => format!("{other:?}"),
        };
        for (path, expected) in [
            ("/api/v1/pods", " v1 - pods - -"),
            ("/api/v1/namespaces", " v1 - namespaces - -"),
            ("/api/v1/namespaces/a", " v1 - namespaces a -"),
            ("/api/v1/namespaces/a/status", " v1 - namespaces a status"),
            ("/api/v1/namespaces/a/pods", " v1 a pods - -"),
            ("/api/v1/namespaces/a/pods/p/log", " v1 a pods p log"),
            ("/api/v1/namespaces/a/pods/p:8/proxy/x/y", " v1 a pods p:8 proxy"),
            ("/apis/apps/v1/namespaces/a/deployments/d", "apps v1 a deployments d -"),
            ("/apis/x.io/v1/things/a%3Ab", "x.io v1 - things a:b -"),
            ("/apis/x.io/v1", "Resources { group: \"x.io\", version: \"v1\" }"),
            ("/", "Root"),
        ] {
            assert_eq!(resource(path), expected, "{path}");
        }
        assert!(Path::parse("/nonsense").is_err());
    }

    #[test]
    fn forms() {
        for (accept, expected) in [
            ("", Ok(Form::Plain)),
            ("*/*", Ok(Form::Plain)),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Ok(Form::Table("v1"))),
            ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Ok(Form::Plain)),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Ok(Form::Metadata("v1"))),
            ("application/vnd.kubernetes.protobuf, application/json", Ok(Form::Plain)),
            ("application/vnd.kubernetes.protobuf", Err(())),
        ] {
            assert_eq!(Form::of(accept).map_err(|_| ()), expected, "{accept}");
        }
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(aggregated(accept), Some("v2"));
        assert_eq!(aggregated("application/json"), None);
    }
}
