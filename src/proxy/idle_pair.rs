//! Pairs that wait in http mode while their client's connection is used for another target.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::open_pair::{OpenPair, is_same};
use super::settings::Limits;
use super::shared::Shared;
use crate::clock;
use crate::relay::{PeerEnd, RelayEnd};
use crate::target::Target;

/// How many pairs of a client's connection may wait at the same time.
const MOST: usize = 4;

/// The waiting pairs of one client's connection, the latest used last.
#[derive(Default)]
pub(super) struct IdlePairs(Vec<IdlePair>);

/// A pair whose task watches its upstream.
struct IdlePair {
    target: Target,
    command: oneshot::Sender<Command>,
    task: JoinHandle<Option<Box<OpenPair>>>,
}

/// What becomes of a waiting pair.
enum Command {
    /// The client has another request for it.
    Resume,
    /// It ends, because the client's connection has gone on without it.
    End,
    /// It ends with the client's connection, which the client may have ended by itself.
    ClientEnded(Option<Box<PeerEnd>>),
}

impl IdlePairs {
    /// Adds a pair, which takes the place of the one that waits longest if there are too many.
    pub(super) async fn add(&mut self, target: Target, pair: OpenPair) {
        if self.0.len() >= MOST {
            self.0.remove(0).end(Command::End).await;
        }
        let (command, commands) = oneshot::channel();
        let task = tokio::spawn(wait(Box::new(pair), commands));
        self.0.push(IdlePair { target, command, task });
    }

    /// Takes the pair for this target, if one waits and its upstream has not left.
    pub(super) async fn take(&mut self, target: &Target) -> Option<Box<OpenPair>> {
        let at = self.0.iter().position(|idle| is_same(&idle.target, target))?;
        self.0.remove(at).end(Command::Resume).await
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until every pair has ended by itself.
    pub(super) async fn all_left(&mut self) {
        while let Some(idle) = self.0.last_mut() {
            let _ = (&mut idle.task).await;
            self.0.pop();
        }
    }

    /// Ends all pairs: their client's connection goes on as something else.
    pub(super) async fn end_all(&mut self) {
        for idle in self.0.drain(..) {
            idle.end(Command::End).await;
        }
    }

    /// Ends all pairs with their client's connection.
    pub(super) async fn client_ended(mut self, end: Option<&PeerEnd>) {
        for idle in self.0.drain(..) {
            idle.end(Command::ClientEnded(end.map(|end| Box::new(end.clone())))).await;
        }
    }
}

impl IdlePair {
    /// Gives its task a command, and waits for the task's end.
    async fn end(self, command: Command) -> Option<Box<OpenPair>> {
        // It may have ended already, because its upstream has left.
        let _ = self.command.send(command);
        self.task.await.ok().flatten()
    }
}

/// Waits with a pair until it is resumed; or ends it, and writes its record.
async fn wait(
    mut pair: Box<OpenPair>,
    commands: oneshot::Receiver<Command>,
) -> Option<Box<OpenPair>> {
    let shared = Arc::clone(&pair.conn_log.shared);
    let Shared { settings, stop, draining, .. } = &*shared;
    let Limits { idle, lifetime, .. } = settings.limits;
    let deadline = |since: Instant, limit| clock::deadline(since, limit);
    let idle = deadline(Instant::now(), idle.unwrap_or_default());
    let expires = deadline(pair.conn_log.epoch.start().into(), lifetime.unwrap_or_default());
    let end = tokio::select! {
        biased;
        command = commands => match command {
            Ok(Command::Resume) => return Some(pair),
            // The pair that used the connection may have reached the limit in the same moment.
            Ok(Command::ClientEnded(None)) if Instant::now() >= idle => RelayEnd::Idle,
            Ok(Command::ClientEnded(end)) => {
                let ended = &mut pair.client.ended;
                *ended = ended.take().or(end);
                RelayEnd::ByPeers
            }
            Ok(Command::End) | Err(_) => RelayEnd::Switched,
        },
        () = pair.upstream_leaves() => RelayEnd::ByPeers,
        () = stop.cancelled() => RelayEnd::ByStop,
        () = draining.cancelled() => RelayEnd::ByPeers,
        () = tokio::time::sleep_until(idle.into()) => RelayEnd::Idle,
        () = tokio::time::sleep_until(expires.into()) => RelayEnd::Expired,
    };
    pair.end(end);
    None
}
