//! A call that waits for a person, told to a modern client that can ask its user to open a link: an `InputRequiredResult` with one
//! URL-mode elicitation (2026-07-28, multi round-trip requests and elicitation).

use serde_json::value::RawValue;

use super::{Answer, Asked, Detail, SERVER_INFO, decision, ok};
use crate::message;
use crate::names;
use crate::object::{self, push_quoted};
use portcullis_policy::Reason;

/// The name of the one input request, which the client's answer carries too.
const REQUEST: &str = "approval";

/// What the user of a client did about the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkAnswer {
    /// They agreed to open it. Whether somebody decided there is not said.
    Accepted,
    /// They did not.
    Declined,
}

/// The answer of a client in `params.inputResponses`; none where it gave none that can be understood.
#[must_use]
pub fn link_answer(params: &RawValue) -> Option<LinkAnswer> {
    let answer = object::member(object::member(params, "inputResponses")?, REQUEST)?;
    match object::string(object::member(answer, "action")?)?.as_ref() {
        "accept" => Some(LinkAnswer::Accepted),
        "decline" | "cancel" => Some(LinkAnswer::Declined),
        _ => None,
    }
}

/// Asks a user to have a call approved behind a link. `message` is for the user, `state` comes back with the retry.
#[must_use]
pub fn approval_by_link(id: &RawValue, asked: &Asked<'_>, url: &str, message: &str, state: &str) -> Answer {
    let mut out = String::with_capacity(512 + 2 * url.len() + message.len() + state.len());
    out.push_str("{\"resultType\":\"input_required\",\"inputRequests\":{");
    push_quoted(&mut out, REQUEST);
    out.push_str(":{\"method\":\"elicitation/create\",\"params\":{\"mode\":\"url\",\"url\":");
    push_quoted(&mut out, url);
    out.push_str(",\"message\":");
    push_quoted(&mut out, message);
    out.push_str("}}},\"requestState\":");
    push_quoted(&mut out, state);
    out.push_str(",\"_meta\":{");
    push_quoted(&mut out, names::DECISION);
    out.push(':');
    let detail = Detail { approval_url: Some(url), ..Detail::default() };
    out.push_str(&decision(Reason::ApprovalRequired, asked, &detail));
    out.push(',');
    push_quoted(&mut out, names::SERVER_INFO);
    out.push(':');
    out.push_str(SERVER_INFO);
    out.push_str("}}");
    ok(message::result(id, &out))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::respond::Subject;
    use crate::revision::Era;

    #[test]
    fn a_client_is_asked_to_open_a_link_and_its_answer_is_understood() {
        let id: Box<RawValue> = serde_json::from_str("7").unwrap();
        let asked =
            Asked { era: Era::Modern, id: Some(&id), subject: Subject::Tool("pay"), request_id: "r-1" };
        let url = "https://p.example/approvals/c-1";
        let answer = approval_by_link(&id, &asked, url, "A \"person\"\nis needed.", "sealed");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let result = &body["result"];
        assert_eq!(
            (answer.status.as_u16(), &body["id"], &result["resultType"]),
            (200, &json!(7), &json!("input_required"))
        );
        assert_eq!(
            result["inputRequests"],
            json!({"approval": {"method": "elicitation/create",
                "params": {"mode": "url", "url": url, "message": "A \"person\"\nis needed."}}})
        );
        assert_eq!(result["requestState"], "sealed");
        assert_eq!(
            result["_meta"]["portcullis/decision"],
            json!({"reason": "approval_required", "requestId": "r-1", "approvalUrl": url})
        );
        for (params, expected) in [
            (json!({"inputResponses": {"approval": {"action": "accept"}}}), Some(LinkAnswer::Accepted)),
            (json!({"inputResponses": {"approval": {"action": "decline"}}}), Some(LinkAnswer::Declined)),
            (json!({"inputResponses": {"approval": {"action": "cancel"}}}), Some(LinkAnswer::Declined)),
            (json!({"inputResponses": {"approval": {"action": 1}}}), None),
            (json!({"inputResponses": {"other": {"action": "accept"}}}), None),
            (json!({}), None),
        ] {
            let text = params.to_string();
            let params: &RawValue = serde_json::from_str(&text).unwrap();
            assert_eq!(link_answer(params), expected, "{text}");
        }
    }
}
