//! `planes list`, `planes token create|list|revoke`.

use std::collections::HashMap;

use portcullis_policy::resource::Name;
use portcullis_proto::admin::v1 as api;
use serde_json::json;

use crate::args::{AskArgs, PlaneTokenCommand, PlanesCommand};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, table::table, time};

pub(crate) async fn run(command: PlanesCommand) -> Result<(), Failure> {
    match command {
        PlanesCommand::List(AskArgs { output, server }) => {
            let client = Client::connect(&server).await?;
            let planes = client.planes().list_planes(api::ListPlanesRequest {}).await?.into_inner().planes;
            let items: Vec<_> = planes
                .iter()
                .map(|plane| {
                    json!({
                        "name": plane.name,
                        "labels": plane.labels,
                        "connected": plane.connected,
                        "since": time::rfc3339(plane.since_unix_ms),
                        "snapshotVersion": plane.snapshot_version,
                        "lastNack": plane.last_nack,
                        "softwareVersion": plane.software_version,
                        "probes": plane.probes,
                        "mcpUrl": plane.mcp_url,
                        "callsTotal": plane.calls_total,
                    })
                })
                .collect();
            output::print(output.output, &json!({ "items": items }), || {
                let rows = planes.iter().map(|plane| {
                    [
                        plane.name.clone(),
                        if plane.connected { "connected" } else { "gone" }.to_owned(),
                        time::ago(plane.since_unix_ms),
                        plane.snapshot_version.to_string(),
                        plane.probes.len().to_string(),
                        plane.calls_total.to_string(),
                        plane.mcp_url.clone(),
                        plane.last_nack.clone(),
                    ]
                });
                table(&["NAME", "STATE", "SINCE", "SNAPSHOT", "PROBES", "CALLS", "URL", "LAST REFUSAL"], rows)
            })
        }
        PlanesCommand::Token(command) => token(command).await,
    }
}

async fn token(command: PlaneTokenCommand) -> Result<(), Failure> {
    match command {
        PlaneTokenCommand::Create { labels, name, ask: AskArgs { output, server } } => {
            let labels = parse_labels(&labels)?;
            if !name.is_empty() {
                name.parse::<Name>().map_err(|error| Failure::usage_of("--name", error))?;
            }
            let client = Client::connect(&server).await?;
            let request = api::CreatePlaneTokenRequest { labels, plane_name: name };
            let reply = client.planes().create_plane_token(request).await?.into_inner();
            output::print(output.output, &json!({ "id": reply.id, "token": reply.token }), || {
                output::note(&format!("token {}: shown once, kept nowhere: store it now", reply.id));
                reply.token.clone()
            })
        }
        PlaneTokenCommand::List(AskArgs { output, server }) => {
            let client = Client::connect(&server).await?;
            let request = api::ListPlaneTokensRequest {};
            let tokens = client.planes().list_plane_tokens(request).await?.into_inner().tokens;
            let items: Vec<_> = tokens
                .iter()
                .map(|token| {
                    json!({
                        "id": token.id,
                        "labels": token.labels,
                        "planeName": token.plane_name,
                        "created": time::rfc3339(token.created_unix_ms),
                        "revoked": token.revoked,
                    })
                })
                .collect();
            output::print(output.output, &json!({ "items": items }), || {
                let rows = tokens.iter().map(|token| {
                    let state = if token.revoked { "revoked" } else { "valid" };
                    [
                        token.id.clone(),
                        token.plane_name.clone(),
                        time::ago(token.created_unix_ms),
                        state.to_owned(),
                    ]
                });
                table(&["ID", "PLANE", "AGE", "STATE"], rows)
            })
        }
        PlaneTokenCommand::Revoke { id, server } => {
            let client = Client::connect(&server).await?;
            let line = format!("plane token {id} revoked");
            client.planes().revoke_plane_token(api::RevokePlaneTokenRequest { id }).await?;
            output::line(&line)
        }
    }
}

/// `key=value` pairs.
pub(crate) fn parse_labels(labels: &[String]) -> Result<HashMap<String, String>, Failure> {
    labels
        .iter()
        .map(|label| match label.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Failure::usage(format!("label {label:?}: write key=value"))),
        })
        .collect()
}
