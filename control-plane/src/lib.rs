//! The control plane: registry, approvals, keys, and the snapshots that are made of them.
//!
//! Rooms, from the ground up: `store` keeps what is true; `registry`, `keys`, `catalog` and `approvals` say what may change
//! in it; `publish` makes signed snapshots of it; `stream` hands them to data planes; `admin` is the API. Nothing below looks
//! up.
#![forbid(unsafe_code)]

pub mod admin;
pub mod approvals;
pub mod catalog;
pub mod keys;
pub mod publish;
pub mod registry;
pub mod store;
pub mod stream;
