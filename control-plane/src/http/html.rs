//! The page of one approval: plain HTML without scripts, styles or anything from elsewhere. Every text of a stranger is made
//! visible first and escaped then.

use std::fmt::Write as _;

use crate::approvals::calls::{CallState, HeldCall, HeldCallDetail};
use crate::clock::rfc3339;
use crate::review::{visible, visible_line};

/// The longest text of a stranger in one line, in characters.
const MAX_LINE: usize = 1_000;
/// The longest input that is shown, in characters: more than is ever kept.
const MAX_INPUT: usize = 100_000;

/// A text that HTML takes for nothing but text.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn line(text: &str) -> String {
    escape(&visible_line(text, MAX_LINE))
}

/// A page that says one thing.
pub(super) fn notice(title: &str, words: &str) -> String {
    document(title, &format!("<h1>{}</h1>\n<p>{}</p>\n", escape(title), line(words)))
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(title)
    )
}

/// The page that everybody gets who has the link: what is asked, not what was sent, and how to decide.
pub(super) fn page(call: &HeldCall) -> String {
    let mut body = facts(call);
    if matches!(call.state, CallState::Pending | CallState::Approved | CallState::Denied) {
        body.push_str(&form(call));
    }
    document("Portcullis approval", &body)
}

/// The page for somebody with a token: with what was sent, as far as they may read it, and who decided.
pub(super) fn detail(detail: &HeldCallDetail) -> String {
    let call = &detail.call;
    let mut body = facts(call);
    body.push_str("<h2>Input</h2>\n");
    let _ = match &detail.input {
        Ok(input) => {
            writeln!(body, "<pre>{}</pre>", escape(&visible(&String::from_utf8_lossy(input), MAX_INPUT)))
        }
        Err(why) => writeln!(body, "<p>Not shown: {}.</p>", escape(why)),
    };
    let _ = writeln!(body, "<p>SHA-256 of it: <code>{}</code></p>", call.input_sha256.to_hex());
    let _ = writeln!(body, "<p>Pin of the tool: <code>{}</code></p>", call.pin);
    if let Some(needs) = &call.needs {
        let _ = writeln!(
            body,
            "<p>ApprovalRule/{} wants {} of {}; so far: {}.</p>",
            line(&needs.rule),
            needs.required,
            line(&needs.approvers.join(", ")),
            if needs.approved_by.is_empty() {
                "nobody".to_owned()
            } else {
                line(&needs.approved_by.join(", "))
            },
        );
    }
    if let Some(verdict) = &call.verdict {
        let _ = writeln!(
            body,
            "<p>Decided by {} at {}. {}</p>",
            line(&verdict.by),
            rfc3339(verdict.unix_ms),
            line(&verdict.message)
        );
    }
    if matches!(call.state, CallState::Pending | CallState::Approved | CallState::Denied) {
        body.push_str(&form(call));
    }
    document("Portcullis approval", &body)
}

fn facts(call: &HeldCall) -> String {
    let (title, words) = match call.state {
        CallState::Pending => {
            ("A call waits for approval", "Once approved, exactly this call goes through, once.")
        }
        CallState::Approved => ("This call is approved", "It goes through once, when the caller asks again."),
        CallState::Denied => ("This call is denied", "The caller is told so."),
        CallState::Expired => {
            ("This approval is over", "Nothing can be decided any more; the caller may ask again.")
        }
        CallState::Used => {
            ("This call went through", "The approval is used up; another call needs another one.")
        }
    };
    let mut out = format!("<h1>{title}</h1>\n<p>{words}</p>\n<table>\n");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "<tr><th align=\"left\">{name}</th><td>{value}</td></tr>");
    };
    row("Tool", &format!("{} of server {}", line(&call.tool), line(&call.server)));
    row("Caller", &line(&call.caller));
    // Their names were made visible where they came in.
    let mut arguments: Vec<String> = call
        .arguments
        .iter()
        .map(|argument| {
            format!("{} ({}, {} bytes)", escape(&argument.name), escape(&argument.kind), argument.bytes)
        })
        .collect();
    if call.more_arguments > 0 {
        arguments.push(format!("and {} more", call.more_arguments));
    }
    let none = || "none".to_owned();
    row("Arguments", &if arguments.is_empty() { none() } else { arguments.join("<br>") });
    row("Asked", &rfc3339(call.opened_unix_ms));
    row("Ends", &rfc3339(call.expires_unix_ms));
    row("Approval", &format!("<code>{}</code>", line(&call.id)));
    out.push_str("</table>\n");
    out
}

fn form(call: &HeldCall) -> String {
    let id = line(&call.id);
    format!(
        "<h2>Decide</h2>\n\
         <p>On the command line: <code>portcullis approve {id}</code> or <code>portcullis deny {id}</code></p>\n\
         <p>Or here, with an administrator's token that may decide:</p>\n\
         <form method=\"post\">\n\
         <p><label>Token <input type=\"password\" name=\"token\" required autocomplete=\"off\"></label></p>\n\
         <p><label>Message, for the history <input type=\"text\" name=\"message\" maxlength=\"400\"></label></p>\n\
         <p><button name=\"decision\" value=\"show\">Show what was sent</button>\n\
         <button name=\"decision\" value=\"approve\">Approve</button>\n\
         <button name=\"decision\" value=\"deny\">Deny</button></p>\n\
         </form>\n"
    )
}
