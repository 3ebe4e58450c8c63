//! Collecting from a cluster: the plan (what to follow), the client, one collector per kind of evidence.
