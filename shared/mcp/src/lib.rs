#![forbid(unsafe_code)]
//! What both planes must agree on about MCP: the JSON-RPC envelope, headers, eras, and the one table from `Reason` to an answer.
//!
//! No IO, no clock, no policy: text goes in, text comes out. Revisions up to 2025-11-25 are *legacy* (`initialize`,
//! sessions), 2026-07-28 and later are *modern* (stateless, `_meta` on every request).

pub mod edit;
pub mod envelope;
pub mod handshake;
pub mod headers;
pub mod message;
pub mod methods;
pub mod names;
pub mod object;
pub mod preflight;
mod raw;
pub mod respond;
pub mod revision;
mod scan;
#[cfg(test)]
mod schemas;
mod span;
pub mod sse;
pub mod translate;

pub use edit::{Edit, EditError, edit_object};
pub use envelope::{MalformedMessage, Message, Meta, Params, parse, parse_upstream};
pub use headers::{HeaderMismatch, HeaderParam};
pub use methods::Method;
pub use preflight::check_modern;
pub use revision::{Era, LEGACY_OFFERED, MODERN_OFFERED, Revision, era_of_request};
pub use span::Span;
pub use translate::CallerFacts;
