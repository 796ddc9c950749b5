//! `approvals list`, `approvals show`, `approve`, `deny`.

use portcullis_control_plane::review::{self, Review, visible, visible_line};
use portcullis_proto::admin::v1 as api;
use serde_json::{Value, json};

use crate::args::{ApprovalsCommand, AskArgs, DecideArgs, ServerArgs, TargetArgs};
use crate::client::Client;
use crate::commands::resources::{change_json, field_line};
use crate::failure::Failure;
use crate::output::{
    self,
    table::{printable, table},
    time,
};

pub(crate) async fn run(command: ApprovalsCommand) -> Result<(), Failure> {
    match command {
        ApprovalsCommand::List { server_name, all, output, mut target } => {
            target.servers.extend(server_name);
            let (server, mcp_server) = split(target)?;
            let client = Client::connect(&server).await?;
            let request = api::ListApprovalsRequest { server: mcp_server, all };
            let approvals = client.approvals().list_approvals(request).await?.into_inner().approvals;
            let value = json!({ "items": approvals.iter().map(approval_json).collect::<Vec<_>>() });
            output::print(output.output, &value, || approvals_table(&approvals))
        }
        ApprovalsCommand::Reopen { ids, ask: AskArgs { output, server } } => {
            let client = Client::connect(&server).await?;
            let approvals =
                client.approvals().reopen(api::ReopenRequest { ids }).await?.into_inner().approvals;
            let value = json!({ "items": approvals.iter().map(approval_json).collect::<Vec<_>>() });
            output::print(output.output, &value, || approvals_table(&approvals))
        }
        ApprovalsCommand::Show { id, ask: AskArgs { output, server } } => {
            let client = Client::connect(&server).await?;
            let reply = client.approvals().get_approval(api::GetApprovalRequest { id }).await?.into_inner();
            if let Some(approval) = reply.approval.as_ref().filter(|one| one.kind == "proposal") {
                return show_proposal(approval, &reply.proposed_changes, output.output);
            }
            if let Some(call) = &reply.call {
                return show_call(&reply.approval.unwrap_or_default(), call, output.output);
            }
            let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
            let approval = reply.approval.unwrap_or_default();
            let mut value = approval_json(&approval);
            if let Some(value) = value.as_object_mut() {
                value.insert("definition".to_owned(), parsed(&reply.definition_json));
                value.insert("approvedDefinition".to_owned(), parsed(&reply.approved_definition_json));
                value.insert("review".to_owned(), parsed(&reply.review_json));
            }
            let review = serde_json::from_str::<Review>(&reply.review_json).ok();
            output::print(output.output, &value, || page(&approval, review.as_ref()))
        }
    }
}

/// A proposal: what it would change, field by field, and who has to agree.
fn show_proposal(
    approval: &api::Approval,
    changes: &[api::Change],
    format: crate::args::Format,
) -> Result<(), Failure> {
    let mut value = approval_json(approval);
    if let Some(value) = value.as_object_mut() {
        value.insert("changes".to_owned(), changes.iter().map(change_json).collect::<Vec<_>>().into());
    }
    output::print(format, &value, || {
        let mut lines = vec![approvals_table(std::slice::from_ref(approval)), String::new()];
        let why = match approval.proposed_message.as_str() {
            "" => String::new(),
            message => format!(": {message}"),
        };
        lines.push(printable(format!("proposed by {}{why}", approval.proposed_by)));
        for change in changes {
            lines.push(printable(format!("{}/{}", change.kind, change.name)));
            lines.extend(change.fields.iter().map(field_line).map(printable));
        }
        lines.join("\n")
    })
}

