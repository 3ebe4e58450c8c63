//! Which findings of a report are shown and counted: `--only`, `--ignore`, `--severity`.

use crate::commands::catalogue::{self, Pattern};
use crate::error::CommandError;
use crate::report::{Finding, Report, Severity};

/// The options that choose findings.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FilterArgs {
    /// Only findings of these codes, code prefixes (MG2) or rule names
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    only: Vec<String>,
    /// Leave out findings of a code, anywhere or on one object: MG418, MG105@team-a/weather,
    /// MG209@istio
    #[arg(long, value_name = "CODE[@NAMESPACE/NAME]", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Only findings of this severity or worse
    #[arg(long, value_enum, value_name = "SEVERITY")]
    severity: Option<Severity>,
}

/// The options, understood.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    only: Vec<Pattern>,
    ignore: Vec<Ignored>,
    severity: Option<Severity>,
}

/// One `--ignore`.
#[derive(Debug, Clone)]
pub(crate) struct Ignored {
    pattern: Pattern,
    /// The subject's namespace (`None` for a cluster-scoped object) and name; absent for any object.
    object: Option<(Option<String>, String)>,
}

impl Ignored {
    /// Reads `CODE`, `CODE@namespace/name` or `CODE@name`.
    ///
    /// # Errors
    /// A usage error that says which part is wrong.
    pub(crate) fn new(typed: &str) -> Result<Self, CommandError> {
        let (code, object) = match typed.split_once('@') {
            Some((code, object)) => (code, Some(object)),
            None => (typed, None),
        };
        let pattern = Pattern::new(code)?;
        let Some(object) = object else { return Ok(Self { pattern, object: None }) };
        let (namespace, name) = match object.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, object),
        };
        if name.is_empty() || namespace.is_some_and(str::is_empty) || name.contains('/') {
            return Err(CommandError::usage_message(format!("\"{object}\" names no object"))
                .hint("write CODE@namespace/name, or CODE@name for an object without a namespace"));
        }
        Ok(Self { pattern, object: Some((namespace.map(str::to_owned), name.to_owned())) })
    }

    /// Whether it means this finding: its code, and its subject if one is named.
    pub(crate) fn matches(&self, finding: &Finding) -> bool {
        self.pattern.matches(&finding.code, &finding.name)
            && self.object.as_ref().is_none_or(|(namespace, name)| {
                finding.objects.first().is_some_and(|subject| {
                    subject.name == *name && subject.namespace.as_deref() == namespace.as_deref()
                })
            })
    }
}

impl Filter {
    /// Takes the options, if they name codes that exist.
    ///
    /// # Errors
    /// A usage error that names the nearest code.
    pub(crate) fn new(args: &FilterArgs) -> Result<Self, CommandError> {
        Ok(Self {
            only: catalogue::patterns(&args.only)?,
            ignore: args.ignore.iter().map(|typed| Ignored::new(typed)).collect::<Result<_, _>>()?,
            severity: args.severity,
        })
    }

    /// Removes what was not asked for and counts again. The ids stay, so that a consequence still
    /// names its cause when only the cause is left out.
    pub(crate) fn apply(&self, report: &mut Report) {
        let chosen = |code: &str, name: &str| {
            self.only.is_empty() || self.only.iter().any(|pattern| pattern.matches(code, name))
        };
        report.findings.retain(|finding| {
            chosen(&finding.code, &finding.name)
                && self.severity.is_none_or(|worst| finding.severity <= worst)
                && !self.ignore.iter().any(|ignored| ignored.matches(finding))
        });
        report.unknown.retain(|unknown| unknown.codes.iter().any(|code| chosen(code, &unknown.rule)));
        report.coverage.only = self.only.iter().map(|pattern| pattern.as_str().to_owned()).collect();
        report.count();
    }
}
