//! Compiles the `.proto` files in Rust (protox), so that no `protoc` is needed on the machine.

use std::path::PathBuf;

use prost::Message as _;

const FILES: &[&str] = &[
    "portcullis/admin/v1/common.proto",
    "portcullis/admin/v1/resources.proto",
    "portcullis/admin/v1/keys.proto",
    "portcullis/admin/v1/approvals.proto",
    "portcullis/admin/v1/access.proto",
    "portcullis/admin/v1/operations.proto",
    "portcullis/admin/v1/reach.proto",
    "portcullis/admin/v1/servers.proto",
    "portcullis/admin/v1/usage.proto",
    "portcullis/config/v1/distribution.proto",
    "portcullis/lease/v1/lease.proto",
];

/// Messages whose derived `Debug` would print a secret, or what callers sent.
const WITH_SECRETS: &[&str] = &[
    "portcullis.config.v1.SecretPart",
    "portcullis.config.v1.SealingKey",
    "portcullis.admin.v1.SetSecretRequest",
    "portcullis.admin.v1.NewKey",
    "portcullis.admin.v1.CreatePlaneTokenResponse",
    "portcullis.admin.v1.CreateAdminTokenResponse",
    "portcullis.config.v1.CallAsk",
    "portcullis.admin.v1.HeldCall",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=portcullis");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // Messages with secrets or payloads get a Debug of their own (src/redact.rs) that shows none.
    let mut configure = tonic_prost_build::configure();
    for message in WITH_SECRETS {
        configure = configure.skip_debug([message]);
    }
    configure.bytes(".").build_transport(true).compile_fds(descriptors)?;
    Ok(())
}
