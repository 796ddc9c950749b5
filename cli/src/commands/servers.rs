//! `suspend`, `resume`, `retire`, `promote`.

use portcullis_proto::admin::v1 as api;
use serde_json::json;

use crate::args::{MoveServerArgs, PromoteArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, table::table};

pub(crate) async fn go(args: MoveServerArgs, go: api::ServerMove) -> Result<(), Failure> {
    let client = Client::connect(&args.ask.server).await?;
    let server = args.name.clone();
    let request = api::MoveServerRequest { server, r#move: go.into(), message: args.why.message };
    let reply = client.servers().move_server(request).await?.into_inner();
    let value = json!({ "server": args.name, "lifecycle": reply.lifecycle, "version": reply.version });
    output::print(args.ask.output.output, &value, || {
        format!("McpServer/{} is {}", args.name, reply.lifecycle)
    })
}

pub(crate) async fn promote(args: PromoteArgs) -> Result<(), Failure> {
    let client = Client::connect(&args.ask.server).await?;
    let request = api::PromoteServerRequest {
        server: args.name.clone(),
        to: args.to.unwrap_or_default(),
        force: args.force,
        message: args.why.message,
    };
    let reply = client.servers().promote_server(request).await?.into_inner();
    let checks = reply.checks.iter().map(|check| {
        json!({ "name": check.name, "measured": check.measured, "required": check.required, "passed": check.passed })
    });
    let value = json!({
        "server": args.name,
        "promoted": reply.promoted,
        "from": reply.from,
        "to": reply.to,
        "checks": checks.collect::<Vec<_>>(),
        "version": reply.version,
    });
    output::print(args.ask.output.output, &value, || {
        let rows = reply.checks.iter().map(|check| {
            let outcome = if check.passed { "passed" } else { "FAILED" };
            [check.name.clone(), outcome.to_owned(), check.measured.clone(), check.required.clone()]
        });
        let checks = table(&["CHECK", "OUTCOME", "MEASURED", "REQUIRED"], rows);
        let done = if reply.promoted {
            format!("McpServer/{} is open to {} (before: {})", args.name, reply.to, reply.from)
        } else {
            format!("McpServer/{} stays at {}", args.name, reply.from)
        };
        format!("{checks}\n{done}")
    })?;
    if reply.promoted {
        return Ok(());
    }
    let failed: Vec<_> =
        reply.checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str()).collect();
    Err(Failure::new(format!(
        "{} was not promoted: {} failed; --force --message TEXT goes on all the same",
        args.name,
        failed.join(", ")
    )))
}
