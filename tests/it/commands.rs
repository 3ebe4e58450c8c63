//! A small interpreter for the commands that remedies print: `oc patch`, `label`, `annotate`, `apply`,
//! `create`, `replace`, `delete`, `set`, `scale`, `expose`, `rollout`, with here-documents, pipes and `${NAME}`.
//!
//! It changes the objects of a fixture as the API server would. What only looks (`get`, `describe`, `logs`, …)
//! changes nothing; what it does not know is an error, so that no remedy is taken for tested that is not.

use std::collections::BTreeMap;

use base64::Engine as _;
use oc_mcpgw::demo::Installation;
use oc_mcpgw::model::{Kind, kinds};
use serde_json::{Value, json};

use crate::fixture::field;
use crate::patches::{jq, json_patch, mark, merge};

/// What the commands of a remedy did.
#[derive(Debug, Default)]
pub struct Done {
    /// Kind, namespace and name of each object that was changed, made or deleted.
    pub touched: Vec<(String, String, String)>,
    /// The files that were written.
    files: BTreeMap<String, String>,
}

/// Runs one command line, as it stands in a report.
///
/// # Errors
/// What is wrong with the command, or that this interpreter does not know it.
pub fn run(installation: &mut Installation, done: &mut Done, command: &str) -> Result<(), String> {
    let (line, mut input) = match command.split_once("<<'EOF'\n") {
        Some((line, rest)) => {
            let text = rest.strip_suffix("EOF").ok_or("the here-document has no end")?;
            (line.to_owned(), Some(text.to_owned()))
        }
        None => (command.to_owned(), None),
    };
    for part in split(&line, "&&") {
        for stage in split(&part, "|") {
            let mut words = words(&stage)?;
            let mut to = None;
            if let Some(at) = words.iter().position(|w| w == ">") {
                to = Some(words.get(at + 1).ok_or("> without a file")?.clone());
                words.truncate(at);
            }
            // The quotes are taken off: the text stands in the same word.
            if let Some(at) = words.iter().position(|w| w.starts_with("<<<")) {
                input = Some(words[at].trim_start_matches("<<<").to_owned());
                words.truncate(at);
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if let (Some(text), true) = (&input, words.iter().any(|word| word.ends_with("=/dev/stdin"))) {
                done.files.insert("/dev/stdin".to_owned(), text.clone());
            }
            let output = match words.as_slice() {
                // The tool itself only looks.
                ["oc", "mcpgw", ..] => String::new(),
                ["oc", rest @ ..] => oc(installation, done, rest, input.take().as_deref())?,
                ["jq", filter] => jq(filter, &input.take().ok_or("jq reads nothing")?)?,
                ["base64", "-d"] => {
                    let bytes =
                        base64::engine::general_purpose::STANDARD.decode(input.take().unwrap_or_default());
                    String::from_utf8(bytes.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?
                }
                ["openssl", "pkey", "-pubout"] => rcgen::KeyPair::from_pem(&input.take().unwrap_or_default())
                    .map_err(|e| e.to_string())?
                    .public_key_pem(),
                ["printf", format, value] => format.replacen("%s", value, 1),
                ["grep" | "head" | "tail" | "sed", ..] => String::new(),
                ["curl" | "dig", ..] => String::new(),
                other => return Err(format!("unknown command {other:?}")),
            };
            match to {
                Some(file) => drop(done.files.insert(file, output)),
                None => input = Some(output),
            }
        }
        input = None;
    }
    Ok(())
}

/// Whether a command changes anything, or only looks.
pub fn changes(command: &str) -> bool {
    let verbs = [
        " patch ",
        " label ",
        " annotate ",
        " apply ",
        " create ",
        " replace ",
        " delete ",
        " set ",
        " scale ",
        " expose ",
        " rollout ",
        " secrets link ",
    ];
    command.starts_with("oc ")
        && verbs.iter().any(|verb| command.contains(verb))
        && !command.contains(" auth can-i ")
        || command.starts_with("printf ")
}

/// Splits at an operator outside quotes.
pub fn split(line: &str, operator: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    let mut at = 0;
    while let Some(letter) = line[at..].chars().next() {
        match quote {
            None if line[at..].starts_with(operator) => {
                parts.push(String::new());
                at += operator.len();
                continue;
            }
            None if letter == '\\' => {
                let length = 1 + line[at + 1..].chars().next().map_or(0, char::len_utf8);
                parts.last_mut().expect("one part").push_str(&line[at..at + length]);
                at += length;
                continue;
            }
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            Some(open) if open == letter => quote = None,
            _ => {}
        }
        parts.last_mut().expect("one part").push(letter);
        at += letter.len_utf8();
    }
    parts
}

/// The words of a command, with quotes taken off and variables filled in.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let quoted: String = letters.by_ref().take_while(|l| *l != '\'').collect();
                word.get_or_insert_default().push_str(&quoted);
            }
            '"' => {
                let quoted: String = letters.by_ref().take_while(|l| *l != '"').collect();
                word.get_or_insert_default().push_str(&filled(&quoted)?);
            }
            '\\' => word.get_or_insert_default().extend(letters.next()),
            '#' if word.is_none() => break,
            letter if letter.is_whitespace() => words.extend(word.take()),
            letter => {
                let mut bare = letter.to_string();
                while let Some(next) = letters.next_if(|l| !l.is_whitespace() && !"'\"\\".contains(*l)) {
                    bare.push(next);
                }
                word.get_or_insert_default().push_str(&filled(&bare)?);
            }
        }
    }
    words.extend(word);
    Ok(words)
}

