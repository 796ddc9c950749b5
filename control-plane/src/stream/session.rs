//! One conversation with one data plane: what it says is taken in, what changes is sent. Two loops over one connection, so
//! that a plane that reads slowly is still heard.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_policy::resource::Name;
use portcullis_proto::config::v1 as proto;
use portcullis_proto::config::v1::attach_request::Message as Said;
use portcullis_proto::config::v1::attach_response::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::DistributionParts;
use super::chunks::chunks;
use super::connection::{Connection, End};
use super::handed::Handed;
use super::tokens::{self, Admission};
use crate::refusals::RefusedToken;

/// What goes to the plane.
pub(super) type Outgoing = mpsc::Sender<Result<proto::AttachResponse, Status>>;

/// The stream is over: the plane went away, or was sent away.
struct Over;

/// Runs one conversation to its end.
pub(super) async fn run(
    parts: Arc<DistributionParts>,
    admission: Admission,
    mut incoming: Streaming<proto::AttachRequest>,
    outgoing: Outgoing,
    ended: watch::Sender<Option<End>>,
) {
    let connection = match introduce(&parts, admission, &mut incoming).await {
        Ok(connection) => connection,
        Err(status) => {
            let _ = outgoing.send(Err(status)).await;
            return;
        }
    };
    let connection = Attached { parts: &parts, connection };
    let mut end = connection.ended();
    let why = tokio::select! {
        why = end.wait_for(Option::is_some) => why.ok().and_then(|why| *why),
        () = hear(&parts, &connection, incoming) => None,
        _ = tell(&parts, &connection, &outgoing) => None,
    };
    // What is still queued is of no use to a plane that is sent away.
    ended.send_replace(why);
}

/// A connection that gives its servers away when it is over, however it ends.
struct Attached<'a> {
    parts: &'a DistributionParts,
    connection: Arc<Connection>,
}

impl std::ops::Deref for Attached<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.parts.planes.disconnect(&self.parts.store.state(), &self.connection);
    }
}

