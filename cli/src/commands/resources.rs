//! `apply`, `plan`, `get`, `describe`, `delete`, `history`.

mod columns;
mod effect;

use portcullis_policy::resource::Kind;
use portcullis_proto::admin::v1 as api;
use serde_json::{Value, json};

use crate::args::{ApplyArgs, DeleteArgs, Format, GetArgs, HistoryArgs, NamedArgs, PlanArgs, RollbackArgs};
use crate::client::Client;
use crate::commands::{replay, sources};
use crate::failure::{Failure, problem_line};
use crate::output::{self, table::table, time};

pub(crate) async fn apply(args: ApplyArgs) -> Result<(), Failure> {
    let files = sources::read(&args.sources.files)?;
    let client = Client::connect(&args.ask.server).await?;
    let request =
        api::ApplyRequest { files, dry_run: args.dry_run, message: args.why.message, full: args.names.full };
    let reply = client.resources().apply(request).await?.into_inner();
    print_apply(&reply, args.dry_run, args.ask.output.output)
}

pub(crate) async fn plan(args: PlanArgs) -> Result<(), Failure> {
    let files = sources::read(&args.sources.files)?;
    if let Some(window) = args.replay {
        let start = replay::Start { files, window: window.0, full: args.names.full };
        let client = Client::connect(&args.ask.server).await?;
        let (plan, replayed) = replay::ask(&client, start, &args.ask.server.access.data_dir).await?;
        return print_plan(&plan, true, args.ask.output.output, Some(&replayed));
    }
    let client = Client::connect(&args.ask.server).await?;
    let request = api::ApplyRequest { files, dry_run: true, message: String::new(), full: args.names.full };
    let reply = client.resources().apply(request).await?.into_inner();
    print_apply(&reply, true, args.ask.output.output)
}

pub(crate) async fn rollback(args: RollbackArgs) -> Result<(), Failure> {
    let client = Client::connect(&args.ask.server).await?;
    let request = api::RollbackRequest {
        version: args.version,
        message: args.why.message,
        dry_run: args.dry_run,
        full: args.names.full,
    };
    let reply = client.resources().rollback(request).await?.into_inner().applied.unwrap_or_default();
    print_apply(&reply, args.dry_run, args.ask.output.output)
}

fn print_apply(reply: &api::ApplyResponse, dry_run: bool, format: Format) -> Result<(), Failure> {
    print_plan(reply, dry_run, format, None)
}

fn print_plan(
    reply: &api::ApplyResponse,
    dry_run: bool,
    format: Format,
    replayed: Option<&Value>,
) -> Result<(), Failure> {
    for warning in &reply.warnings {
        output::note(&format!("warning: {}", problem_line(warning)));
    }
    let effect: Value = match reply.effect_json.as_str() {
        "" => Value::Null,
        json => serde_json::from_str(json).map_err(|error| Failure::of("the answer", error))?,
    };
    let mut value = json!({
        "version": reply.version,
        "dryRun": dry_run,
        "changes": reply.changes.iter().map(change_json).collect::<Vec<_>>(),
        "keys": reply.keys.iter().map(key_json).collect::<Vec<_>>(),
        "warnings": reply.warnings.iter().map(problem_line).collect::<Vec<_>>(),
    });
    if let (Some(value), Some(proposed)) = (value.as_object_mut(), &reply.proposal) {
        value.insert("proposal".to_owned(), proposed_json(proposed));
    }
    if let (Some(value), Value::Object(_)) = (value.as_object_mut(), &effect) {
        value.insert("effect".to_owned(), effect.clone());
    }
    if let (Some(value), Some(replayed)) = (value.as_object_mut(), replayed) {
        value.insert("replay".to_owned(), replayed.clone());
    }
    output::print(format, &value, || {
        let mut lines = Vec::new();
        for change in &reply.changes {
            lines.push(format!(
                "{}/{} {}",
                change.kind,
                change.name,
                verb(change, dry_run || reply.proposal.is_some())
            ));
            if dry_run {
                lines.extend(change.fields.iter().map(field_line));
            }
        }
        for key in &reply.keys {
            lines.push(format!(
                "\nkey {}: {}\n  shown once, kept nowhere: store it now",
                key.name, key.secret
            ));
        }
        if dry_run && reply.changes.iter().all(|change| change.change() == api::ChangeKind::Unchanged) {
            lines.push("nothing would change".to_owned());
        }
        lines.extend(reply.proposal.as_ref().map(proposed_line));
        let told = effect::lines(&effect);
        if !told.is_empty() {
            lines.push(String::new());
            lines.extend(told);
        }
        if let Some(replayed) = replayed {
            lines.push(format!("\n{}", replay::told(replayed)));
        }
        lines.join("\n")
    })
}

