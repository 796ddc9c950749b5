//! The generated gRPC code, and nothing else.
//!
//! The `.proto` files beside this crate are the source; comments there are the documentation.
#![forbid(unsafe_code)]
#![allow(missing_docs, unreachable_pub, clippy::all)]

mod redact;

/// `portcullis.admin.v1`: everything that the command line does.
pub mod admin {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("portcullis.admin.v1");
    }
}

/// `portcullis.config.v1`: how a data plane receives what it enforces.
pub mod config {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("portcullis.config.v1");
    }
}

/// `portcullis.lease.v1`: how data planes come by what they may spend.
pub mod lease {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("portcullis.lease.v1");
    }
}

/// The encoded descriptors of all packages, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
