//! The demonstration: a small MCP server that is part of the binary, and the resources that `up --demo` applies.

pub(crate) mod resources;
pub(crate) mod server;