/// What a person would fill in.
fn filled(text: &str) -> Result<String, String> {
    let values = [
        ("${TOKEN_FILE}", "token"),
        ("${VALUE_FILE}", "value"),
        ("${TOKEN}", "not-a-real-token-orders-4c1d"),
        ("${CONNECTION_STRING}", "redis://sessions.mcp-system.svc.cluster.local:6379"),
        ("${CONNECTION_STRING_FILE}", "connection"),
        ("${CERTIFICATE_FILE}", "tls.crt"),
        ("${KEY_FILE}", "tls.key"),
        ("${DOCKER_CONFIG_FILE}", "config.json"),
        ("${DIRECTORY_OF_ITS_FILES}", "files"),
        ("$(date -u +%s)", "1789381800"),
    ];
    let text = values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    if text.contains("${") || text.contains("$(") {
        return Err(format!("nobody says what {text} is"));
    }
    Ok(text)
}

/// Flags and arguments of an `oc` command.
struct Call<'w> {
    namespace: &'w str,
    arguments: Vec<&'w str>,
    flags: Vec<(&'w str, &'w str)>,
}

impl<'w> Call<'w> {
    fn new(words: &[&'w str]) -> Self {
        let mut call = Self { namespace: "", arguments: Vec::new(), flags: Vec::new() };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "-n" | "--namespace" => call.namespace = words.next().unwrap_or_default(),
                "-p" | "-f" | "-o" | "-l" | "-c" => call.flags.push((word, words.next().unwrap_or_default())),
                _ if word.starts_with("--") => call.flags.push(word.split_once('=').unwrap_or((word, ""))),
                _ if word == "-A" => {}
                _ => call.arguments.push(word),
            }
        }
        call
    }

    fn flag(&self, name: &str) -> Option<&'w str> {
        self.flags.iter().find(|(flag, _)| *flag == name).map(|(_, value)| *value)
    }

    fn flags<'c>(&'c self, name: &'c str) -> impl Iterator<Item = &'w str> + 'c {
        self.flags.iter().filter(move |(flag, _)| *flag == name).map(|(_, value)| *value)
    }

    /// The object that `KIND NAME` or `KIND/NAME` names, and the arguments behind it.
    fn object(&self) -> Result<(&'static Kind, &'w str, &'w str, Vec<&'w str>), String> {
        let first = *self.arguments.first().ok_or("no object is named")?;
        let (word, name, rest) = match first.split_once('/') {
            Some((word, name)) => (word, name, &self.arguments[1..]),
            None => (first, *self.arguments.get(1).ok_or("no name")?, &self.arguments[2..]),
        };
        let kind = kind(word)?;
        let namespace = if kind.namespaced { self.namespace } else { "" };
        if kind.namespaced && namespace.is_empty() {
            return Err(format!("{first} without a namespace"));
        }
        Ok((kind, namespace, name, rest.to_vec()))
    }
}

