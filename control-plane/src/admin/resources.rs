//! `Resources`: apply, read, watch, delete, history.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use portcullis_policy::resource::{Kind, Uid};
use portcullis_proto::admin::v1 as proto;
use portcullis_proto::admin::v1::resources_server::Resources;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::authn::actor;
use super::status::problem_to_proto;
use crate::objects::NewKey;
use crate::registry::{
    Applied, ApplyInput, ChangeKind, HistoryQuery, Proposed, Registry, RegistryError, ResourceChange,
    RollbackInput, View,
};

/// Messages that wait for a slow reader of a watch; then the watch waits, and skips what changed meanwhile.
const WATCH_BUFFER: usize = 64;

/// The service.
#[derive(Debug)]
pub(super) struct ResourcesService {
    registry: Registry,
    shutdown: CancellationToken,
}

impl ResourcesService {
    /// Serves a registry. Watches end when the token is cancelled.
    #[must_use]
    pub(super) const fn new(registry: Registry, shutdown: CancellationToken) -> Self {
        Self { registry, shutdown }
    }
}

#[tonic::async_trait]
impl Resources for ResourcesService {
    async fn apply(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<proto::ApplyResponse>, Status> {
        let by = actor(&request)?;
        let request = request.into_inner();
        let files = request.files.into_iter().map(|file| (file.name, file.text)).collect();
        let mut input = ApplyInput::new(files, by);
        input.dry_run = request.dry_run;
        input.message = request.message;
        input.full = request.full;
        let applied = self.registry.apply(input).await?;
        Ok(Response::new(applied_to_proto(applied)?))
    }

    async fn get(&self, request: Request<proto::GetRequest>) -> Result<Response<proto::GetResponse>, Status> {
        let request = request.into_inner();
        let view = self.registry.get(kind(&request.kind)?, &request.name)?;
        Ok(Response::new(proto::GetResponse { resource: Some(view_to_proto(view)) }))
    }

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<proto::ListResponse>, Status> {
        let (views, version) = self.registry.list(kind(&request.into_inner().kind)?);
        let resources = views.into_iter().map(view_to_proto).collect();
        Ok(Response::new(proto::ListResponse { resources, version }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<proto::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let kind = kind(&request.kind)?;
        let (send, receive) = mpsc::channel(WATCH_BUFFER);
        let watch = Watch {
            registry: self.registry.clone(),
            kind,
            name: Some(request.name).filter(|name| !name.is_empty()),
            seen: BTreeMap::new(),
        };
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                // Ends when the reader is gone.
                () = watch.run(send) => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteRequest>,
    ) -> Result<Response<proto::DeleteResponse>, Status> {
        let by = actor(&request)?;
        let request = request.into_inner();
        let deleted =
            self.registry.delete(kind(&request.kind)?, &request.name, &by, &request.message).await?;
        let proposal = deleted.proposed.map(proposed_to_proto);
        Ok(Response::new(proto::DeleteResponse { version: deleted.version, proposal }))
    }

    async fn rollback(
        &self,
        request: Request<proto::RollbackRequest>,
    ) -> Result<Response<proto::RollbackResponse>, Status> {
        let by = actor(&request)?;
        let proto::RollbackRequest { version, message, dry_run, full } = request.into_inner();
        let input = RollbackInput { version, by, message, dry_run, full };
        let applied = applied_to_proto(self.registry.rollback(input).await?)?;
        Ok(Response::new(proto::RollbackResponse { applied: Some(applied) }))
    }

    async fn history(
        &self,
        request: Request<proto::HistoryRequest>,
    ) -> Result<Response<proto::HistoryResponse>, Status> {
        let request = request.into_inner();
        let query = HistoryQuery {
            kind: if request.kind.is_empty() { None } else { Some(kind(&request.kind)?) },
            name: Some(request.name).filter(|name| !name.is_empty()),
            limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
            before: Some(request.before_version).filter(|version| *version > 0),
        };
        if query.name.is_some() && query.kind.is_none() {
            return Err(RegistryError::invalid(
                "KIND",
                "the history of one name needs its kind: history KIND NAME",
            )
            .into());
        }
        let entries = self.registry.history(query).await?.into_iter();
        let entries = entries.map(|entry| proto::HistoryEntry {
            version: entry.version,
            unix_ms: entry.unix_ms,
            author: entry.author,
            message: entry.message,
            changes: entry.changes.into_iter().map(change_to_proto).collect(),
        });
        Ok(Response::new(proto::HistoryResponse { entries: entries.collect() }))
    }
}

/// One watch: what its reader has seen, so that each look at the registry yields what differs.
struct Watch {
    registry: Registry,
    kind: Kind,
    name: Option<String>,
    seen: BTreeMap<Arc<str>, View>,
}

impl Watch {
    async fn run(mut self, send: mpsc::Sender<Result<proto::WatchResponse, Status>>) {
        let mut changes = self.registry.watch();
        loop {
            changes.mark_unchanged();
            for (change, view) in self.differences() {
                let message = proto::WatchResponse {
                    change: change_kind(change).into(),
                    resource: Some(view_to_proto(view)),
                };
                if send.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = send.closed() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }

    fn differences(&mut self) -> Vec<(ChangeKind, View)> {
        let (views, _) = self.registry.list(self.kind);
        let mut now: BTreeMap<Arc<str>, View> = views
            .into_iter()
            .filter(|view| self.name.as_deref().is_none_or(|name| *view.name == *name))
            .map(|view| (Arc::clone(&view.name), view))
            .collect();
        let mut found = Vec::new();
        for (name, view) in &self.seen {
            // A name that came back under another uid is another thing: one goes, one comes.
            if now.get(name).is_none_or(|new| new.uid != view.uid) {
                found.push((ChangeKind::Deleted, view.clone()));
            }
        }
        for (name, view) in &now {
            match self.seen.get(name).filter(|old| old.uid == view.uid) {
                None => found.push((ChangeKind::Created, view.clone())),
                Some(old) if old != view => found.push((ChangeKind::Changed, view.clone())),
                Some(_) => {}
            }
        }
        std::mem::swap(&mut self.seen, &mut now);
        found
    }
}

/// Reads a kind as people spell it.
pub(super) fn kind(text: &str) -> Result<Kind, Status> {
    Kind::parse(text).ok_or_else(|| {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.plural()).collect();
        let text: String = text.chars().take(80).collect();
        RegistryError::invalid("KIND", format!("{text:?} is no kind; there are {}", kinds.join(", "))).into()
    })
}

pub(super) fn applied_to_proto(applied: Applied) -> Result<proto::ApplyResponse, Status> {
    let effect = applied.effect.map(|effect| serde_json::to_string(&effect.difference)).transpose();
    Ok(proto::ApplyResponse {
        version: applied.version,
        changes: applied.changes.into_iter().map(change_to_proto).collect(),
        keys: applied.keys.into_iter().map(key_to_proto).collect(),
        warnings: applied.warnings.iter().map(problem_to_proto).collect(),
        proposal: applied.proposed.map(proposed_to_proto),
        effect_json: effect.map_err(|error| Status::internal(error.to_string()))?.unwrap_or_default(),
    })
}

pub(super) fn key_to_proto(key: NewKey) -> proto::NewKey {
    proto::NewKey { name: key.name, uid: key.uid.to_string(), secret: key.secret }
}

fn view_to_proto(view: View) -> proto::Resource {
    proto::Resource {
        kind: view.kind.as_str().to_owned(),
        name: view.name.to_string(),
        uid: view.uid.to_string(),
        version: view.version,
        json: view.document.to_string(),
        status_json: view.status.to_string(),
    }
}

fn proposed_to_proto(proposed: Proposed) -> proto::Proposed {
    proto::Proposed {
        id: proposed.id,
        changes: proposed.classes.iter().map(|class| class.as_str().to_owned()).collect(),
        rules: proposed.rules,
        approvers: proposed.approvers,
        required: proposed.required,
    }
}

const fn change_kind(change: ChangeKind) -> proto::ChangeKind {
    match change {
        ChangeKind::Created => proto::ChangeKind::Created,
        ChangeKind::Changed => proto::ChangeKind::Changed,
        ChangeKind::Unchanged => proto::ChangeKind::Unchanged,
        ChangeKind::Deleted => proto::ChangeKind::Deleted,
    }
}

pub(super) fn change_to_proto(change: ResourceChange) -> proto::Change {
    let fields = change.fields.into_iter().map(|field| proto::FieldChange {
        path: field.path,
        before: field.before.unwrap_or_default(),
        after: field.after.unwrap_or_default(),
    });
    proto::Change {
        change: change_kind(change.change).into(),
        kind: change.kind,
        name: change.name,
        uid: change.uid.map(|uid: Uid| uid.to_string()).unwrap_or_default(),
        fields: fields.collect(),
    }
}
