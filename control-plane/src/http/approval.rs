//! `/approvals/{id}`: what a link to a call that waits leads to. To look needs the link alone, to decide an administrator's token
//! in the form: it is never in the address, and nothing else that a browser brings along gives any right.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, LOCATION, ORIGIN, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming as Body;
use portcullis_policy::resource::Right;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use super::Pages;
use super::attempts::TooMany;
use super::html;
use crate::approvals::ApprovalError;
use crate::approvals::calls::Calls;
use crate::governance::{Actor, Identity};

/// What the path of every page begins with.
pub(super) const PATH: &str = "/approvals/";
/// The largest form, in bytes.
const MAX_FORM: usize = 8 << 10;
/// How long a form may take.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// What the form says.
#[derive(Default)]
struct Form {
    token: String,
    decision: String,
    message: String,
}

/// Answers a request for the page of an approval.
pub(super) async fn answer(pages: &Pages, request: Request<Body>, peer: SocketAddr) -> Response<Full<Bytes>> {
    let id = request.uri().path().strip_prefix(PATH).unwrap_or_default().to_owned();
    match *request.method() {
        Method::GET | Method::HEAD => match pages.calls.get(&id, false) {
            Ok(detail) => html(StatusCode::OK, html::page(&detail.call)),
            Err(error) => refused(&error),
        },
        Method::POST => match posted(pages, &id, request, peer).await {
            Ok(response) | Err(response) => response,
        },
        _ => {
            let mut response =
                notice(StatusCode::METHOD_NOT_ALLOWED, "This page is read, or its form is sent.");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            response
        }
    }
}

/// A form that was sent. Both sides are answers; the right one did what was asked.
async fn posted(
    pages: &Pages,
    id: &str,
    request: Request<Body>,
    peer: SocketAddr,
) -> Result<Response<Full<Bytes>>, Response<Full<Bytes>>> {
    if !is_own(&request, &pages.calls) {
        return Err(notice(
            StatusCode::FORBIDDEN,
            "This form was sent from another site. Open the link and decide there.",
        ));
    }
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim() != "application/x-www-form-urlencoded" {
        return Err(notice(StatusCode::UNSUPPORTED_MEDIA_TYPE, "A decision is sent as a form."));
    }
    let from = peer.ip();
    pages.attempts.may_try(from).map_err(|TooMany(seconds)| {
        let words = format!("Too many wrong tokens came from this address. Try again in {seconds} s.");
        let mut response = notice(StatusCode::TOO_MANY_REQUESTS, &words);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        response
    })?;
    let body = timeout(FORM_TIMEOUT, Limited::new(request.into_body(), MAX_FORM).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return Err(notice(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large, or broke off."));
        }
        Err(_) => return Err(notice(StatusCode::REQUEST_TIMEOUT, "The form took too long.")),
    };
    let form = Form::read(&body);
    let Some(identity) =
        pages.authn.admit(Some(form.token.trim()).filter(|text| !text.is_empty()), Some(&peer))
    else {
        pages.attempts.wrong(from);
        return Err(notice(
            StatusCode::FORBIDDEN,
            "This is no administrator's token that is valid now. Nothing was decided.",
        ));
    };
    let approve = match form.decision.as_str() {
        "approve" => true,
        "deny" => false,
        "show" => {
            if let Some(refused) = lacks(&identity, Right::ApprovalsRead) {
                return Err(refused);
            }
            let detail = pages
                .calls
                .get(id, identity.rights.has(Right::PayloadsRead))
                .map_err(|error| refused(&error))?;
            return Ok(html(StatusCode::OK, html::detail(&detail)));
        }
        _ => return Err(notice(StatusCode::BAD_REQUEST, "A decision is approve, deny, or show.")),
    };
    if let Some(refused) = lacks(&identity, Right::ApprovalsDecide) {
        return Err(refused);
    }
    let decided = pages.calls.decide(&Actor::from(identity), &[id.to_owned()], approve, &form.message).await;
    decided.map_err(|error| refused(&error))?;
    // The page again, by its own address: what was sent is not sent again with it.
    let mut response = notice(StatusCode::SEE_OTHER, "It is decided.");
    if let Ok(location) = HeaderValue::from_str(id) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

impl Form {
    fn read(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match &*name {
                "token" => &mut form.token,
                "decision" => &mut form.decision,
                "message" => &mut form.message,
                _ => continue,
            };
            *field = value.into_owned();
        }
        form
    }
}

/// The same table as for requests over gRPC: what this needs is refused before anything is looked at.
fn lacks(identity: &Identity, right: Right) -> Option<Response<Full<Bytes>>> {
    let has = identity.has_one_of(&[right]);
    (!has).then(|| notice(StatusCode::FORBIDDEN, &identity.denied(&[right], "this page")))
}

/// Whether a form comes from this page, as far as the browser says where it comes from. What has no browser says nothing, and has
/// the token all the same.
fn is_own(request: &Request<Body>, calls: &Calls) -> bool {
    let text = |name: &HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap_or("?"));
    if text(&SEC_FETCH_SITE).is_some_and(|site| site != "same-origin") {
        return false;
    }
    let Some(origin) = text(&ORIGIN) else { return true };
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    same_origin(origin, calls.base_url(), authority.or_else(|| text(&HOST)))
}

