//! The catalogue of message templates: what programs of the platform say, and what is kept of it.
//!
//! A template has a literal that every line of it contains; one automaton finds the literals of all
//! templates in one pass, so that a line without any costs next to nothing. What a literal has found
//! is then compared in its place: at the start of the message, in the error attribute, at the start
//! of the line. The names are stable; rules look records up by them.
//!
//! | names | said by |
//! |---|---|
//! | `crash.*` | a program that ends: known panics of controller and broker, runtimes |
//! | `controller.*` | the MCP gateway's controller |
//! | `broker.*`, `router.*` | the MCP broker and router |
//! | `authorino.*` | Authorino |
//! | `kuadrant.*`, `wasm.*` | the Kuadrant operator; its filter inside Envoy |
//! | `istiod.*`, `proxy.*` | istiod; Envoy's own log |
//! | `access` | Envoy's access log ([`super::access`]) |
//! | `rbac.denied`, `log.debug`, `jwt.digest` | anybody |

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::errors::ErrorClass;
use super::format::{self, Parsed};
use super::{Fields, Reader, special};

/// Where in a line the literal must stand.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    /// The message starts with it.
    Message,
    /// The message contains it.
    InMessage,
    /// The error attribute contains it.
    Error,
    /// The line starts with it, after the time that kubectl and others put in front.
    Line,
    /// A function decides.
    Special(fn(&mut Reader, &[u8])),
}

/// What of an attribute is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    /// The text.
    Text,
    /// The class of the error in it.
    Class,
    /// `<ns>/<name>` of the broker's server id `<ns>/<name>:<prefix>:<host>`.
    Server,
}

#[derive(Debug)]
struct Field {
    name: &'static str,
    keys: &'static [&'static str],
    keep: As,
}

#[derive(Debug)]
pub(super) struct Template {
    name: &'static str,
    literal: &'static str,
    at: At,
    fields: &'static [Field],
}

