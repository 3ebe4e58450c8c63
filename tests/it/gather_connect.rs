//! From kubeconfig, environment and flags to a cluster.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::fixture::Fixture;
use crate::gather::{Fault, Served, archive, files, json, program, refused, status, text};

#[test]
fn bad_input_is_one_line_with_a_hint() {
    let served = Served::of(&Fixture::healthy());
    let directory = served.directory.path();
    let broken = directory.join("kubeconfig-broken");
    std::fs::write(&broken, "clusters: [\n  - secret-of-mine: {").expect("a file");
    let broken = broken.display().to_string();

    let error = refused(program().args(["gather", "--kubeconfig", "/no/such/file"]), 3);
    assert!(error.starts_with("error: cannot read kubeconfig /no/such/file: "), "{error}");
    let error = refused(program().args(["gather", "--kubeconfig", &broken]), 3);
    assert!(
        error.contains("is no kubeconfig: its YAML is broken") && !error.contains("secret-of-mine"),
        "{error}"
    );
    let error = refused(program().arg("gather"), 3);
    assert!(error.starts_with("error: no cluster is configured"), "{error}");
    let error = refused(program().env("KUBECONFIG", "/no/such/file").arg("gather"), 3);
    assert!(error.contains("$KUBECONFIG names no file that exists: /no/such/file"), "{error}");
    let error = refused(served.command().args(["--context", "nowhere"]), 3);
    assert!(error.contains("has no context `nowhere`"), "{error}");
    let error = refused(served.command().args(["--token", "wrong"]), 3);
    assert!(error.contains("does not accept your credentials"), "{error}");
    let error = refused(program().args(["gather", "--server", &served.url()]), 3);
    assert!(error.contains("no trusted connection to https://127.0.0.1"), "{error}");
    let error = refused(program().args(["gather", "--server", "https://127.0.0.1:1"]), 3);
    assert!(error.contains("cannot reach https://127.0.0.1:1: "), "{error}");
    let error = refused(served.command().args(["-o", &broken]), 3);
    assert!(error.contains("already exists"), "{error}");
    let error = refused(served.command().args(["-o", "/no/such/directory/x.tar.gz"]), 3);
    assert!(error.contains("/no/such/directory"), "{error}");
    for arguments in [["--since", "yesterday"], ["--max-log-bytes", "1"], ["--qps", "0"], ["--as-group", "x"]]
    {
        let output = served.gather(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_token_on_the_command_line_wins() {
    let served = Served::of(&Fixture::healthy());
    let token = served.server.token().to_owned();
    let mut command = program();
    command.current_dir(served.directory.path()).args([
        "gather",
        "--server",
        &served.url(),
        "--insecure-skip-tls-verify",
        "--token",
        &token,
    ]);
    let output = command.output().expect("the program");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// The kubeconfig of a served installation, changed.
fn kubeconfig(served: &Served, change: impl FnOnce(&mut Value)) -> String {
    let place = served.directory.path().join("kubeconfig");
    let mut config: Value =
        serde_yaml::from_slice(&std::fs::read(place).expect("a kubeconfig")).expect("YAML");
    change(&mut config);
    config.to_string()
}

fn gather_with(served: &Served, environment: &[(&str, &Path)], arguments: &[&str]) -> Output {
    let mut command = program();
    command.current_dir(served.directory.path()).args(["gather", "--no-analyze", "-o", "x.tar.gz"]);
    let output = command.args(arguments).envs(environment.iter().copied()).output().expect("the program");
    // Room for the next run.
    let _ = std::fs::remove_file(served.directory.path().join("x.tar.gz"));
    output
}

#[test]
fn a_credential_plugin_gives_the_token() {
    use std::os::unix::fs::PermissionsExt as _;
    let served = Served::of(&Fixture::healthy());
    let directory = served.directory.path();
    let (plugin, config) = (directory.join("give-token"), directory.join("with-plugin"));
    let write = |script: String| {
        std::fs::write(&plugin, format!("#!/bin/sh\n{script}\n")).expect("a script");
        std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    };
    let exec = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1",
        "command": plugin.display().to_string(), "interactiveMode": "Never"}});
    std::fs::write(&config, kubeconfig(&served, |config| config["users"][0]["user"] = exec)).expect("a file");

    let credential = serde_json::json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": served.server.token()}});
    write(format!("echo '{credential}'"));
    let output = gather_with(&served, &[("KUBECONFIG", &config)], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));

    write("echo a-half-token; echo 'your login has expired' >&2; exit 7".to_owned());
    let output = gather_with(&served, &[("KUBECONFIG", &config)], &[]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let error = stderr.lines().find(|line| line.starts_with("error: ")).expect("an error");
    assert!(error.contains("give-token") && error.contains("your login has expired"), "{error}");
    assert!(!stderr.contains("a-half-token") && stderr.contains("  hint: "), "{stderr}");

    // A plugin that says too much when it fails.
    let said = "refused: Authorization: Bearer sha256~Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZmdoaWo";
    write(format!("echo '{said}' >&2; exit 1"));
    let stderr = text(&gather_with(&served, &[("KUBECONFIG", &config)], &[]).stderr);
    assert!(stderr.contains("refused: Authorization") && !stderr.contains("Zm9vYmFy"), "{stderr}");
}

/// A login that ends in the middle of the run: what was read stays, what was not is listed.
#[test]
fn a_credential_plugin_that_fails_later_costs_the_rest() {
    use std::os::unix::fs::PermissionsExt as _;
    let served = Served::of(&Fixture::healthy());
    let directory = served.directory.path();
    let (plugin, config) = (directory.join("give-token"), directory.join("with-plugin"));
    // A token that is about to expire is asked for again with every request.
    let credential = serde_json::json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
        "status": {"token": served.server.token(), "expirationTimestamp": "2020-01-01T00:00:00Z"}});
    let script = format!(
        "#!/bin/sh\necho >> {0}/calls\nif [ $(wc -l < {0}/calls) -gt 40 ]; then echo half-a-token; echo 'the login has ended' >&2; exit 1; fi\necho '{credential}'\n",
        directory.display()
    );
    std::fs::write(&plugin, script).expect("a script");
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let exec = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1",
        "command": plugin.display().to_string(), "interactiveMode": "Never"}});
    std::fs::write(&config, kubeconfig(&served, |config| config["users"][0]["user"] = exec)).expect("a file");
    let mut command = program();
    command
        .current_dir(directory)
        .args(["gather", "--no-analyze", "--probe", "none"])
        .env("KUBECONFIG", &config);
    let output = command.output().expect("the program");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    let files = files(&archive(&output, directory));
    let failures = json(&files, "mcpgw/failures.json");
    let failures = failures.as_array().expect("a list");
    let of_plugin = failures.iter().filter(|failure| failure["reason"] == "Credentials").count();
    assert!(of_plugin > 0 && failures.len() < 400, "{failures:#?}");
    assert!(
        files.keys().any(|path| path.ends_with("/mcpserverregistrations/weather.yaml")),
        "{:?}",
        files.keys()
    );
    assert!(
        failures.iter().any(|f| f["message"] == "the plugin failed with exit status: 1"),
        "{failures:#?}"
    );
    assert!(!stderr.contains("half-a-token") && !text(&output.stdout).contains("half-a-token"));
    assert!(files.values().all(|file| !text(file).contains("half-a-token")));
}

