//! CEL expressions: parsing, free names and functions per environment.
