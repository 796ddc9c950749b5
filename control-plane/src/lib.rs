//! The control plane: registry, approvals, keys, and the snapshots that are made of them.
//!
//! Rooms, from the ground up: `store` keeps what is true; `registry`, `keys`, `catalog` and `approvals` say what may change
//! in it; `publish` makes signed snapshots of it; `stream` hands them to data planes; `admin` is the API. Nothing below looks
//! up. [`start`] puts them together.
#![forbid(unsafe_code)]

pub mod admin;
pub mod approvals;
mod bootstrap;
pub mod catalog;
pub mod clock;
mod config;
mod grpc;
mod http;
pub mod keys;
mod metrics;
pub mod publish;
pub mod refusals;
pub mod registry;
mod run;
pub mod store;
pub mod stream;

pub use bootstrap::{ADMIN_TOKEN, BootstrapError};
pub use clock::Clock;
pub use config::Config;
pub use portcullis_listen::TlsFiles;
pub use run::{RunError, Running, StartError, start};