#[test]
fn several_files_make_one_kubeconfig() {
    let served = Served::of(&Fixture::healthy());
    let directory = served.directory.path();
    let (clusters, users) = (directory.join("clusters"), directory.join("users"));
    let text_of = |keep: &[&str]| {
        kubeconfig(&served, |config| {
            let map = config.as_object_mut().expect("an object");
            map.retain(|key, _| {
                ["apiVersion", "kind"].contains(&key.as_str()) || keep.contains(&key.as_str())
            });
        })
    };
    std::fs::write(&clusters, text_of(&["clusters"])).expect("a file");
    std::fs::write(&users, text_of(&["users", "contexts"])).expect("a file");
    let list = std::env::join_paths([&clusters, &directory.join("not-there"), &users]).expect("a list");
    let config: Value = serde_yaml::from_str(&kubeconfig(&served, |_| {})).expect("YAML");
    let context = config["contexts"][0]["name"].as_str().expect("a name");
    let output = gather_with(&served, &[("KUBECONFIG", Path::new(&list))], &["--context", context]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = gather_with(&served, &[("KUBECONFIG", Path::new(&list))], &[]);
    assert_eq!(output.status.code(), Some(3), "without a current context: {}", text(&output.stderr));
}

/// Who we are stands in every request: a user agent, and as whom we ask.
#[test]
fn requests_say_who_asks_and_as_whom() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let server = format!("http://{}", listener.local_addr().expect("an address"));
    let first = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a byte");
            head.push(byte[0]);
        }
        let refused = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(refused.as_bytes()).expect("an answer");
        text(&head).to_ascii_lowercase()
    });
    let arguments = [
        "gather",
        "--server",
        &server,
        "--token",
        "t0ken",
        "--as",
        "alice",
        "--as-group",
        "dev",
        "--as-group",
        "ops",
    ];
    let error = refused(program().args(arguments), 3);
    assert!(error.contains("does not accept your credentials"), "{error}");
    let head = first.join().expect("no panic");
    for line in [
        concat!("user-agent: oc-mcpgw/", env!("CARGO_PKG_VERSION")),
        "authorization: bearer t0ken",
        "impersonate-user: alice",
        "impersonate-group: dev",
        "impersonate-group: ops",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
}

