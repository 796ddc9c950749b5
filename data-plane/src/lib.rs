//! The data plane: the way of every call, from the listener to the upstream and back.
//!
//! `serve` knows HTTP and the eras, `pipeline` alone knows the order, and the rooms under it (`authn`, `lists`, `upstream`,
//! `ledger`) do not know each other. Beside them: `sync` (what is enforced), `metering` (what calls may use), `probe` (what upstreams offer), `ops`.
#![forbid(unsafe_code)]

pub mod authn;
pub mod config;
pub mod ledger;
pub mod lists;
pub mod metering;
pub mod ops;
pub mod pipeline;
pub mod probe;
pub mod recall;
mod run;
pub mod serve;
pub mod sync;
pub mod upstream;

pub use config::Config;
pub use portcullis_listen::TlsFiles;
pub use run::{Running, StartError, start};
