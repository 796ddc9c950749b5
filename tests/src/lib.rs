//! The fakes: what end-to-end stories are told with.
//!
//! A whole Portcullis in the process of a test ([`planes`]) or as the real binary ([`binary`]), administrators and callers
//! who speak to it over real connections ([`admin`], [`client`]), upstream servers that do what they are told
//! ([`upstream`]), a control plane that a test drives itself ([`distribution`]), and a tap on the wire with the official
//! schemas ([`tap`], [`schema`]).
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a step of a test that fails fails the test"
)]
#![allow(missing_debug_implementations, reason = "nobody prints a fake")]

pub mod admin;
pub mod binary;
pub mod certificates;
pub mod client;
pub mod distribution;
pub mod patience;
pub mod planes;
pub mod schema;
pub mod tap;
pub mod upstream;

pub use client::Caller;
pub use planes::Portcullis;
pub use upstream::{Upstream, tool};