const fn text(name: &'static str, keys: &'static [&'static str]) -> Field {
    Field { name, keys, keep: As::Text }
}

const ERROR: Field = Field { name: "class", keys: &["error", "err", "cause", "message"], keep: As::Class };
const SERVER: Field = Field {
    name: "server",
    keys: &["upstream mcp server", "server", "serverName", "mcpServerName", "server name"],
    keep: As::Server,
};
const NAMESPACE: Field = text("namespace", &["namespace", "Namespace"]);
const NAME: Field = text("name", &["name", "Name"]);
const UPSTREAM: &[Field] = &[SERVER, ERROR];
const OBJECT: &[Field] = &[NAMESPACE, NAME];
const OBJECT_ERROR: &[Field] = &[text("controller", &["controller"]), NAMESPACE, NAME, ERROR];

const fn template(name: &'static str, at: At, literal: &'static str, fields: &'static [Field]) -> Template {
    Template { name, literal, at, fields }
}

/// The catalogue. For one place of a line the more specific literal stands first: the first
/// template of a line wins, and `crash.panic` is the last of its kind.
static TEMPLATES: &[Template] = &[
    // Ends of programs.
    template("crash.envoyfilter-crd", At::Line, "panic: unable to start manager", &[]),
    template("crash.broker-log-level", At::Line, "panic: invalid BROKER_ROUTER_LOG_LEVEL", &[]),
    template("crash.public-host", At::Line, "panic: --mcp-gateway-public-host cannot be empty", &[]),
    template("crash.redis-url", At::Line, "panic: failed to parse redis connection string", &[]),
    template("crash.redis", At::Line, "panic: failed to connect to redis", &[]),
    template("crash.session-cache", At::Line, "panic: failed to setup session cache", &[]),
    template("crash.signing-key", At::Line, "panic: GATEWAY_SIGNING_KEY", &[]),
    template("crash.signing-key", At::Line, "panic: JWT_SESSION_SIGNING_KEY is required", &[]),
    template("crash.signing-key-short", At::Line, "panic: failed to setup jwt manager", &[]),
    template("crash.ca-bundle", At::Line, "panic: failed to build hairpin HTTP client pool", &[]),
    template("crash.config", At::Line, "panic: failed to load initial config", &[]),
    template("crash.config", At::Message, "Error reading config file", &[]),
    template("crash.config", At::Message, "Unable to decode server config", &[]),
    template("crash.flag", At::Line, "flag provided but not defined: ", &[]),
    template("crash.inotify", At::Special(special::inotify), "inotify", &[]),
    template("crash.inotify", At::Special(special::inotify), "too many open files", &[]),
    template("crash.panic", At::Line, "panic: ", &[]),
    template("crash.fatal", At::Line, "fatal error: ", &[]),
    template("crash.python", At::Line, "Traceback (most recent call last):", &[]),
    template("crash.node", At::Line, "Error: Cannot find module", &[]),
    template("crash.java", At::Line, "Exception in thread \"main\"", &[]),
    template("crash.exec", At::Line, "exec /", &[]),
    // The controller.
    template("controller.start", At::Message, "Controller starting", &[]),
    template("controller.extension", At::Message, "reconciling mcpgatewayextension", OBJECT),
    template("controller.registration", At::Message, "main reconcile logic starting for", OBJECT),
    template("controller.route-found", At::Message, "target route found", OBJECT),
    template("controller.gateways-found", At::Message, "valid gateways discovered", OBJECT),
    template("controller.no-gateways", At::Message, "failed to find any valid gateways", OBJECT),
    template("controller.no-extension", At::Message, "failed to find valid mcpgatewayextension", OBJECT),
    template("controller.no-parent", At::Message, "failed to find parent for httproute", OBJECT),
    template(
        "controller.no-grant",
        At::Message,
        "no valid ReferenceGrant for cross-namespace reference",
        OBJECT,
    ),
    template("controller.envoyfilter-error", At::Error, "envoy filter", OBJECT_ERROR),
    template("controller.envoyfilter-error", At::Error, "EnvoyFilter", OBJECT_ERROR),
    template("controller.envoyfilter-error", At::Message, "failed to create envoy filter", OBJECT_ERROR),
    template("controller.envoyfilter-error", At::Message, "failed to update envoy filter", OBJECT_ERROR),
    template("controller.envoyfilter-create", At::Message, "creating envoy filter", OBJECT),
    template("controller.envoyfilter-update", At::Message, "updating envoy filter", OBJECT),
    template("controller.envoyfilter-delete", At::Message, "deleting envoy filter", OBJECT),
    template("controller.deployment-write", At::Message, "updating broker-router deployment", OBJECT),
    template("controller.deployment-write", At::Message, "creating broker-router deployment", OBJECT),
    template("controller.signing-key-new", At::Message, "regenerating corrupted session signing key", OBJECT),
    template("controller.trusted-key-new", At::Message, "creating trusted headers key pair", OBJECT),
    template("controller.listener-status", At::Message, "failed to update gateway listener status", OBJECT),
    template("controller.config-empty", At::Message, "SecretReaderWriter WriteEmptyConfig", OBJECT),
    template("controller.config-write", At::Message, "SecretReaderWriter UpsertMCPServer", &[SERVER]),
    template(
        "controller.config-remove-failed",
        At::Message,
        "failed to remove server from config secret",
        OBJECT,
    ),
    template("controller.prefix", At::Message, "failed to generate prefix", OBJECT_ERROR),
    template("controller.prefix", At::Error, "conflict: prefix", OBJECT_ERROR),
    template("controller.reconcile-error", At::Message, "Reconciler error", OBJECT_ERROR),
    // The broker.
    template("broker.config-changed", At::Message, "config file changed", &[]),
    template("broker.config-changed", At::Message, "OnConfigChange mcp servers config changed", &[]),
    template("broker.config-reload-failed", At::Message, "failed to reload config", &[ERROR]),
    template("broker.start", At::Message, "[http] starting MCP Broker", &[]),
    template("broker.redis", At::Message, "cache using external redis store", &[]),
    template("broker.manager-start", At::Message, "Starting manager for", &[SERVER]),
    template("broker.manager-failed", At::Message, "failed to create manager", UPSTREAM),
    template("broker.upstream-failed", At::Message, "upstream connection failure", UPSTREAM),
    template("broker.upstream-failed", At::Message, "ping failed", UPSTREAM),
    template("broker.upstream-removed", At::Message, "failure threshold reached", UPSTREAM),
    template("broker.connection-lost", At::Message, "connection lost", UPSTREAM),
    template("broker.list-failed", At::Message, "failed to list tools", UPSTREAM),
    template("broker.prompts-failed", At::Message, "failed to list prompts", UPSTREAM),
    template("broker.resources-failed", At::Message, "failed to fetch resources", UPSTREAM),
    template(
        "broker.invalid-prefix",
        At::Message,
        "skipping resources/list for server with invalid prefix",
        &[SERVER],
    ),
    template("broker.invalid-tools", At::Message, "invalid tools detected", &[SERVER]),
    template("broker.invalid-tool", At::Message, "invalid tool", &[SERVER, text("tool", &["tool"])]),
    template("broker.tool-conflict", At::Message, "tool conflict detected", &[SERVER]),
    template("broker.tool-conflict", At::Message, "prompt conflict detected", &[SERVER]),
    template(
        "broker.trusted-header",
        At::Message,
        "failed to parse x-mcp-authorized header",
        &[text("error", &["error", "err"])],
    ),
    template(
        "broker.trusted-header",
        At::Message,
        "failed to parse x-authorized-tools header",
        &[text("error", &["error", "err"])],
    ),
    template("broker.unknown-server", At::Message, "upstream not found", &[SERVER]),
    template(
        "broker.virtual-server",
        At::Message,
        "failed to get virtual server",
        &[text("error", &["error", "err"])],
    ),
    template("broker.resurrection-failed", At::Message, "session resurrection failed", &[ERROR]),
    // The router.
    template(
        "router.session-invalid",
        At::Message,
        "session validation failed",
        &[text("error", &["error", "err"])],
    ),
    template("router.session-cache", At::Message, "failed to get session from cache", &[ERROR]),
    template("router.hairpin-rejected", At::Message, "rejecting initialize hairpin", &[]),
    template("router.hairpin-failed", At::Message, "failed to get remote session", UPSTREAM),
    template("router.body-too-large", At::Message, "request body too large", &[]),
    template("router.no-sub", At::Message, "authorization JWT missing sub claim", &[]),
    template("router.authority-mismatch", At::Message, "authority mismatch", &[]),
    template("router.tool-call", At::Message, "tool call", &[SERVER, text("status", &["status"])]),
    template("router.backend-session-lost", At::Message, "received 404 from backend MCP", &[SERVER]),
    // Authorino.
    template(
        "authorino.request",
        At::Special(special::authorino_request),
        "incoming authorization request",
        &[],
    ),
    template(
        "authorino.response",
        At::Special(special::authorino_response),
        "outgoing authorization response",
        &[],
    ),
    template(
        "authorino.discovery-failed",
        At::Message,
        "failed to discovery openid connect configuration",
        &[
            text("issuer", &["issuerUrl", "issuer url", "endpoint", "issuer"]),
            ERROR,
            text("error", &["error", "err"]),
        ],
    ),
    template("authorino.jwks-failed", At::Message, "failed to decode", &[ERROR]),
    template(
        "authorino.host-taken",
        At::Message,
        "host already taken",
        &[text("host", &["host", "hosts"]), text("authconfig", &["authconfig"])],
    ),
    template(
        "authorino.cel",
        At::Message,
        "failed to evaluate CEL expression",
        &[text("error", &["error", "err"])],
    ),
    template(
        "authorino.cel",
        At::Message,
        "failed to parse CEL expression",
        &[text("error", &["error", "err"])],
    ),
    template("authorino.introspection", At::Message, "token introspection request failed", &[ERROR]),
    template(
        "authorino.translate",
        At::Error,
        "failed to translate",
        &[text("authconfig", &["authconfig"]), text("error", &["error", "err"])],
    ),
    template("authorino.debug-dump", At::Message, "evaluating for input", &[]),
    template("authorino.debug-dump", At::Message, "identity validated", &[]),
    template("authorino.debug-dump", At::Message, "fetched auth metadata", &[]),
    // The Kuadrant operator and its filter.
    template("kuadrant.envoyfilter-error", At::Message, "failed to create envoyfilter object", &[ERROR]),
    template("kuadrant.envoyfilter-error", At::Message, "failed to update envoyfilter object", &[ERROR]),
    template(
        "kuadrant.missing-dependency",
        At::Error,
        "is not installed, please restart",
        &[text("error", &["error", "err"])],
    ),
    template("wasm.dispatch-failed", At::InMessage, "Failed to dispatch dynamic service", &[]),
    template("wasm.grpc-failed", At::InMessage, "Failed to get gRPC response", &[]),
    template("wasm.grpc-status", At::InMessage, "gRPC status code is not OK", &[]),
    template("wasm.predicate", At::InMessage, "Failed to apply predicates", &[]),
    template("wasm.action", At::InMessage, "Action failure", &[]),
    template("wasm.fetch-failed", At::Special(special::wasm_fetch), "wasm", &[]),
    // Istio.
    template("istiod.nack", At::Special(special::istiod_nack), "ACK ERROR", &[]),
    template("proxy.rejected", At::Special(special::proxy_rejected), " rejected: ", &[]),
    template("proxy.xds-lost", At::Special(special::xds_lost), "gRPC config stream", &[]),
    template("proxy.xds-connected", At::Message, "connected to upstream XDS server", &[]),
    template("proxy.xds-connected", At::Message, "connected to delta upstream XDS server", &[]),
    // Anybody.
    template("rbac.denied", At::Special(special::rbac_denied), " cannot ", &[]),
    template("log.debug", At::Special(special::debug_line), "level=DEBUG", &[]),
    template("log.debug", At::Special(special::debug_line), "\"level\":\"debug\"", &[]),
    template("log.debug", At::Special(special::debug_line), "\"level\":\"DEBUG\"", &[]),
    template("jwt.digest", At::Special(special::jwt_digest), "<redacted:jwt ", &[]),
    template("jwt.digest", At::Special(special::jwt_digest), "eyJ", &[]),
];

/// How much of a line is searched for literals. What a template needs stands well before.
const SEARCH_LIMIT: usize = 16 * 1024;
/// How many literals of one line are looked at.
const HIT_LIMIT: usize = 16;

static AUTOMATON: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).build(TEMPLATES.iter().map(|t| t.literal)).ok()
});

