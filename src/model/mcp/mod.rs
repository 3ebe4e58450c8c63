//! What the MCP gateway's controller would decide, in its order: extensions, registrations, their chain.
