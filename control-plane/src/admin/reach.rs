//! The `Reach` service: who reaches what, answered from what is published.

use std::sync::Arc;

use portcullis_policy::Snapshot;
use portcullis_policy::rule::DefinitionKind;
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::reach_server::Reach;
use serde::Serialize;
use tonic::{Request, Response, Status};

use super::authn::author;
use crate::clock::Clock;
use crate::publish::Publisher;
use crate::registry::RegistryError;

/// The service.
#[derive(Debug)]
pub(super) struct ReachService {
    publisher: Publisher,
    clock: Clock,
}

impl ReachService {
    /// Answers from what is published.
    #[must_use]
    pub(super) const fn new(publisher: Publisher, clock: Clock) -> Self {
        Self { publisher, clock }
    }

    /// Asks the snapshot, on a thread that may take its time: there may be a hundred thousand keys.
    async fn ask<T: Serialize>(
        &self,
        ask: impl FnOnce(&Snapshot, u64) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<String, Status> {
        let published =
            self.publisher.current().ok_or_else(|| Status::unavailable("nothing is published yet"))?;
        let (snapshot, now) = (Arc::clone(&published.snapshot), self.clock.now_unix_ms());
        let asked = tokio::task::spawn_blocking(move || {
            let answer = ask(&snapshot, now)?;
            serde_json::to_string(&answer).map_err(|error| RegistryError::Internal(error.to_string()))
        });
        Ok(asked.await.map_err(|error| Status::internal(error.to_string()))??)
    }
}

#[tonic::async_trait]
impl Reach for ReachService {
    async fn who_can(
        &self,
        request: Request<proto::WhoCanRequest>,
    ) -> Result<Response<proto::WhoCanResponse>, Status> {
        author(&request)?;
        let request = request.into_inner();
        let kind = if request.prompt { DefinitionKind::Prompt } else { DefinitionKind::Tool };
        let ask = move |snapshot: &Snapshot, now| {
            let found = snapshot.who_can(kind, &request.name, now);
            let mut reach = found.map_err(|unknown| RegistryError::Refused(unknown.to_string()))?;
            if !request.why {
                reach.denied.clear();
            }
            Ok(reach)
        };
        Ok(Response::new(proto::WhoCanResponse { json: self.ask(ask).await? }))
    }

    async fn what_can(
        &self,
        request: Request<proto::WhatCanRequest>,
    ) -> Result<Response<proto::WhatCanResponse>, Status> {
        author(&request)?;
        let request = request.into_inner();
        let ask = move |snapshot: &Snapshot, now| {
            let found = snapshot.what_can(&request.key, now);
            let unknown = || RegistryError::NotFound(format!("VirtualKey/{}", request.key));
            let mut reach = found.ok_or_else(unknown)?;
            if !request.why {
                reach.denied.clear();
            }
            Ok(reach)
        };
        Ok(Response::new(proto::WhatCanResponse { json: self.ask(ask).await? }))
    }
}