fn proposed_json(proposed: &api::Proposed) -> Value {
    json!({
        "id": proposed.id,
        "changes": proposed.changes,
        "rules": proposed.rules,
        "approvers": proposed.approvers,
        "required": proposed.required,
    })
}

/// What the author is told of a change that is not in force.
fn proposed_line(proposed: &api::Proposed) -> String {
    let api::Proposed { id, changes, rules, approvers, required } = proposed;
    let who = format!("{required} of {}", approvers.join(", "));
    let why = format!("{} needs approval by {who} (ApprovalRule/{})", changes.join(", "), rules.join(", "));
    if id.is_empty() {
        format!("{why}: applied, it would be kept as a proposal and not be in force")
    } else {
        format!("not in force: {why}; it waits as {id}, to be looked at with `approvals show {id}`")
    }
}

fn verb(change: &api::Change, dry_run: bool) -> &'static str {
    match (change.change(), dry_run) {
        (api::ChangeKind::Created, false) => "created",
        (api::ChangeKind::Created, true) => "would be created",
        (api::ChangeKind::Changed, false) => "changed",
        (api::ChangeKind::Changed, true) => "would change",
        (api::ChangeKind::Deleted, false) => "deleted",
        (api::ChangeKind::Deleted, true) => "would be deleted",
        (api::ChangeKind::Unchanged | api::ChangeKind::Unspecified, _) => "unchanged",
    }
}

pub(crate) fn field_line(field: &api::FieldChange) -> String {
    let or_none = |text: &str| if text.is_empty() { "(none)".to_owned() } else { text.to_owned() };
    format!("  {}: {} -> {}", field.path, or_none(&field.before), or_none(&field.after))
}

pub(crate) fn key_json(key: &api::NewKey) -> Value {
    json!({ "name": key.name, "uid": key.uid, "secret": key.secret })
}

pub(crate) fn change_json(change: &api::Change) -> Value {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    json!({
        "change": change.change().as_str_name().trim_start_matches("CHANGE_KIND_").to_ascii_lowercase(),
        "kind": change.kind,
        "name": change.name,
        "uid": change.uid,
        "fields": change.fields.iter().map(|field| json!({
            "path": field.path, "before": parsed(&field.before), "after": parsed(&field.after),
        })).collect::<Vec<_>>(),
    })
}

/// The document with its uid, version and status.
fn resource_json(resource: &api::Resource) -> Value {
    let mut document: Value = serde_json::from_str(&resource.json).unwrap_or_else(|_| json!({}));
    if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".to_owned(), resource.uid.clone().into());
        metadata.insert("version".to_owned(), resource.version.into());
    }
    if let Ok(status @ Value::Object(_)) = serde_json::from_str(&resource.status_json)
        && let Some(document) = document.as_object_mut()
    {
        document.insert("status".to_owned(), status);
    }
    document
}

fn kind(text: &str) -> Result<Kind, Failure> {
    Kind::parse(text).ok_or_else(|| {
        let known: Vec<_> =
            Kind::ALL.iter().map(|kind| format!("{} ({})", kind.as_str(), kind.plural())).collect();
        Failure::usage(format!("{text:?} is no kind; kinds are {}", known.join(", ")))
    })
}

pub(crate) async fn get(args: GetArgs) -> Result<(), Failure> {
    let kind = kind(&args.kind)?;
    let client = Client::connect(&args.ask.server).await?;
    let format = args.ask.output.output;
    if args.watch {
        return watch(&client, kind.as_str().to_owned(), args.name.unwrap_or_default(), format).await;
    }
    if let Some(name) = args.name {
        let request = api::GetRequest { kind: kind.as_str().to_owned(), name };
        let resource = client.resources().get(request).await?.into_inner().resource.unwrap_or_default();
        return output::print(format, &resource_json(&resource), || {
            resources_table(kind, std::slice::from_ref(&resource))
        });
    }
    let reply =
        client.resources().list(api::ListRequest { kind: kind.as_str().to_owned() }).await?.into_inner();
    let items: Vec<_> = reply.resources.iter().map(resource_json).collect();
    output::print(format, &json!({ "items": items }), || resources_table(kind, &reply.resources))
}

