//! MG210-MG217: HTTPRoutes, how they attach and what they point at.

use super::Rule;

/// The rules of this subject, in the order of the catalogue.
pub(super) static RULES: &[&Rule] = &[];
