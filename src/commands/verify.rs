//! `oc mcpgw verify`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::archive::manifest::Manifest;
use crate::archive::path;
use crate::archive::read::{self, ReadError, Source, Visit};
use crate::cli::Global;
use crate::commands::analyze;
use crate::error::{CommandResult, Exit};
use crate::redact::verify::{Certainty, Scanner};
use crate::redact::{Options, Redactor};
use crate::term;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// What to verify: an archive of `gather` or `redact`, an unpacked directory, any must-gather; `-` reads
    /// standard input
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// The forms of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// One line per problem
    #[default]
    Text,
    /// mcpgw.verify/v1
    Json,
}

/// What is wrong with a bundle.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    schema_version: &'static str,
    files: usize,
    bytes: u64,
    /// Whether there was a manifest to compare with.
    manifest: bool,
    problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// `leak`, `checksum`, `missing`, `extra`, `structure`.
    kind: &'static str,
    what: String,
}

/// Runs the command.
pub(crate) fn run(args: VerifyArgs, global: &Global) -> CommandResult {
    let source = read::open(&args.bundle).map_err(|error| analyze::refused(error, global))?;
    let verdict = verify(&*source).map_err(|error| analyze::refused(error, global))?;
    match args.output {
        Format::Text => term::print(&text(&verdict))?,
        Format::Json => {
            let mut json = serde_json::to_string_pretty(&verdict).unwrap_or_default();
            json.push('\n');
            term::print(&json)?;
        }
    }
    if !verdict.manifest && args.output == Format::Text {
        // A closed standard error leaves nobody to tell.
        let _ = writeln!(
            anstream::stderr().lock(),
            "note: without a manifest, nothing says which files belong here"
        );
    }
    Ok(if verdict.problems.is_empty() { Exit::Ok } else { Exit::Findings })
}

/// Hashes and scans every file, then compares with the manifest.
fn verify(source: &dyn Source) -> Result<Verdict, ReadError> {
    // Paths are shown, and a path can hold a secret like any other text.
    let redactor = Redactor::new(Options::default());
    let mut sums: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut problems = BTreeSet::new();
    let mut manifest: Option<Manifest> = None;
    let mut bytes = 0;
    let shown = |path: &str| redactor.path(path).as_str().to_owned();
    let walked = source.walk(&mut |entry, content| {
        let mut problem = |line, kind, what: String| {
            problems.insert(Problem { file: shown(&entry.path), line, kind, what });
        };
        for leak in Scanner::name(Certainty::Suspicious, &entry.path) {
            problem(None, "leak", format!("the path holds what looks like a {}", leak.kind));
        }
        let is_manifest = entry.path == path::MANIFEST;
        let mut scanner = Scanner::new(Certainty::Suspicious);
        let mut sha256 = Sha256::new();
        let mut kept = Vec::new();
        let mut length = 0u64;
        let mut piece = vec![0u8; 64 * 1024];
        loop {
            match content.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => {
                    length += read as u64;
                    sha256.update(&piece[..read]);
                    if is_manifest {
                        // Checksums are what a manifest is for; everything else in it is text.
                        kept.extend_from_slice(&piece[..read]);
                    }
                    scanner.push(&piece[..read]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    problem(None, "structure", format!("cannot be read to its end: {error}"));
                    break;
                }
            }
        }
        for leak in scanner.finish() {
            problem(Some(leak.line), "leak", format!("looks like a {}", leak.kind));
        }
        if is_manifest {
            match serde_json::from_slice(&kept) {
                Ok(read) => manifest = Some(read),
                Err(error) => problem(None, "structure", format!("is no manifest: {error}")),
            }
        }
        bytes += length;
        let sum: String = sha256.finalize().iter().map(|b| format!("{b:02x}")).collect();
        if sums.insert(entry.path.clone(), (length, sum)).is_some() {
            problem(None, "structure", "stands in the archive more than once".to_owned());
        }
        Visit::Next
    })?;
    for problem in walked {
        let (file, what) = problem.split_once(": ").unwrap_or(("", &problem));
        problems.insert(Problem { file: shown(file), line: None, kind: "structure", what: shown(what) });
    }
    if let Some(manifest) = &manifest {
        compare(manifest, &sums, &shown, &mut problems);
    }
    Ok(Verdict {
        schema_version: "mcpgw.verify/v1",
        files: sums.len(),
        bytes,
        manifest: manifest.is_some(),
        problems: problems.into_iter().collect(),
    })
}

fn compare(
    manifest: &Manifest,
    sums: &BTreeMap<String, (u64, String)>,
    shown: &dyn Fn(&str) -> String,
    problems: &mut BTreeSet<Problem>,
) {
    let mut named = BTreeSet::from([path::MANIFEST]);
    for file in &manifest.files {
        named.insert(&file.path);
        let (kind, what) = match sums.get(&file.path) {
            None => ("missing", "is named in the manifest, but missing".to_owned()),
            Some((bytes, _)) if *bytes != file.bytes => {
                ("checksum", format!("has {bytes} bytes, but the manifest says {}", file.bytes))
            }
            Some((_, sum)) if *sum != file.sha256 => {
                ("checksum", "differs from the manifest: its SHA-256 is another".to_owned())
            }
            Some(_) => continue,
        };
        problems.insert(Problem { file: shown(&file.path), line: None, kind, what });
    }
    for path in sums.keys().filter(|path| !named.contains(path.as_str())) {
        let what = "is not named in the manifest".to_owned();
        problems.insert(Problem { file: shown(path), line: None, kind: "extra", what });
    }
}

fn text(verdict: &Verdict) -> String {
    let mut out = String::new();
    for problem in &verdict.problems {
        let line = problem.line.map_or_else(String::new, |line| format!(":{line}"));
        out.push_str(&format!(
            "{}{line}: {}: {}\n",
            term::sanitize(&problem.file),
            problem.kind,
            term::sanitize(&problem.what)
        ));
    }
    let leaks = verdict.problems.iter().filter(|p| p.kind == "leak").count();
    let others = verdict.problems.len() - leaks;
    let sums = if verdict.manifest { "checksums compared" } else { "no manifest" };
    out.push_str(&format!(
        "{} files, {} KiB, {sums}: {} leaks, {} other problems\n",
        verdict.files,
        verdict.bytes.div_ceil(1024),
        leaks,
        others
    ));
    out
}