async fn watch(client: &Client, kind: String, name: String, format: Format) -> Result<(), Failure> {
    let mut events = client.resources().watch(api::WatchRequest { kind, name }).await?.into_inner();
    while let Some(event) = events.message().await? {
        let change = event.change().as_str_name().trim_start_matches("CHANGE_KIND_").to_ascii_lowercase();
        let resource = event.resource.unwrap_or_default();
        match format {
            Format::Table => output::line(&format!(
                "{change}\t{}/{}\tv{}",
                resource.kind, resource.name, resource.version
            ))?,
            Format::Json => {
                output::line(&json!({ "change": change, "resource": resource_json(&resource) }).to_string())?
            }
            Format::Yaml => {
                output::line("---")?;
                output::print(
                    format,
                    &json!({ "change": change, "resource": resource_json(&resource) }),
                    String::new,
                )?;
            }
        }
    }
    Err(Failure::new("the control plane ended the watch"))
}

fn resources_table(kind: Kind, resources: &[api::Resource]) -> String {
    let documents: Vec<_> = resources.iter().map(resource_json).collect();
    columns::table_of(kind, &documents)
}

pub(crate) async fn describe(args: NamedArgs) -> Result<(), Failure> {
    let kind = kind(&args.kind)?;
    let client = Client::connect(&args.ask.server).await?;
    let request = api::GetRequest { kind: kind.as_str().to_owned(), name: args.name.clone() };
    let resource = client.resources().get(request).await?.into_inner().resource.unwrap_or_default();
    let request =
        api::HistoryRequest { kind: kind.as_str().to_owned(), name: args.name, limit: 10, before_version: 0 };
    let history = client.resources().history(request).await?.into_inner().entries;
    let mut document = resource_json(&resource);
    if let Some(document) = document.as_object_mut() {
        document.insert("history".to_owned(), history.iter().map(history_json).collect::<Vec<_>>().into());
    }
    let mut readable = document.clone();
    columns::times(&mut readable);
    let text = serde_saphyr::to_string(&readable).map_err(|error| Failure::of("YAML", error))?;
    output::print(args.ask.output.output, &document, || text)
}

pub(crate) async fn delete(args: DeleteArgs) -> Result<(), Failure> {
    let kind = kind(&args.kind)?;
    let client = Client::connect(&args.server).await?;
    let kind = kind.as_str().to_owned();
    let line = format!("{kind}/{} deleted", args.name);
    let request = api::DeleteRequest { kind, name: args.name, message: args.why.message };
    let proposal = client.resources().delete(request).await?.into_inner().proposal;
    output::line(&proposal.as_ref().map_or(line, proposed_line))
}

fn history_json(entry: &api::HistoryEntry) -> Value {
    json!({
        "version": entry.version,
        "time": time::rfc3339(entry.unix_ms),
        "author": entry.author,
        "message": entry.message,
        "changes": entry.changes.iter().map(change_json).collect::<Vec<_>>(),
    })
}

pub(crate) async fn history(args: HistoryArgs) -> Result<(), Failure> {
    let kind =
        args.kind.as_deref().map(kind).transpose()?.map(|kind| kind.as_str().to_owned()).unwrap_or_default();
    let client = Client::connect(&args.ask.server).await?;
    let request = api::HistoryRequest {
        kind,
        name: args.name.unwrap_or_default(),
        limit: args.limit,
        before_version: 0,
    };
    let entries = client.resources().history(request).await?.into_inner().entries;
    let value = json!({ "items": entries.iter().map(history_json).collect::<Vec<_>>() });
    output::print(args.ask.output.output, &value, || {
        let rows = entries.iter().map(|entry| {
            let changes: Vec<_> = entry
                .changes
                .iter()
                .map(|change| format!("{}/{} {}", change.kind, change.name, verb(change, false)))
                .collect();
            let shown = match changes.as_slice() {
                [first, second, third, rest @ ..] if !rest.is_empty() => {
                    format!("{first}, {second}, {third} and {} more", rest.len())
                }
                all => all.join(", "),
            };
            [
                entry.version.to_string(),
                time::rfc3339(entry.unix_ms),
                entry.author.clone(),
                entry.message.clone(),
                shown,
            ]
        });
        table(&["VERSION", "TIME", "AUTHOR", "MESSAGE", "CHANGES"], rows)
    })
}