/// Matches a line against the catalogue and counts what it says.
pub(super) fn read(reader: &mut Reader, line: &[u8]) {
    let Some(automaton) = AUTOMATON.as_ref() else { return };
    let searched = &line[..line.len().min(SEARCH_LIMIT)];
    let Some(first) = automaton.find(searched) else { return };
    let mut hits = [usize::MAX; HIT_LIMIT];
    let mut count = 0;
    // Matches that end before the first one's end cannot exist.
    for hit in automaton.find_overlapping_iter(searched).take(HIT_LIMIT) {
        let at = hit.pattern().as_usize();
        if !hits[..count].contains(&at) {
            hits[count] = at;
            count += 1;
        }
    }
    if count == 0 {
        hits[0] = first.pattern().as_usize();
        count = 1;
    }
    let hits = &mut hits[..count];
    hits.sort_unstable();
    let mut parsed: Option<Option<Parsed<'_>>> = None;
    let mut named = false;
    for &at in hits.iter() {
        let template = &TEMPLATES[at];
        if let At::Special(read) = template.at {
            read(reader, line);
            continue;
        }
        if named {
            continue;
        }
        if matches!(template.at, At::Line) {
            let Ok(text) = std::str::from_utf8(line) else { continue };
            let (time, rest) = format::split_time(text);
            if rest.starts_with(template.literal) {
                let (name, fields) = special::crash(template.name, rest);
                reader.add(name, &fields, line, time);
                named = true;
            }
            continue;
        }
        let Some(parsed) = parsed.get_or_insert_with(|| format::parse(line)).as_ref() else { continue };
        let holds = match template.at {
            At::Message => parsed.message.trim_start().starts_with(template.literal),
            At::InMessage => parsed.message.contains(template.literal),
            At::Error => parsed.error().is_some_and(|e| e.contains(template.literal)),
            At::Line | At::Special(_) => false,
        };
        if holds {
            let fields = fields(parsed, template.fields);
            reader.add(template.name, &fields, line, parsed.time.as_deref());
            named = true;
        }
    }
}

fn fields<'p>(parsed: &'p Parsed<'_>, wanted: &'static [Field]) -> Fields<'p> {
    wanted
        .iter()
        .filter_map(|field| {
            let value = field.keys.iter().find_map(|key| parsed.attribute(key))?;
            let value = match field.keep {
                As::Text => value,
                As::Class => Cow::Borrowed(ErrorClass::of(&value).as_str()),
                As::Server => Cow::Owned(value.split(':').next().unwrap_or_default().to_owned()),
            };
            Some((field.name, value))
        })
        .collect()
}
