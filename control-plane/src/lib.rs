//! The control plane: registry, approvals, keys, and the snapshots that are made of them.
//!
//! Rooms, from the ground up: `store` keeps what is true; `objects` says what it means; `governance` says who may do what; `catalog` and `approvals` keep what
//! servers offer and what people decided of it; `publish` makes signed snapshots of it all and commits no change that would
//! not compile; `registry`, and `keys` and `rollout` over it, say what may change; `stream` hands snapshots to data planes, and `metering` what they may spend; `admin` is the
//! API. Nothing below looks up. [`start`] puts them together.
#![forbid(unsafe_code)]

pub mod admin;
pub mod approvals;
mod bootstrap;
pub mod catalog;
pub mod clock;
mod config;
pub mod governance;
mod grpc;
mod http;
pub mod keys;
mod metering;
mod metrics;
pub mod objects;
pub mod publish;
pub mod refusals;
pub mod registry;
pub mod review;
pub mod rollout;
mod run;
pub mod store;
pub mod stream;

pub use bootstrap::BootstrapError;
pub use clock::Clock;
pub use config::Config;
pub use portcullis_listen::TlsFiles;
pub use run::{RunError, Running, StartError, start};
