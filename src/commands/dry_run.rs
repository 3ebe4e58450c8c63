//! `oc mcpgw gather --dry-run`: the plan in words, or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::error::{CommandError, CommandResult, Exit};
use crate::gather::dry_run::{Plan, plan};
use crate::gather::progress::{self, Progress};
use crate::gather::stop::Stop;
use crate::gather::{Options, Output, units};
use crate::term;

/// The form of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How many missing rights are printed one by one.
const SHOWN: usize = 30;

/// Prints what a collection with these options would do; exit code 4 when not all of it is allowed.
pub(crate) fn run(options: Options, form: Form) -> CommandResult {
    let place = match &options.output {
        Output::Here => "an archive in the current directory".to_owned(),
        Output::Path(path) => path.display().to_string(),
        Output::Target(_) => "standard output, or the directory of the must-gather".to_owned(),
    };
    let progress = Progress::stderr(progress::SILENCE);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let stop = Stop::default();
    let planned = runtime.block_on(async {
        tokio::select! {
            planned = plan(options, &progress, &stop) => Some(planned),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    runtime.shutdown_background();
    progress.finish();
    let Some(planned) = planned else { return Ok(Exit::Interrupted) };
    let plan = planned?;
    match form {
        Form::Text => term::print(&text(&plan, &place))?,
        Form::Json => {
            let json = serde_json::to_string_pretty(&plan).map_err(CommandError::unusable)?;
            term::print(&format!("{json}\n"))?;
        }
    }
    Ok(if plan.is_permitted() { Exit::Ok } else { Exit::Partial })
}

fn text(plan: &Plan, place: &str) -> String {
    let mut text = String::new();
    let clean = |text: &str| term::sanitize(text).into_owned();
    let user = plan.user.user.as_deref().map_or_else(|| "an unknown user".to_owned(), clean);
    let _ = writeln!(text, "{} as {user}: nothing was read, nothing was written", clean(&plan.server));
    let _ = writeln!(text, "\nPLAN");
    let mut resources: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
    for list in &plan.lists {
        let entry = resources.entry(&list.resource).or_default();
        entry.0 += list.objects.unwrap_or_default();
        entry.1 |= list.objects.is_some();
    }
    let scope = if plan.namespaces.is_empty() {
        "wherever the MCP gateway's objects lead".to_owned()
    } else {
        format!("in {}", clean(&plan.namespaces.join(", ")))
    };
    let _ = writeln!(text, "  looks      {scope}");
    let counted = |(resource, (count, known)): (&&str, &(u64, bool))| {
        if *known { format!("{resource} {count}") } else { (*resource).to_owned() }
    };
    let filled: Vec<String> =
        resources.iter().filter(|(_, (n, known))| *n > 0 || !known).map(counted).collect();
    wrapped(&mut text, "lists", &filled);
    let empty = resources.len() - filled.len();
    if empty > 0 {
        let _ = writeln!(text, "             and {} without any object", units::count(empty as u64, "kind"));
    }
    wrapped(&mut text, "by name", &plan.by_name);
    let _ = writeln!(text, "  logs       of all containers, current and previous");
    let _ = writeln!(text, "  probes     {}", plan.probes);
    let _ = writeln!(
        text,
        "  lanes      {} requests side by side, among them 6 logs, 4 port-forwards, 4 probes; ends after {}",
        plan.concurrency,
        units::human_duration(std::time::Duration::from_secs(plan.timeout_seconds))
    );
    let _ = writeln!(text, "  writes     {place}");
    let estimate = &plan.estimate;
    let _ = writeln!(text, "\nESTIMATE");
    let _ = writeln!(
        text,
        "  {}, {} among them, in the whole range; namespaces that nothing leads to are left out",
        units::count(estimate.objects, "object"),
        units::count(estimate.pods, "pod")
    );
    let _ = writeln!(
        text,
        "  at most {}, {} of objects, {} of logs before compression; about {} at the pace of this run",
        units::count(estimate.requests, "request"),
        units::human_bytes(estimate.object_bytes),
        units::human_bytes(estimate.log_bytes),
        units::human_duration(std::time::Duration::from_secs(estimate.seconds.max(1)))
    );
    let _ = writeln!(text, "\nPERMISSIONS");
    let granted = plan.checked - plan.missing.len() - plan.unchecked.len();
    let _ = writeln!(text, "  {granted} of {} granted", units::count(plan.checked as u64, "right"));
    // The same right in several namespaces is one line.
    let mut places: BTreeMap<(String, &str), Vec<&str>> = BTreeMap::new();
    for missing in &plan.missing {
        let place = missing.right.namespace.as_deref().unwrap_or("all namespaces");
        places.entry((missing.right.what(), &missing.consequence)).or_default().push(place);
    }
    for ((what, consequence), places) in places.iter().take(SHOWN) {
        let _ = writeln!(text, "  ✗ {what} in {}: {consequence}", clean(&places.join(", ")));
    }
    if places.len() > SHOWN {
        let _ = writeln!(text, "    and {} more; the role below has all", places.len() - SHOWN);
    }
    for unchecked in &plan.unchecked {
        let _ = writeln!(text, "  ? {}", clean(unchecked));
    }
    if !plan.role.is_empty() {
        let _ = writeln!(text, "\nTO GRANT WHAT IS MISSING, let an administrator apply:\n");
        for line in plan.role.lines() {
            let _ = writeln!(text, "{}", clean(line));
        }
    }
    text
}

/// Words behind a heading, in lines of a fitting width.
fn wrapped(text: &mut String, heading: &str, words: &[String]) {
    const WIDTH: usize = 100;
    let mut line = format!("  {heading:<11}");
    let indent = line.len();
    for (index, word) in words.iter().enumerate() {
        let comma = if index + 1 < words.len() { ", " } else { "" };
        if line.len() + word.len() > WIDTH && line.len() > indent {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(indent);
        }
        line.push_str(word);
        line.push_str(comma);
    }
    let _ = writeln!(text, "{}", line.trim_end());
}
