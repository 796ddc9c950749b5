//! What Portcullis presents to a server. A caller's own credential never comes near this.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use portcullis_policy::Reason;
use portcullis_policy::resource::Auth;

use super::UpstreamError;
use crate::sync::SecretsHandle;

/// Puts the server's credential on a request, from the secrets in force now.
///
/// # Errors
/// When the secret was never set or is no header value: the server is then not asked at all.
pub(super) fn attach(
    headers: &mut HeaderMap,
    auth: &Auth,
    secrets: &SecretsHandle,
) -> Result<(), UpstreamError> {
    let Auth::Header(header) = auth else { return Ok(()) };
    let missing = |message: &str| UpstreamError::unsent(Reason::UpstreamUnavailable, message);
    let secrets = secrets.load();
    let secret = secrets
        .value(&header.value_from.secret)
        .ok_or_else(|| missing("The credential for the server is not set on this data plane."))?;
    let name = HeaderName::from_bytes(header.name.as_bytes())
        .map_err(|_| missing("The name of the server's credential header is not a header name."))?;
    let mut value = HeaderValue::from_bytes(secret.expose())
        .map_err(|_| missing("The credential for the server cannot be sent in a header."))?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}
