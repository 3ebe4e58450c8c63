//! From kubeconfig, environment and flags to a cluster.

use crate::fixture::Fixture;
use crate::gather::{Served, program, refused, text};

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
