//! Which findings of a report are shown and counted: `--only`, `--ignore`, `--suppress`, `--severity`.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};

use crate::commands::catalogue::{self, Pattern};
use crate::commands::suppress;
use crate::error::CommandError;
use crate::report::{Finding, Report, Severity, Suppression, SuppressionState};

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
    /// Leave out the findings that a YAML file lists, each with code, object, reason and expiry
    #[arg(long, value_name = "FILE")]
    suppress: Option<PathBuf>,
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

/// One `--ignore`, or one entry of a suppression file.
#[derive(Debug, Clone)]
pub(crate) struct Ignored {
    pattern: Pattern,
    /// The subject; absent for any object.
    object: Option<Subject>,
    /// Why; `--ignore` gives no reason.
    reason: String,
    /// The last day on which it holds.
    expires: Option<NaiveDate>,
}

/// The subject of the findings that are left out.
#[derive(Debug, Clone)]
struct Subject {
    typed: String,
    kind: Option<String>,
    /// `None` for a cluster-scoped object.
    namespace: Option<String>,
    name: String,
}

impl Ignored {
    /// Reads `CODE`, `CODE@namespace/name` or `CODE@name`; the kind may stand before the object.
    ///
    /// # Errors
    /// A usage error that says which part is wrong.
    pub(crate) fn new(typed: &str) -> Result<Self, CommandError> {
        let (code, object) = match typed.split_once('@') {
            Some((code, object)) => (code, Some(object)),
            None => (typed, None),
        };
        let pattern = Pattern::new(code)?;
        let object = object.map(Subject::new).transpose()?;
        Ok(Self { pattern, object, reason: String::new(), expires: None })
    }

    /// Adds why, and until when.
    pub(crate) fn because(self, reason: String, expires: Option<NaiveDate>) -> Self {
        Self { reason, expires, ..self }
    }

    /// Whether it means this finding: its code, and its subject if one is named.
    fn matches(&self, finding: &Finding) -> bool {
        self.pattern.matches(&finding.code, &finding.name)
            && self.object.as_ref().is_none_or(|object| object.is_of(finding))
    }

    /// Whether it has run out by the time of the bundle. Without that time nobody can tell, and a
    /// finding is not hidden on a guess.
    fn expired(&self, now: Option<DateTime<Utc>>) -> bool {
        self.expires.is_some_and(|last| now.is_none_or(|now| now.date_naive() > last))
    }
}

impl Subject {
    fn new(typed: &str) -> Result<Self, CommandError> {
        let (kind, object) = match typed.split_once(' ') {
            Some((kind, object)) => (Some(kind.to_owned()), object.trim()),
            None => (None, typed),
        };
        let (namespace, name) = match object.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, object),
        };
        if name.is_empty() || namespace.is_some_and(str::is_empty) || name.contains(['/', ' ']) {
            return Err(CommandError::usage_message(format!("\"{typed}\" names no object"))
                .hint("write namespace/name, or name alone for an object without a namespace"));
        }
        Ok(Self {
            typed: typed.to_owned(),
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }

    fn is_of(&self, finding: &Finding) -> bool {
        finding.objects.first().is_some_and(|subject| {
            subject.name == self.name
                && subject.namespace == self.namespace
                && self.kind.as_ref().is_none_or(|kind| subject.kind.eq_ignore_ascii_case(kind))
        })
    }
}

impl Filter {
    /// Takes the options, if they name codes that exist.
    ///
    /// # Errors
    /// A usage error that names the nearest code, or what is wrong with the suppression file.
    pub(crate) fn new(args: &FilterArgs) -> Result<Self, CommandError> {
        let mut ignore: Vec<Ignored> =
            args.ignore.iter().map(|typed| Ignored::new(typed)).collect::<Result<_, _>>()?;
        if let Some(file) = &args.suppress {
            ignore.extend(suppress::read(file)?);
        }
        Ok(Self { only: catalogue::patterns(&args.only)?, ignore, severity: args.severity })
    }

    /// Removes what was not asked for, notes which suppressions did what, and counts again. The
    /// ids stay, so that a consequence still names its cause when only the cause is left out.
    pub(crate) fn apply(&self, report: &mut Report) {
        let chosen = |code: &str, name: &str| {
            self.only.is_empty() || self.only.iter().any(|pattern| pattern.matches(code, name))
        };
        report.findings.retain(|finding| {
            chosen(&finding.code, &finding.name)
                && self.severity.is_none_or(|worst| finding.severity <= worst)
        });
        self.suppress(report);
        report.unknown.retain(|unknown| unknown.codes.iter().any(|code| chosen(code, &unknown.rule)));
        report.coverage.only = self.only.iter().map(|pattern| pattern.as_str().to_owned()).collect();
        report.coverage.severity = self.severity;
        report.count();
    }

    fn suppress(&self, report: &mut Report) {
        let now = report.bundle.collected_at.as_deref().and_then(|t| DateTime::parse_from_rfc3339(t).ok());
        let now = now.map(|now| now.to_utc());
        let mut counts = vec![0_usize; self.ignore.len()];
        report.findings.retain(|finding| {
            let mut hidden = false;
            for (at, ignored) in self.ignore.iter().enumerate() {
                if ignored.matches(finding) {
                    counts[at] += 1;
                    hidden |= !ignored.expired(now);
                }
            }
            !hidden
        });
        report.suppressions = self
            .ignore
            .iter()
            .zip(counts)
            .map(|(ignored, findings)| Suppression {
                code: ignored.pattern.as_str().to_owned(),
                object: ignored.object.as_ref().map(|object| object.typed.clone()),
                reason: Some(ignored.reason.clone()).filter(|reason| !reason.is_empty()),
                expires: ignored.expires.map(|date| date.to_string()),
                state: if ignored.expired(now) {
                    SuppressionState::Expired
                } else if findings == 0 {
                    SuppressionState::Unused
                } else {
                    SuppressionState::Applied
                },
                findings,
            })
            .collect();
    }
}