/// A proxy that only knows CONNECT, and what it was asked. It lives as long as the tests.
fn connect_proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let proxy = format!("http://{}", listener.local_addr().expect("an address"));
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || tunnel(stream, &seen));
        }
    });
    (proxy, asked)
}

#[test]
fn a_proxy_of_the_kubeconfig_is_used() {
    let served = Served::of(&Fixture::healthy());
    let (proxy, asked) = connect_proxy();
    let config = served.directory.path().join("with-proxy");
    let with_proxy =
        kubeconfig(&served, |config| config["clusters"][0]["cluster"]["proxy-url"] = proxy.into());
    std::fs::write(&config, with_proxy).expect("a file");
    let output = gather_with(&served, &[("KUBECONFIG", &config)], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let asked = asked.lock().expect("no panic");
    assert!(asked.len() > 3 && asked.iter().all(|line| line.starts_with("CONNECT 127.0.0.1:")), "{asked:?}");
}

#[test]
fn a_proxy_of_the_environment_is_used_except_where_it_is_not_meant() {
    let served = Served::of(&Fixture::healthy());
    let (proxy, asked) = connect_proxy();
    // What is on this machine is never asked through a proxy; this name is known to the proxy only.
    let config = served.directory.path().join("behind-a-proxy");
    let behind = kubeconfig(&served, |config| {
        let cluster = &mut config["clusters"][0]["cluster"];
        let server =
            cluster["server"].as_str().expect("a server").replace("127.0.0.1", "api.cluster.invalid");
        *cluster = serde_json::json!({"server": server, "insecure-skip-tls-verify": true});
    });
    std::fs::write(&config, behind).expect("a file");
    for (name, no_proxy, used) in [
        ("HTTPS_PROXY", "", true),
        ("https_proxy", "10.0.0.0/8,.example.com", true),
        ("HTTPS_PROXY", ".cluster.invalid", false),
        ("HTTPS_PROXY", "*", false),
        // For a server that speaks HTTPS, this one says nothing.
        ("HTTP_PROXY", "", false),
    ] {
        let environment =
            [("KUBECONFIG", config.as_path()), (name, Path::new(&proxy)), ("NO_PROXY", Path::new(no_proxy))];
        let output = gather_with(&served, &environment, &["--probe", "none"]);
        let code = if used { 0 } else { 3 };
        assert_eq!(output.status.code(), Some(code), "{name} {no_proxy}: {}", text(&output.stderr));
        let asked = std::mem::take(&mut *asked.lock().expect("no panic"));
        assert_eq!(!asked.is_empty(), used, "{name}, not for `{no_proxy}`: {asked:?}");
    }
}

/// Joins a client of a proxy with the server that it wants, and notes the wish.
fn tunnel(mut client: TcpStream, seen: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_exact(&mut byte).is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let head = text(&head);
    let wish = head.lines().next().unwrap_or_default();
    seen.lock().expect("no panic").push(wish.to_owned());
    let host = wish.split(' ').nth(1).unwrap_or_default();
    let host = host.replace("api.cluster.invalid", "127.0.0.1");
    let Ok(mut server) = TcpStream::connect(host) else { return };
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("an answer");
    let (mut from, mut to) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
    std::thread::spawn(move || {
        // The end of one direction is that of the other.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_token_that_expires_on_the_way_costs_only_the_rest() {
    let count = Arc::new(AtomicUsize::new(0));
    let expires: Fault = Arc::new(move |_| {
        let expired = count.fetch_add(1, Ordering::Relaxed) >= 60;
        expired.then(|| status(401, "Unauthorized", "the token has expired"))
    });
    let served = Served::with(&Fixture::healthy(), expires);
    let output = served.gather(&["-o", "x.tar.gz"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("the token has expired"), "{}", text(&output.stdout));
    let files = files(&served.directory.path().join("x.tar.gz"));
    let failures = json(&files, "mcpgw/failures.json");
    assert!(
        failures.as_array().expect("a list").iter().all(|failure| failure["code"] == 401),
        "{failures:#}"
    );
    assert!(files.keys().any(|path| path.contains("/mcpserverregistrations/")), "what was read is there");
    let requests = served.requests.lock().expect("no panic").len();
    assert!(requests < 400, "{requests} requests with a token that is worth nothing");
}

/// In a pod there is no kubeconfig: the address stands in the environment, token and authority where every
/// pod has them. That place is made for one process, where the machine lets us.
#[cfg(target_os = "linux")]
#[test]
fn a_pod_of_the_cluster_needs_no_kubeconfig() {
    let served = Served::of(&Fixture::healthy());
    let own = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).output();
    if !own.is_ok_and(|output| output.status.success()) {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "not tested: this machine gives no mount namespace").expect("standard error");
        return;
    }
    let config: Value = serde_yaml::from_str(&kubeconfig(&served, |_| {})).expect("YAML");
    let ca = config["clusters"][0]["cluster"]["certificate-authority-data"].as_str().expect("an authority");
    let url = served.url();
    let (_, port) = url.split('/').nth(2).expect("a host").split_once(':').expect("a port");
    let script = "set -e; mount -t tmpfs none /var/run; dir=/var/run/secrets/kubernetes.io/serviceaccount; \
        mkdir -p $dir; echo \"$CA\" | base64 -d >$dir/ca.crt; printf %s \"$TOKEN\" >$dir/token; \
        printf mcp-system >$dir/namespace; unset CA TOKEN; exec \"$0\" \"$@\"";
    let run = |token: &str, arguments: &[&str]| {
        let program = program();
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(program.get_program());
        command.args(["gather", "--no-analyze"]).args(arguments).current_dir(served.directory.path());
        command.env_remove("KUBECONFIG").env("HOME", "/nonexistent").env("TOKEN", token).env("CA", ca);
        command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", port);
        command.output().expect("unshare")
    };
    let output = run(served.server.token(), &["-o", "x.tar.gz"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let files = files(&served.directory.path().join("x.tar.gz"));
    assert!(files.contains_key("namespaces/team-weather/core/pods.yaml"));
    let all: String = files.values().map(|content| text(content)).collect();
    assert!(!all.contains(served.server.token()), "the token of the service account stays in the pod");
    let output = run("expired", &["-o", "y.tar.gz"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("does not accept your credentials"), "{stderr}");
}

/// A credential plugin that waits for ever blocks its thread, but not the end of the run.
#[cfg(unix)]
#[test]
fn a_credential_plugin_that_hangs_is_not_waited_for() {
    let served = Served::of(&Fixture::healthy());
    let config = served.directory.path().join("hangs");
    let exec = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sleep",
        "args": ["20"], "interactiveMode": "Never"}});
    std::fs::write(&config, kubeconfig(&served, |config| config["users"][0]["user"] = exec)).expect("a file");
    let begin = std::time::Instant::now();
    let output = gather_with(&served, &[("KUBECONFIG", &config)], &["--timeout", "1s"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("the deadline of 1s ended the run before there were credentials"), "{stderr}");
    assert!(begin.elapsed() < std::time::Duration::from_secs(15), "{:?}", begin.elapsed());
    assert!(served.requests.lock().expect("no panic").is_empty());
}

/// A way to a server on which every connection ends after so many bytes of its answers, below TLS: no
/// farewell, in the middle of whatever is under way.
fn cutting(server: std::net::SocketAddr, bytes: u64) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(server) else { continue };
            let (Ok(mut from), Ok(mut to)) = (client.try_clone(), server.try_clone()) else { continue };
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut (&server).take(bytes), &mut &client);
                let _ =
                    (client.shutdown(std::net::Shutdown::Both), server.shutdown(std::net::Shutdown::Both));
            });
        }
    });
    address
}

