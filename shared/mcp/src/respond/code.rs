//! JSON-RPC error codes: those of JSON-RPC 2.0, and those that a revision of MCP defines.

/// The body is not JSON.
pub const PARSE_ERROR: i32 = -32700;
/// It is no JSON-RPC message.
pub const INVALID_REQUEST: i32 = -32600;
/// Nobody knows the method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// The parameters do not fit; since 2026-07-28 also a resource that is not there.
pub const INVALID_PARAMS: i32 = -32602;
/// The server's own fault.
pub const INTERNAL_ERROR: i32 = -32603;
/// A resource that is not there (2025-11-25 and earlier).
pub const RESOURCE_NOT_FOUND: i32 = -32002;
/// A URL has to be visited first (2025-11-25 only).
pub const URL_ELICITATION_REQUIRED: i32 = -32042;
/// Headers and body differ (2026-07-28).
pub const HEADER_MISMATCH: i32 = -32020;
/// The client did not declare what the request needs (2026-07-28).
pub const MISSING_CLIENT_CAPABILITY: i32 = -32021;
/// The version is not implemented (2026-07-28).
pub const UNSUPPORTED_PROTOCOL_VERSION: i32 = -32022;
/// The range that 2026-07-28 reserves for codes that MCP itself defines.
pub const RESERVED: std::ops::RangeInclusive<i64> = -32099..=-32020;