fn same_origin(origin: &str, base_url: &str, host: Option<&str>) -> bool {
    let Ok(origin) = Url::parse(origin) else { return false };
    let is_base = Url::parse(base_url).is_ok_and(|base| base.origin() == origin.origin());
    let named = host.and_then(|host| Url::parse(&format!("{}://{host}", origin.scheme())).ok());
    is_base || named.is_some_and(|named| named.origin().is_tuple() && named.origin() == origin.origin())
}

fn refused(error: &ApprovalError) -> Response<Full<Bytes>> {
    let status = match error {
        ApprovalError::Invalid(_) => StatusCode::BAD_REQUEST,
        ApprovalError::Denied(_) => StatusCode::FORBIDDEN,
        ApprovalError::NotFound(_) => StatusCode::NOT_FOUND,
        ApprovalError::Refused(_) => StatusCode::CONFLICT,
        ApprovalError::Busy | ApprovalError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    notice(status, &error.to_string())
}

fn notice(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    html(status, html::notice("Portcullis approval", words))
}

/// A page that no other site frames, that runs and loads nothing, and that nobody keeps. `Referrer-Policy` is not `no-referrer`:
/// browsers would leave the origin out of the form.
fn html(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "same-origin"),
        (OPENER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_taken_from_its_own_origin_alone() {
        let base = "https://portcullis.example.com/admin";
        for (origin, host, own) in [
            ("https://portcullis.example.com", None, true),
            ("https://portcullis.example.com:443", Some("10.0.0.1:7411"), true),
            ("http://127.0.0.1:7411", Some("127.0.0.1:7411"), true),
            ("http://localhost:7411", Some("127.0.0.1:7411"), false),
            ("https://portcullis.example.com.evil.example", Some("portcullis.example.com"), false),
            ("http://portcullis.example.com", None, false),
            ("https://evil.example", Some("portcullis.example.com"), false),
            ("null", Some("null"), false),
            ("", Some(""), false),
        ] {
            assert_eq!(same_origin(origin, base, host), own, "{origin} {host:?}");
        }
    }

    #[test]
    fn forms_are_read_and_their_odd_members_are_not() {
        let form = Form::read(b"token=pca_a%2Bb&x=y&decision=approve&message=read+it&=");
        assert_eq!((&*form.token, &*form.decision, &*form.message), ("pca_a+b", "approve", "read it"));
    }

    #[test]
    fn what_strangers_wrote_is_text_and_what_does_not_show_is_named() {
        let page = html::notice("<t>", "<script>alert('1')</script> & \"\u{200b}\"");
        assert!(
            page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;⟨U+200B"),
            "{page}"
        );
        assert!(page.contains("<title>&lt;t&gt;</title>"), "{page}");
    }
}