/// Hears Hello and admits the plane, or says why not.
async fn introduce(
    parts: &DistributionParts,
    admission: Admission,
    incoming: &mut Streaming<proto::AttachRequest>,
) -> Result<Arc<Connection>, Status> {
    let first = timeout(parts.timings.hello, incoming.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the plane did not say Hello in time"))??;
    let Some(Said::Hello(hello)) = first.and_then(|first| first.message) else {
        return Err(Status::invalid_argument("the first message is Hello"));
    };
    let name: Name = hello.name.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
    if admission.scope.plane_name.as_ref().is_some_and(|only| *only != name) {
        parts.planes.refusals().plane(RefusedToken::WrongPlane, None);
        return Err(Status::permission_denied("this token is for a plane of another name"));
    }
    let labels = labels(&hello, &admission).inspect_err(|status| {
        if status.code() == Code::PermissionDenied {
            parts.planes.refusals().plane(RefusedToken::WrongLabels, None);
        }
    })?;
    let state = parts.store.state();
    // Between the headers and Hello the token may have been revoked.
    if !tokens::is_valid(&state, parts.planes.own(), &admission.token) {
        return Err(End::Revoked.status());
    }
    parts.planes.connect(&state, &name, &hello, labels, admission.token)
}

/// The plane's labels and its token's. A plane cannot claim another value for a label that its token gives.
fn labels(hello: &proto::Hello, admission: &Admission) -> Result<BTreeMap<String, String>, Status> {
    let mut labels: BTreeMap<String, String> =
        hello.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    for (key, value) in &admission.scope.labels {
        if labels.insert(key.clone(), value.clone()).is_some_and(|claimed| claimed != *value) {
            return Err(Status::permission_denied(format!("this token is for planes with {key}={value}")));
        }
    }
    if tokens::labels_fit(&labels) {
        Ok(labels)
    } else {
        Err(Status::invalid_argument("too many or too long labels"))
    }
}

/// Takes in what the plane says, until it falls silent or goes away.
async fn hear(
    parts: &DistributionParts,
    connection: &Connection,
    mut incoming: Streaming<proto::AttachRequest>,
) {
    loop {
        match timeout(parts.timings.silence, incoming.message()).await {
            Ok(Ok(Some(request))) => {
                if let Some(said) = request.message {
                    take_in(parts, connection, said).await;
                }
            }
            Ok(Ok(None)) => return,
            Ok(Err(status)) => {
                tracing::debug!(plane = %connection.name, %status, "the stream of a data plane broke");
                return;
            }
            Err(_) => {
                tracing::warn!(plane = %connection.name, "a data plane fell silent; its stream ends");
                return;
            }
        }
    }
}

async fn take_in(parts: &DistributionParts, connection: &Connection, said: Said) {
    match said {
        Said::Hello(_) => tracing::debug!(plane = %connection.name, "Hello was said twice"),
        Said::Ack(ack) => parts.planes.ack(connection, &ack),
        Said::Nack(nack) => parts.planes.nack(connection, &nack),
        Said::ProbeReport(report) => report_of(parts, connection, report).await,
        Said::Signal(signal) => parts.planes.signal(connection, signal),
        Said::DriftHint(hint) => {
            if let Ok(server) = hint.server_uid.parse() {
                parts.planes.hint(server);
            }
        }
        Said::Records(chunk) => connection.asked.take_in(&connection.name, chunk),
        Said::CallAsk(ask) => {
            let answer = parts.calls.ask(&connection.name, ask).await;
            connection.outbox.answer(answer);
        }
        Said::CallGivenBack(given) => parts.calls.take_back(&connection.name, &given).await,
        Said::Status(status) => {
            let state = parts.store.state();
            parts.catalog.used(&state, &status.servers);
            parts.planes.status(&state, connection, &status);
        }
    }
}

/// A report counts only from the plane that is to make it: one that lost a server may still see an old state of it.
async fn report_of(parts: &DistributionParts, connection: &Connection, report: proto::ProbeReport) {
    let server = report.server_uid.clone();
    let assigned = server.parse().is_ok_and(|uid| parts.planes.probes(connection, &uid));
    if !assigned {
        tracing::debug!(plane = %connection.name, server, "a report of a plane that does not probe this server");
    } else if let Err(error) = parts.catalog.report(&connection.name, report).await {
        tracing::warn!(plane = %connection.name, server, %error, "a report was not taken in");
    }
}

/// Sends what the plane must know, and then what changes of it: always the latest, never a queue of versions.
async fn tell(
    parts: &DistributionParts,
    connection: &Connection,
    outgoing: &Outgoing,
) -> Result<std::convert::Infallible, Over> {
    let mut published = parts.published.clone();
    let mut generation = parts.vault.watch();
    send(
        outgoing,
        Message::Welcome(proto::Welcome {
            control_plane_id: parts.vault.control_plane_id().to_string(),
            unix_ms: parts.clock.now_unix_ms(),
            status_interval_ms: u32::try_from(parts.timings.status.as_millis()).unwrap_or(u32::MAX),
            labels: connection.labels.clone().into_iter().collect(),
        }),
    )
    .await?;
    let interval_seconds = u32::try_from(parts.timings.probe.as_secs()).unwrap_or(u32::MAX).max(1);
    let mut handed = Handed::default();
    let mut sent_version = None;
    loop {
        generation.mark_unchanged();
        published.mark_unchanged();
        // Secrets first: a snapshot may refer to one that came with it. Those that it no longer needs go after it.
        let part = parts.vault.secret_part();
        let latest = published.borrow().clone();
        if let Some(latest) = latest.filter(|latest| sent_version != Some(latest.header.version)) {
            sent_version = Some(latest.header.version);
            if let Some(secrets) = handed.before(&latest, &connection.labels, &part) {
                send(outgoing, secrets).await?;
            }
            for chunk in chunks(&latest) {
                send(outgoing, chunk).await?;
            }
        }
        if let Some(secrets) = handed.now(&part) {
            send(outgoing, secrets).await?;
        }
        let mail = connection.outbox.take(interval_seconds);
        if let Some(assignment) = mail.assignment {
            send(outgoing, Message::Probe(assignment)).await?;
        }
        if let Some(query) = mail.query {
            send(outgoing, Message::RecordQuery(query)).await?;
        }
        if let Some(credit) = mail.credit {
            send(outgoing, Message::RecordCredit(credit)).await?;
        }
        for answer in mail.answers {
            send(outgoing, Message::CallAnswer(answer)).await?;
        }
        for signal in mail.signals {
            send(outgoing, Message::Signal(signal)).await?;
        }
        tokio::select! {
            changed = published.changed() => changed.map_err(|_| Over)?,
            changed = generation.changed() => changed.map_err(|_| Over)?,
            () = connection.outbox.changed() => {}
        }
    }
}

async fn send(outgoing: &Outgoing, message: Message) -> Result<(), Over> {
    outgoing.send(Ok(proto::AttachResponse { message: Some(message) })).await.map_err(|_| Over)
}
