//! The `Reach` service: who reaches what, answered from what is published.

use std::sync::Arc;

use portcullis_policy::Snapshot;
use portcullis_policy::rule::DefinitionKind;
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::reach_server::Reach;
use portcullis_proto::admin::v1::replay_request::Message as Said;
use serde::Serialize;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status, Streaming};

use super::authn::{actor, author};
use super::replay::Judging;
use super::resources::applied_to_proto;
use crate::clock::Clock;
use crate::publish::Publisher;
use crate::registry::{ApplyInput, Registry, RegistryError};
use crate::stream::Planes;

/// The service.
#[derive(Debug)]
pub(super) struct ReachService {
    publisher: Publisher,
    registry: Registry,
    planes: Planes,
    clock: Clock,
    /// One replay at a time: each holds two snapshots, and planes answer one question at a time.
    replaying: Mutex<()>,
}

impl ReachService {
    /// Answers from what is published; replays what planes recorded.
    #[must_use]
    pub(super) fn new(publisher: Publisher, registry: Registry, planes: Planes, clock: Clock) -> Self {
        Self { publisher, registry, planes, clock, replaying: Mutex::default() }
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

    async fn replay(
        &self,
        request: Request<Streaming<proto::ReplayRequest>>,
    ) -> Result<Response<proto::ReplayResponse>, Status> {
        let by = actor(&request)?;
        let Ok(_turn) = self.replaying.try_lock() else {
            return Err(Status::resource_exhausted(
                "another replay is on its way; try again when it is over",
            ));
        };
        let mut incoming = request.into_inner();
        let Some(proto::ReplayRequest { message: Some(Said::Start(start)) }) = incoming.message().await?
        else {
            return Err(Status::invalid_argument(
                "the first message of a replay says what is to be replayed",
            ));
        };
        let files = start.files.into_iter().map(|file| (file.name, file.text)).collect();
        let mut input = ApplyInput::new(files, by);
        (input.dry_run, input.full) = (true, start.full);
        let plan = self.registry.apply(input).await?;
        let sides =
            plan.effect.as_ref().map(|effect| (Arc::clone(&effect.before), Arc::clone(&effect.after)));
        let (before, after) = sides.ok_or_else(|| Status::unavailable("nothing is published yet"))?;
        let mut judging = Judging::new(before, after, start.since_unix_ms, self.clock.now_unix_ms());
        while let Some(request) = incoming.message().await? {
            if let Some(Said::Calls(calls)) = request.message {
                let plane = calls.plane.map(|plane| Arc::new(plane.labels.into_iter().collect()));
                (judging, _) = judging.take("local", plane.as_ref(), calls.calls).await?;
            }
        }
        let replay_json = judging.of_planes(&self.planes).await?.finish(start.full)?;
        Ok(Response::new(proto::ReplayResponse { plan: Some(applied_to_proto(plan)?), replay_json }))
    }
}
