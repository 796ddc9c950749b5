//! The door of data planes, here and at other services: the same tokens, the same words for a refusal, the same end when a token is
//! revoked.

use std::time::Duration;

use tokio::sync::watch;
use tonic::{Request, Status};

use super::tokens::Admission;
use super::{Planes, StoreHandle, presented, tokens};
use crate::refusals::RefusedToken;

/// The name under which planes are known whose token admits a plane of any name. No plane can have it.
pub(crate) const ANY_NAME: &str = "*";
/// How often a token of this process itself, of which the store knows nothing, is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Admits planes.
#[derive(Debug, Clone)]
pub(crate) struct PlaneDoor {
    pub(super) store: StoreHandle,
    pub(super) planes: Planes,
}

/// A plane that presented a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdmittedPlane {
    /// The name that its token is bound to; [`ANY_NAME`] if it is bound to none.
    pub(crate) name: String,
    token: String,
}

impl PlaneDoor {
    /// Whom the token of a request admits. A refusal is counted.
    pub(super) fn admission<T>(&self, request: &Request<T>) -> Result<Admission, Status> {
        presented(request)
            .ok_or(RefusedToken::Missing)
            .and_then(|text| tokens::authenticate(&self.store.state(), self.planes.own(), text))
            .map_err(|cause| {
                self.planes.refusals().plane(cause, request.extensions().get());
                // The same words for all: only this side learns more.
                Status::unauthenticated("a valid plane token is required")
            })
    }

    /// Admits who presents a plane's token.
    pub(crate) fn admit<T>(&self, request: &Request<T>) -> Result<AdmittedPlane, Status> {
        let admission = self.admission(request)?;
        let name = admission.scope.plane_name.map_or_else(|| ANY_NAME.to_owned(), String::from);
        Ok(AdmittedPlane { name, token: admission.token })
    }

    /// Tells when a token is revoked.
    pub(crate) fn watch(&self) -> Revocations {
        Revocations(self.store.watch())
    }
}

/// The changes of the store, which may revoke a token.
#[derive(Debug)]
pub(crate) struct Revocations(watch::Receiver<u64>);

impl Revocations {
    /// Waits until a plane's token is valid no more.
    pub(crate) async fn over(&mut self, door: &PlaneDoor, plane: &AdmittedPlane) {
        loop {
            self.0.mark_unchanged();
            if !tokens::is_valid(&door.store.state(), door.planes.own(), &plane.token) {
                return;
            }
            tokio::select! {
                changed = self.0.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
