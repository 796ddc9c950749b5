//! Strings that the protocol fixes: `_meta` keys, and ours.

/// The member of `params` and results that carries metadata.
pub const META: &str = "_meta";
/// `_meta`: protocol version of a modern request.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// `_meta`: who the client says it is.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// `_meta`: what the client can do for this request.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// `_meta`: the least severe log level wanted.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// `_meta` of notifications: which `subscriptions/listen` they belong to.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// `_meta` of results: who the server says it is.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// `_meta`: ties progress notifications to a request.
pub const PROGRESS_TOKEN: &str = "progressToken";
/// `_meta`: W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// `_meta`: W3C trace context.
pub const TRACESTATE: &str = "tracestate";
/// `_meta`: W3C baggage.
pub const BAGGAGE: &str = "baggage";
/// `_meta` of a refused `tools/call`: `{reason, requestId, retryAfterMs?, approvalUrl?}`.
pub const DECISION: &str = "portcullis/decision";

/// Keys of `_meta` that speak about one hop of the modern protocol and never reach a legacy peer.
pub const HOP_KEYS: &[&str] =
    &[PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL, SUBSCRIPTION_ID];