/// A call that waits: who asks for what, and what may be seen of it.
fn show_call(
    approval: &api::Approval,
    call: &api::HeldCall,
    format: crate::args::Format,
) -> Result<(), Failure> {
    let mut value = approval_json(approval);
    if let Some(value) = value.as_object_mut() {
        let arguments = call
            .arguments
            .iter()
            .map(|argument| json!({ "name": argument.name, "kind": argument.kind, "bytes": argument.bytes }));
        let input = serde_json::from_str::<Value>(&call.input_json).ok();
        value.insert(
            "call".to_owned(),
            json!({
                "key": call.key,
                "principal": { "kind": call.principal_kind, "subject": call.principal_subject },
                "pin": call.pin,
                "inputSha256": call.input_sha256,
                "inputBytes": call.input_bytes,
                "arguments": arguments.collect::<Vec<_>>(),
                "moreArguments": call.more_arguments,
                "input": input,
                "inputWithheld": Some(&call.withheld).filter(|why| !why.is_empty()),
                "url": call.url,
                "requestId": call.request_id,
                "usedBy": Some(&call.used_by).filter(|plane| !plane.is_empty()),
                "used": (call.used_unix_ms > 0).then(|| time::rfc3339(call.used_unix_ms)),
            }),
        );
    }
    output::print(format, &value, || call_page(approval, call))
}

fn call_page(approval: &api::Approval, call: &api::HeldCall) -> String {
    let line = |text: &str| visible_line(text, 1_000);
    let mut lines = vec![
        format!(
            "{}  call of {} of server {}: {}",
            approval.id,
            line(&approval.name),
            line(&approval.server),
            approval.state
        ),
        format!("asked by {}, {}", line(&approval.proposed_by), time::rfc3339(approval.opened_unix_ms)),
        format!("until {}", time::rfc3339(approval.expires_unix_ms)),
    ];
    if !approval.decided_by.is_empty() {
        let why = if approval.message.is_empty() {
            String::new()
        } else {
            format!(": {}", line(&approval.message))
        };
        let when = time::rfc3339(approval.decided_unix_ms);
        lines.push(format!("decided by {} at {when}{why}", line(&approval.decided_by)));
    }
    if !approval.rule.is_empty() {
        lines.push(format!("ApprovalRule/{}: {}", line(&approval.rule), line(&needed(approval))));
    }
    if !call.used_by.is_empty() {
        lines.push(format!(
            "went through on {} at {}",
            line(&call.used_by),
            time::rfc3339(call.used_unix_ms)
        ));
    }
    lines.push(String::new());
    lines.push(format!("arguments ({} bytes, sha256 {}):", call.input_bytes, call.input_sha256));
    let arguments = call.arguments.iter();
    lines.extend(arguments.map(|one| format!("  {}: {}, {} bytes", one.name, one.kind, one.bytes)));
    if call.more_arguments > 0 {
        lines.push(format!("  and {} more", call.more_arguments));
    }
    lines.push(match call.input_json.as_str() {
        "" => format!("their values are not shown: {}", line(&call.withheld)),
        input => visible(input, 100_000),
    });
    lines.push(format!("page: {}", line(&call.url)));
    lines.join("\n")
}

pub(crate) async fn decide(args: DecideArgs, approve: bool) -> Result<(), Failure> {
    let (server, mcp_server) = split(args.target)?;
    if !args.all && !mcp_server.is_empty() {
        return Err(Failure::usage(format!(
            "--server {mcp_server} needs --all: it narrows all that wait; ids name their server already"
        )));
    }
    if !args.all && args.ids.is_empty() {
        return Err(Failure::usage("name the ids to decide, or say --all"));
    }
    let client = Client::connect(&server).await?;
    let request = api::DecideRequest {
        ids: args.ids,
        all_pending: args.all,
        server: mcp_server,
        approve,
        message: args.why.message,
    };
    let approvals = client.approvals().decide(request).await?.into_inner().approvals;
    let value = json!({ "items": approvals.iter().map(approval_json).collect::<Vec<_>>() });
    output::print(args.output.output, &value, || {
        if approvals.is_empty() { "nothing waits".to_owned() } else { approvals_table(&approvals) }
    })
}

/// The control plane, and the MCP server; empty when none is named.
fn split(args: TargetArgs) -> Result<(ServerArgs, String), Failure> {
    let is_url = |text: &String| text.contains("://");
    let (urls, names): (Vec<_>, Vec<_>) = args.servers.into_iter().partition(is_url);
    if urls.len() > 1 || names.len() > 1 {
        return Err(Failure::usage("--server names one MCP server and one control plane at most"));
    }
    let server =
        ServerArgs { server: urls.into_iter().next().unwrap_or(args.control_plane), access: args.access };
    Ok((server, names.into_iter().next().unwrap_or_default()))
}

