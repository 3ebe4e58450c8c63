//! The command line as a person meets it: help, mistakes, completions.

use assert_cmd::Command;

use crate::fixture::Fixture;

/// The program with a terminal's influence removed.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oc-mcpgw"));
    for name in
        ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LC_ALL", "LC_CTYPE", "LANG", "KUBECONFIG"]
    {
        command.env_remove(name);
    }
    command
}

/// What a run printed and how it ended, in the form that the snapshots hold.
pub(crate) fn session(arguments: &[&str]) -> String {
    let output = program().args(arguments).output().expect("the program starts");
    format!(
        "exit {}\n-- stdout\n{}-- stderr\n{}",
        output.status.code().map_or_else(|| "by a signal".to_owned(), |code| code.to_string()),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    )
}

/// The whole help, every command's long form: a change of the interface is a change of this file.
#[test]
fn help() {
    let mut text = String::new();
    let mut command = oc_mcpgw::cli::command().term_width(100);
    command.build();
    write_help(&mut command, &mut text);
    insta::assert_snapshot!(text);
}

fn write_help(command: &mut clap::Command, text: &mut String) {
    if command.get_name() == "help" {
        return;
    }
    let help = command.render_long_help().to_string();
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("━━━ {name}\n{}\n\n", lines.join("\n")));
    for sub in command.get_subcommands_mut() {
        write_help(sub, text);
    }
}

#[test]
fn a_mistake_is_one_line_with_hints() {
    for (arguments, expected) in [
        (
            &["analyse"][..],
            "error: unrecognized subcommand 'analyse'\n  hint: a similar subcommand exists: 'analyze'\n  \
             hint: `oc mcpgw --help` shows how it is used\n",
        ),
        (
            &["analyze"],
            "error: the following required arguments were not provided: <BUNDLE>\n  \
             hint: `oc mcpgw analyze --help` shows how it is used\n",
        ),
        (&["analyze", "x", "-o", "xlm"], "error: invalid value 'xlm' for '--output <FORMAT>'"),
        (
            &["analyze", "a", "b"],
            "error: analyze takes one bundle, but 2 were named\n  \
             hint: run it once for each, or put the files into one directory and name that\n",
        ),
        (
            &["analyze", "x", "--only", "nonsense"],
            "error: no finding code begins with \"nonsense\"\n  hint: `oc mcpgw rules` lists the codes\n",
        ),
        (
            &["explain", "zzzzzz"],
            "error: there is no finding code or rule \"zzzzzz\"\n  hint: `oc mcpgw rules` lists them\n",
        ),
        (&["explain", "MG101", "MG102"], "error: unexpected argument 'MG102' found"),
        (&["rules", "--code", "nonsense"], "error: no finding code begins with \"nonsense\""),
        (&["completion", "tcsh"], "error: invalid value 'tcsh' for '<SHELL>'"),
        (&["--colour", "never"], "error: unexpected argument '--colour' found"),
    ] {
        let output = program().args(arguments).output().expect("the program starts");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with(expected), "{arguments:?} said\n{stderr}instead of\n{expected}");
        assert!(output.stdout.is_empty(), "{arguments:?} printed to standard output");
        let lines: Vec<&str> = stderr.lines().collect();
        assert!(lines[1..].iter().all(|line| line.starts_with("  hint: ")), "{stderr}");
    }
}

#[test]
fn an_input_that_cannot_be_used_ends_with_three() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("nothing-here.tar.gz");
    let output = program().arg("analyze").arg(&missing).output().expect("the program starts");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("nothing-here.tar.gz"), "{stderr}");
    assert!(stderr.contains("  hint: "), "{stderr}");
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let commands: Vec<String> =
        oc_mcpgw::cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for arguments in [&["completion", "bash"][..], &["completion", "zsh"], &["completion", "fish"], &["man"]]
    {
        let output = program().args(arguments).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).expect("text");
        for command in &commands {
            assert!(text.contains(command.as_str()), "{arguments:?} lacks {command}");
        }
    }
}

/// The plugin answers under the name by which it was called.
#[cfg(unix)]
#[test]
fn the_second_name_is_used_in_help() {
    let directory = tempfile::tempdir().expect("a directory");
    let link = directory.path().join("kubectl-mcpgw");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_oc-mcpgw"), &link).expect("a link");
    let output = Command::new(&link).arg("--help").output().expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("Usage: kubectl mcpgw"), "{text}");
}

/// Who has kubectl may have no `oc`: all that is printed to be pasted is a command of kubectl, where it has one.
#[cfg(unix)]
#[test]
fn commands_are_those_of_kubectl_under_the_second_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let bundle = Fixture::faulty().write_dir(directory.path());
    let link = directory.path().join("kubectl-mcpgw");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_oc-mcpgw"), &link).expect("a link");
    let run = |arguments: &[&str]| {
        let output = Command::new(&link).args(arguments).output().expect("the program starts");
        String::from_utf8(output.stdout).expect("text")
    };
    let path = bundle.to_str().expect("a path");
    for text in [
        run(&["analyze", path, "--verbose"]),
        run(&["analyze", path, "-o", "json"]),
        run(&["explain", "MG213"]),
    ] {
        assert!(
            text.contains("kubectl ") && !text.contains("oc mcpgw") && !text.contains("oc get"),
            "{text}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_pipe_is_no_error() {
    let shell = format!(
        "{} rules -o json | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_oc-mcpgw")
    );
    let output = Command::new("bash").args(["-c", &shell]).output().expect("bash starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn explain_finds_a_rule_however_it_is_typed() {
    let page = session(&["explain", "MG101"]);
    assert!(page.starts_with("exit 0\n-- stdout\nMG101 image-pull\n"), "{page}");
    assert!(page.contains("\nHow to fix\n"), "{page}");
    for typed in ["mg101", "image-pull", "Image-Pull"] {
        assert_eq!(session(&["explain", typed]), page, "{typed}");
    }
    for (typed, meant) in [("MG-101", "MG101"), ("101", "MG101"), ("imagepull", "image-pull")] {
        let refused = session(&["explain", typed]);
        assert!(refused.starts_with("exit 2\n"), "{refused}");
        assert!(refused.contains(&format!("hint: did you mean {meant}?")), "{refused}");
    }
}

#[test]
fn every_form_of_the_catalogue_has_every_rule() {
    let rules = oc_mcpgw::rules::all();
    for arguments in [
        &["rules"][..],
        &["explain"],
        &["rules", "-o", "json"],
        &["rules", "-o", "yaml"],
        &["rules", "-o", "markdown"],
        &["explain", "-o", "markdown"],
        &["explain", "-o", "json"],
    ] {
        let printed = session(arguments);
        for rule in rules {
            assert!(
                printed.contains(rule.code) && printed.contains(rule.name),
                "{arguments:?}: {}",
                rule.code
            );
        }
    }
    let json = program().args(["rules", "-o", "json", "--code", "mg10"]).output().expect("it starts").stdout;
    let chosen: Vec<serde_json::Value> = serde_json::from_slice(&json).expect("JSON");
    assert!(chosen.iter().all(|rule| rule["code"].as_str().is_some_and(|code| code.starts_with("MG10"))));
    assert_eq!(chosen.len(), rules.iter().filter(|rule| rule.code.starts_with("MG10")).count());
}
