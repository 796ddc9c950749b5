//! `snapshot show`.

use std::collections::BTreeMap;

use portcullis_proto::admin::v1 as api;
use serde_json::json;

use crate::args::{AskArgs, SnapshotCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, time};

pub(crate) async fn run(command: SnapshotCommand) -> Result<(), Failure> {
    let SnapshotCommand::Show(AskArgs { output, server }) = command;
    let client = Client::connect(&server).await?;
    let reply = client.policy().get_snapshot(api::GetSnapshotRequest {}).await?.into_inner();
    let entries: BTreeMap<_, _> = reply.entries.iter().collect();
    let value = json!({
        "version": reply.version,
        "digest": reply.digest,
        "built": time::rfc3339(reply.built_unix_ms),
        "entries": entries,
        "keyId": reply.key_id,
        "reports": reply.reports,
    });
    output::print(output.output, &value, || {
        let mut lines = vec![
            format!("version  {}", reply.version),
            format!("digest   {}", reply.digest),
            format!("built    {}", time::rfc3339(reply.built_unix_ms)),
            format!("key id   {}", reply.key_id),
        ];
        lines.extend(entries.iter().map(|(kind, count)| format!("{kind:<8} {count}")));
        lines.extend(reply.reports.iter().map(|report| format!("report   {report}")));
        lines.join("\n")
    })
}
