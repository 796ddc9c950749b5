//! An approval that was used up for a call which never reached its server: the plane that used it gives it back, and the same
//! call goes through when it is asked for again. Whatever is not certain leaves it used up.

use portcullis_proto::config::v1 as proto;

use super::ask::hex;
use super::stored::{CallState, GivenBack};
use super::{Bench, Calls, find};
use crate::store::{Op, State, TransactError, transact};

/// How often one approval may be given back: a caller that goes on asking for a server which is away must not write the history
/// full.
pub const MAX_GIVEN_BACK: u32 = 20;

impl Calls {
    /// A data plane says that a use did not happen.
    pub(crate) async fn take_back(&self, plane: &str, given: &proto::CallGivenBack) {
        let clock = &self.0.clock;
        let author = format!("plane/{plane}");
        let message =
            format!("the approval {} is given back: its call never reached the server", line(&given.id));
        let done = transact(&*self.0.store, &author, &message, clock.now_unix_ms(), |state| {
            let op = given_back(state, plane, given, clock.now_unix_ms())?;
            Ok::<_, &'static str>((vec![op], ()))
        })
        .await;
        match done {
            Ok(_) => {}
            Err(TransactError::Refused(why)) => {
                tracing::debug!(plane, id = line(&given.id), why, "an approval stays used up");
            }
            Err(error) => {
                tracing::warn!(plane, %error, "an approval cannot be given back, and stays used up")
            }
        }
    }
}

/// What gives it back; why not otherwise.
fn given_back(
    state: &State,
    plane: &str,
    given: &proto::CallGivenBack,
    now_unix_ms: u64,
) -> Result<Op, &'static str> {
    let (object, mut call) = find(state, &given.id).map_err(|_| "it is over, or was asked for anew")?;
    let use_id = hex(&given.use_id);
    let used = call.used.take_if(|used| used.plane == plane && used.use_id == use_id);
    let used = used.ok_or("it is not this plane's use that it was used up for")?;
    let bench = Bench::of(state, &call.server, &call.server_uid);
    if call.state(bench.rule(), now_unix_ms) != CallState::Approved {
        return Err("it is too old by now");
    }
    let times = call.given_back.as_ref().map_or(0, |before| before.times).saturating_add(1);
    if times > MAX_GIVEN_BACK {
        return Err("it was given back too often");
    }
    call.given_back = Some(GivenBack { times, last: used, unix_ms: now_unix_ms });
    call.put(object.uid).ok_or("it cannot be stored")
}

/// What a plane says is an id, for a line of history.
fn line(id: &str) -> String {
    crate::review::visible_line(id, 64)
}