#[test]
fn connections_that_are_cut_below_tls_end_in_a_valid_archive_or_one_line() {
    let served = Served::of(&Fixture::healthy());
    let url = served.url();
    let (server, prefix) = match url.trim_start_matches("https://").split_once('/') {
        Some((server, prefix)) => (server, format!("/{prefix}")),
        None => (url.trim_start_matches("https://"), String::new()),
    };
    let server: std::net::SocketAddr = server.parse().expect("an address");
    // In the handshake, in discovery, in lists, in logs.
    for (bytes, codes) in [(700, [3, 3]), (6_000, [3, 4]), (40_000, [0, 4]), (400_000, [0, 4])] {
        let way = format!("https://{}{prefix}", cutting(server, bytes));
        let name = format!("cut-{bytes}.tar.gz");
        let output = served.gather(&["--server", &way, "--probe", "none", "-o", &name]);
        let stderr = text(&output.stderr);
        let code = output.status.code().unwrap_or(-1);
        assert!(codes.contains(&code), "{bytes}: {code} {stderr}");
        let path = served.directory.path().join(&name);
        assert_eq!(path.exists(), code != 3, "{bytes}: {stderr}");
        if code == 3 {
            assert_eq!(stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{stderr}");
            continue;
        }
        let files = files(&path);
        let failures = json(&files, "mcpgw/failures.json");
        assert_eq!(failures.as_array().is_some_and(|list| !list.is_empty()), code == 4, "{failures:#}");
        assert!(files.contains_key("mcpgw/manifest.json"));
    }
}