/// The kind of a resource word of the command line.
fn kind(word: &str) -> Result<&'static Kind, String> {
    let word = word.split('.').next().unwrap_or(word);
    kinds::ALL
        .iter()
        .copied()
        .find(|k| k.plural == word || k.kind.eq_ignore_ascii_case(word) || k.short.contains(&word))
        .ok_or_else(|| format!("unknown resource {word}"))
}

fn oc(
    installation: &mut Installation,
    done: &mut Done,
    words: &[&str],
    input: Option<&str>,
) -> Result<String, String> {
    let mut call = Call::new(words);
    if call.arguments.is_empty() {
        return Err("oc without a verb".to_owned());
    }
    let verb = call.arguments.remove(0);
    match verb {
        "get" if call.flag("-o") == Some("json") => {
            let (kind, namespace, name, _) = call.object()?;
            let object = installation.get(kind.kind, namespace, name);
            Ok(object.ok_or_else(|| format!("no {} {namespace}/{name}", kind.kind))?.to_string())
        }
        "get"
            if call
                .flag("-o")
                .is_some_and(|form| form.starts_with("jsonpath={.data.") && !form.contains('[')) =>
        {
            let (kind, namespace, name, _) = call.object()?;
            let object = installation.get(kind.kind, namespace, name);
            let entry = call.flag("-o").unwrap_or_default().trim_start_matches("jsonpath={.data.");
            let entry = entry.trim_end_matches('}').replace("\\.", ".");
            let value = object.and_then(|object| object["data"][&entry].as_str());
            Ok(value.ok_or_else(|| format!("no {} {namespace}/{name} with {entry}", kind.kind))?.to_owned())
        }
        "get" | "describe" | "logs" | "explain" | "exec" | "api-resources" | "auth" | "debug" | "edit" => {
            Ok(String::new())
        }
        "patch" => {
            let (kind, namespace, name, _) = call.object()?;
            let of_file =
                || call.flag("--patch-file").and_then(|file| done.files.get(file)).map(String::as_str);
            let patch: Value = serde_json::from_str(call.flag("-p").or_else(of_file).ok_or("no patch")?)
                .map_err(|error| format!("the patch is no JSON: {error}"))?;
            change(installation, done, (kind, namespace, name), |object| match call.flag("--type") {
                Some("merge") => {
                    merge(object, &patch);
                    Ok(())
                }
                Some("json") => json_patch(object, &patch),
                other => Err(format!("patch type {other:?} does not work for custom resources")),
            })
        }
        "label" | "annotate" if call.flag("-f") == Some("-") => {
            let mut object: Value =
                serde_json::from_str(input.ok_or("no input")?).map_err(|e| e.to_string())?;
            mark(&mut object, if verb == "label" { "labels" } else { "annotations" }, &call.arguments, true)?;
            Ok(object.to_string())
        }
        "label" | "annotate" => {
            let (kind, namespace, name, rest) = call.object()?;
            let field = if verb == "label" { "labels" } else { "annotations" };
            let overwrite = call.flag("--overwrite").is_some();
            change(installation, done, (kind, namespace, name), |object| {
                mark(object, field, &rest, overwrite)
            })
        }
        "apply" | "create" | "replace" if call.flag("-f") == Some("-") => {
            let text = input.ok_or("no input")?;
            let objects = oc_mcpgw::demo::parse(text);
            let replaced = verb != "create";
            for mut object in objects {
                let text = |pointer: &str| {
                    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
                };
                let (word, namespace, name) =
                    (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
                let kind = kind(&word)?;
                if name.is_empty() || kind.namespaced == namespace.is_empty() {
                    return Err(format!("{word} {namespace}/{name} is not complete"));
                }
                if !replaced && installation.get(&word, &namespace, &name).is_some() {
                    return Err(format!("{word} {namespace}/{name} exists"));
                }
                // `apply` merges into what is there.
                if verb == "apply"
                    && let Some(before) = installation.get(&word, &namespace, &name)
                {
                    let mut merged = before.clone();
                    merge(&mut merged, &object);
                    object = merged;
                }
                installation.apply(&object.to_string());
                done.touched.push((word, namespace, name));
            }
            Ok(String::new())
        }
        "create" => create(installation, done, &call),
        "secrets" => {
            let (["link", account, secret], namespace) = (call.arguments.as_slice(), call.namespace) else {
                return Err(format!("secrets {:?}", call.arguments));
            };
            if installation.get("Secret", namespace, secret).is_none() {
                return Err(format!("no Secret {namespace}/{secret}"));
            }
            // The rules do not read service accounts.
            done.touched.push(("ServiceAccount".to_owned(), namespace.to_owned(), (*account).to_owned()));
            Ok(String::new())
        }
        "delete" => {
            let (kind, namespace, name, _) = call.object()?;
            if !installation.remove(kind.kind, namespace, name) {
                return Err(format!("no {} {namespace}/{name} to delete", kind.kind));
            }
            done.touched.push((kind.kind.to_owned(), namespace.to_owned(), name.to_owned()));
            Ok(String::new())
        }
        "scale" => {
            let (kind, namespace, name, _) = call.object()?;
            let count: u64 =
                call.flag("--replicas").and_then(|n| n.parse().ok()).ok_or("no number of replicas")?;
            change(installation, done, (kind, namespace, name), |object| {
                object["spec"]["replicas"] = json!(count);
                Ok(())
            })
        }
        "rollout" => {
            let what = call.arguments.remove(0);
            let (kind, namespace, name, _) = call.object()?;
            change(installation, done, (kind, namespace, name), |object| {
                match what {
                    "restart" => {
                        *field(
                            object,
                            "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt",
                        ) = json!("2026-09-14T10:30:00Z");
                    }
                    "resume" => drop(object["spec"].as_object_mut().map(|spec| spec.remove("paused"))),
                    other => return Err(format!("rollout {other}")),
                }
                Ok(())
            })
        }
        "set" => set(installation, done, &mut call),
        "expose" => {
            let (kind, namespace, name, _) = call.object()?;
            let source = installation.get(kind.kind, namespace, name).ok_or("nothing to expose")?;
            let selector = match kind.kind {
                "Service" => source["spec"]["selector"].clone(),
                _ => source["spec"]["selector"]["matchLabels"].clone(),
            };
            let name = call.flag("--name").unwrap_or(name);
            let number = |flag: &str| call.flag(flag).and_then(|n| n.parse::<u64>().ok());
            let ports = match number("--port") {
                Some(port) => {
                    json!([{"port": port, "protocol": "TCP", "targetPort": number("--target-port").unwrap_or(port)}])
                }
                None => source["spec"]["ports"].clone(),
            };
            let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
                "spec": {"selector": selector, "ports": ports}});
            installation.apply(&service.to_string());
            done.touched.push(("Service".to_owned(), namespace.to_owned(), name.to_owned()));
            Ok(String::new())
        }
        other => Err(format!("unknown verb {other}")),
    }
}

