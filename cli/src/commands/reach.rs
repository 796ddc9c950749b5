//! `who-can` and `what-can`: who reaches what, by the snapshot in force.

use portcullis_proto::admin::v1 as api;
use serde_json::Value;

use crate::args::{WhatCanArgs, WhoCanArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, table::table};

pub(crate) async fn who_can(args: WhoCanArgs) -> Result<(), Failure> {
    let client = Client::connect(&args.ask.server).await?;
    let request = api::WhoCanRequest { name: args.tool, prompt: args.prompt, why: args.why };
    let reply = client.reach().who_can(request).await?.into_inner();
    let value = read(&reply.json)?;
    output::print(args.ask.output.output, &value, || who_table(&value))
}

pub(crate) async fn what_can(args: WhatCanArgs) -> Result<(), Failure> {
    let client = Client::connect(&args.ask.server).await?;
    let reply = client.reach().what_can(api::WhatCanRequest { key: args.key, why: args.why }).await?;
    let value = read(&reply.into_inner().json)?;
    output::print(args.ask.output.output, &value, || what_table(&value))
}

fn read(json: &str) -> Result<Value, Failure> {
    serde_json::from_str(json).map_err(|error| Failure::of("the answer", error))
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

/// What is reached and then what is denied, each with what is told of it last.
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    ["items", "denied"].into_iter().filter_map(|list| value.get(list)?.as_array()).flatten()
}

/// A permit by its grant, a denial by its reason.
fn outcome(item: &Value) -> String {
    item.get("reason").and_then(Value::as_str).unwrap_or("permit").to_owned()
}

fn who_table(value: &Value) -> String {
    let rows = items(value).map(|item| {
        [
            text(item, "key"),
            format!("{}:{}", text(item, "principalKind"), text(item, "subject")),
            text(item, "team"),
            text(item, "zone"),
            text(item, "via"),
            outcome(item),
            text(item, "rule"),
        ]
    });
    let mut out = table(&["KEY", "PRINCIPAL", "TEAM", "ZONE", "VIA", "OUTCOME", "RULE"], rows);
    let count = value.get("items").and_then(Value::as_array).map_or(0, Vec::len);
    let held = if value.get("approval").is_some() { ", a person approves each call" } else { "" };
    out.push_str(&format!(
        "\n\n{} {}/{} in zone {}, {}{held}: {count} keys reach it, {} have no grant for it, snapshot {}",
        text(value, "kind"),
        text(value, "server"),
        text(value, "name"),
        text(value, "zone"),
        text(value, "state"),
        value.get("notGranted").unwrap_or(&Value::Null),
        value.get("snapshotVersion").unwrap_or(&Value::Null),
    ));
    out
}

fn what_table(value: &Value) -> String {
    let rows = items(value).map(|item| {
        let endpoints = item.get("endpoints").and_then(Value::as_object).into_iter().flatten();
        let names: Vec<String> = endpoints
            .map(|(path, name)| match name.as_str() {
                // Resources have no names of their own at an endpoint.
                Some(name) if text(item, "kind") != "resources" => format!("{path} {name}"),
                _ => path.clone(),
            })
            .collect();
        [
            text(item, "kind"),
            text(item, "server"),
            text(item, "name"),
            text(item, "zone"),
            text(item, "approval"),
            outcome(item),
            text(item, "rule"),
            if names.is_empty() { "-".to_owned() } else { names.join(", ") },
        ]
    });
    let mut out =
        table(&["KIND", "SERVER", "NAME", "ZONE", "APPROVAL", "OUTCOME", "RULE", "ENDPOINTS"], rows);
    let count = value.get("items").and_then(Value::as_array).map_or(0, Vec::len);
    out.push_str(&format!(
        "\n\n{} reaches {count}, snapshot {}",
        text(value, "key"),
        value.get("snapshotVersion").unwrap_or(&Value::Null),
    ));
    if let Some(closed) = value.get("closed") {
        out.push_str(&format!(
            "; the key opens nothing: {} by {}",
            text(closed, "reason"),
            text(closed, "rule")
        ));
    }
    out
}