fn approval_json(approval: &api::Approval) -> Value {
    let mut value = json!({
        "id": approval.id,
        "kind": approval.kind,
        "server": approval.server,
        "name": approval.name,
        "change": approval.change,
        "state": approval.state,
        "fingerprint": approval.fingerprint,
        "opened": time::rfc3339(approval.opened_unix_ms),
        "risk": approval.risk.as_ref().map(|risk| json!({
            "highest": Some(&risk.highest).filter(|highest| !highest.is_empty()),
            "findings": risk.findings,
        })),
    });
    if let (Some(value), false) = (value.as_object_mut(), approval.decided_by.is_empty()) {
        value.insert("decidedBy".to_owned(), approval.decided_by.clone().into());
        value.insert("decided".to_owned(), time::rfc3339(approval.decided_unix_ms).into());
        value.insert("message".to_owned(), approval.message.clone().into());
    }
    if let (Some(value), false) = (value.as_object_mut(), approval.proposed_by.is_empty()) {
        value.insert("proposedBy".to_owned(), approval.proposed_by.clone().into());
        value.insert("proposedMessage".to_owned(), approval.proposed_message.clone().into());
    }
    if let (Some(value), "call") = (value.as_object_mut(), approval.kind.as_str()) {
        value.insert("expires".to_owned(), time::rfc3339(approval.expires_unix_ms).into());
    }
    if let (Some(value), false) = (value.as_object_mut(), approval.rule.is_empty()) {
        value.insert("rule".to_owned(), approval.rule.clone().into());
        value.insert("required".to_owned(), approval.required.into());
        value.insert("approvers".to_owned(), approval.approvers.clone().into());
        value.insert("approvedBy".to_owned(), approval.approved_by.clone().into());
        value.insert("expires".to_owned(), time::rfc3339(approval.expires_unix_ms).into());
    }
    value
}

/// Who approved so far, and who is still needed.
fn needed(approval: &api::Approval) -> String {
    if approval.rule.is_empty() {
        return "-".to_owned();
    }
    let count = format!("{}/{}", approval.approved_by.len(), approval.required);
    let by = match approval.approved_by.as_slice() {
        [] => String::new(),
        people => format!(" ({})", people.join(", ")),
    };
    format!("{count}{by} of {}", approval.approvers.join(", "))
}

fn approvals_table(approvals: &[api::Approval]) -> String {
    let rows = approvals.iter().map(|approval| {
        [
            approval.id.clone(),
            approval.kind.clone(),
            approval.server.clone(),
            match approval.kind.as_str() {
                "call" => format!("{} for {}", approval.name, approval.proposed_by),
                _ => approval.name.clone(),
            },
            approval.change.clone(),
            approval.state.clone(),
            risk(approval),
            needed(approval),
            time::ago(approval.opened_unix_ms),
        ]
    });
    table(&["ID", "KIND", "SERVER", "NAME", "CHANGE", "STATE", "RISK", "APPROVED", "AGE"], rows)
}

/// The highest severity and the number of findings: `high (3)`; `none`; `-` where nobody looked.
fn risk(approval: &api::Approval) -> String {
    match &approval.risk {
        None => "-".to_owned(),
        Some(risk) if risk.findings == 0 => "none".to_owned(),
        Some(risk) => format!("{} ({})", risk.highest, risk.findings),
    }
}

/// One approval for people: what it is, what the review found, and what changed.
fn page(approval: &api::Approval, review: Option<&Review>) -> String {
    let line = |text: &str| visible_line(text, 1_000);
    let mut out = format!(
        "{}  {} {} of server {}: {}, {}\n",
        line(&approval.id),
        line(&approval.kind),
        line(&approval.name),
        line(&approval.server),
        line(&approval.change),
        line(&approval.state),
    );
    if !approval.decided_by.is_empty() {
        let why = if approval.message.is_empty() {
            String::new()
        } else {
            format!(": {}", line(&approval.message))
        };
        let when = time::rfc3339(approval.decided_unix_ms);
        out.push_str(&format!(
            "{} by {} at {when}{why}\n",
            line(&approval.state),
            line(&approval.decided_by)
        ));
    }
    out.push('\n');
    match review {
        Some(review) => out.push_str(&review::text(review)),
        None => out.push_str(
            "The server offers it no longer, and it was never approved: there is nothing to show.\n",
        ),
    }
    out
}