/// What a file holds that a person has.
fn content(file: &str, files: &BTreeMap<String, String>) -> String {
    files.get(file).cloned().unwrap_or_else(|| match file {
        "tls.crt" => {
            crate::fixture_kinds::certificate(&["mcp.example.com", "mcp.apps.example.com"], 2026, 2027)
        }
        _ => "Bearer not-a-real-token-orders-4c1d".to_owned(),
    })
}

fn create(installation: &mut Installation, done: &mut Done, call: &Call<'_>) -> Result<String, String> {
    let what = call.arguments.first().copied().unwrap_or_default();
    if matches!(what, "role" | "rolebinding" | "clusterrole" | "clusterrolebinding") {
        // The rules do not read RBAC; what the command grants is not seen by the model.
        done.touched.push((what.to_owned(), call.namespace.to_owned(), call.arguments[1].to_owned()));
        return Ok(String::new());
    }
    let (["secret", form, name], namespace) = (call.arguments.as_slice(), call.namespace) else {
        return Err(format!("create {:?}", call.arguments));
    };
    let mut data = serde_json::Map::new();
    let mut put = |key: &str, value: &str| {
        data.insert(key.to_owned(), json!(base64::engine::general_purpose::STANDARD.encode(value)));
    };
    for pair in call.flags("--from-literal") {
        let (key, value) = pair.split_once('=').ok_or("a literal without =")?;
        put(key, value);
    }
    for pair in call.flags("--from-file") {
        let (key, file) = pair.split_once('=').unwrap_or((pair, pair));
        put(key, &content(file, &done.files));
    }
    if *form == "tls" {
        put("tls.crt", &content(call.flag("--cert").ok_or("no certificate")?, &done.files));
        put("tls.key", "not-a-real-key");
    }
    let of = if *form == "tls" { "kubernetes.io/tls" } else { "Opaque" };
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": of, "data": data,
        "metadata": {"name": name, "namespace": namespace}});
    if call.flag("--dry-run").is_some() {
        return Ok(secret.to_string());
    }
    if installation.get("Secret", namespace, name).is_some() {
        return Err(format!("Secret {namespace}/{name} exists"));
    }
    installation.apply(&secret.to_string());
    done.touched.push(("Secret".to_owned(), namespace.to_owned(), (*name).to_owned()));
    Ok(String::new())
}

