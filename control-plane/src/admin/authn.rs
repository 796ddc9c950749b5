//! Who administers: the bearer token of each request, compared with the hashes in the store.

use std::net::SocketAddr;
use std::sync::Arc;

use portcullis_seal::{Fingerprint, token};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::clock::Clock;
use crate::governance::{ADMIN_TOKEN, Actor, Identity};
use crate::refusals::{Refusals, RefusedToken};
use crate::store::Store;

/// Admits who carries an administrator's token. Of a gRPC request, who it is stands in its extensions from there on.
#[derive(Clone)]
pub struct Authn {
    store: Arc<dyn Store>,
    clock: Clock,
    refusals: Refusals,
}

impl std::fmt::Debug for Authn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authn").finish_non_exhaustive()
    }
}

impl Authn {
    /// Admits the tokens that this store knows, and counts the others.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, refusals: Refusals) -> Self {
        Self { store, clock, refusals }
    }

    /// Who presents this token. A refusal is counted.
    pub(crate) fn admit(&self, credential: Option<&str>, peer: Option<&SocketAddr>) -> Option<Arc<Identity>> {
        let identity = credential.ok_or(RefusedToken::Missing).and_then(|text| self.identity(text));
        identity.map(Arc::new).inspect_err(|cause| self.refusals.admin(*cause, peer)).ok()
    }

    fn identity(&self, credential: &str) -> Result<Identity, RefusedToken> {
        let presented = token::hash(token::ADMIN, credential).ok_or(RefusedToken::Unknown)?;
        let state = self.store.state();
        let mut found = None;
        // Every token is compared, each in constant time: how long it takes says nothing about which one fits.
        for object in state.list(ADMIN_TOKEN) {
            let known = object.body.get("hash").and_then(serde_json::Value::as_str);
            if known.and_then(|hash| hash.parse().ok()).is_some_and(|known| same(&known, &presented)) {
                found = Some(object);
            }
        }
        let object = found.ok_or(RefusedToken::Unknown)?;
        Identity::of(&state, object, self.clock.now_unix_ms()).ok_or(RefusedToken::Revoked)
    }
}

/// The bearer token of a request; none when there are two, since which one is meant is anybody's guess.
fn credential(request: &Request<()>) -> Option<&str> {
    let mut values = request.metadata().get_all("authorization").iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, credential) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}

fn same(known: &Fingerprint, presented: &Fingerprint) -> bool {
    let pairs = known.as_bytes().iter().zip(presented.as_bytes());
    std::hint::black_box(pairs.fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

impl Interceptor for Authn {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        // The same words whatever is wrong with it.
        let identity = self.admit(credential(&request), request.extensions().get());
        let identity =
            identity.ok_or_else(|| Status::unauthenticated("an administrator's token is required"))?;
        request.extensions_mut().insert(identity);
        Ok(request)
    }
}

/// The administrator of a request that [`Authn`] admitted.
///
/// # Errors
/// When no interceptor saw the request: a fault in how the services are put together, which must not become an anonymous
/// change.
pub(crate) fn identity<T>(request: &Request<T>) -> Result<Arc<Identity>, Status> {
    let identity = request.extensions().get::<Arc<Identity>>().map(Arc::clone);
    identity.ok_or_else(|| Status::unauthenticated("an administrator's token is required"))
}

/// The administrator of a request as the one who makes a change.
///
/// # Errors
/// As [`identity`].
pub(crate) fn actor<T>(request: &Request<T>) -> Result<Actor, Status> {
    identity(request).map(Actor::from)
}

/// The administrator of a request as history names them.
///
/// # Errors
/// As [`identity`].
pub(crate) fn author<T>(request: &Request<T>) -> Result<Arc<str>, Status> {
    Ok(identity(request)?.author().into())
}