fn set(installation: &mut Installation, done: &mut Done, call: &mut Call<'_>) -> Result<String, String> {
    let what = call.arguments.remove(0);
    let (kind, namespace, name, rest) = call.object()?;
    let wanted = call.flag("-c").map(str::to_owned);
    let limits = call.flag("--limits").map(str::to_owned);
    if what == "data" {
        let pairs: Vec<(String, String)> = call
            .flags("--from-file")
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, file)| (key.to_owned(), content(file, &done.files)))
            .collect();
        return change(installation, done, (kind, namespace, name), |object| {
            for (key, value) in pairs {
                object["data"][key] = json!(base64::engine::general_purpose::STANDARD.encode(value));
            }
            Ok(())
        });
    }
    change(installation, done, (kind, namespace, name), |object| {
        let containers = object
            .pointer_mut("/spec/template/spec/containers")
            .and_then(Value::as_array_mut)
            .ok_or("no containers")?;
        for container in containers.iter_mut().filter(|c| wanted.as_ref().is_none_or(|w| c["name"] == **w)) {
            match what {
                "env" => {
                    for pair in &rest {
                        let (key, value) = pair.split_once('=').ok_or("a variable without =")?;
                        let list = field(container, "/env");
                        if !list.is_array() {
                            *list = json!([]);
                        }
                        let list = list.as_array_mut().expect("a list");
                        list.retain(|v| v["name"] != key);
                        list.push(json!({"name": key, "value": value}));
                    }
                }
                "resources" => {
                    for pair in limits.iter().flat_map(|l| l.split(',')) {
                        let (key, value) = pair.split_once('=').ok_or("a limit without =")?;
                        if !value.ends_with("Mi") && !value.ends_with("Gi") {
                            return Err(format!("{value} is no amount of memory"));
                        }
                        *field(container, &format!("/resources/limits/{key}")) = json!(value);
                    }
                }
                other => return Err(format!("set {other}")),
            }
        }
        Ok(())
    })
}

/// Changes an object; a change of its spec is a new generation.
fn change(
    installation: &mut Installation,
    done: &mut Done,
    (kind, namespace, name): (&Kind, &str, &str),
    change: impl FnOnce(&mut Value) -> Result<(), String>,
) -> Result<String, String> {
    let object = installation
        .get_mut(kind.kind, namespace, name)
        .ok_or_else(|| format!("no {} {namespace}/{name}", kind.kind))?;
    let before = object["spec"].clone();
    change(object)?;
    if object["spec"] != before
        && let Some(generation) = object["metadata"]["generation"].as_i64()
    {
        object["metadata"]["generation"] = json!(generation + 1);
    }
    done.touched.push((kind.kind.to_owned(), namespace.to_owned(), name.to_owned()));
    Ok(String::new())
}
