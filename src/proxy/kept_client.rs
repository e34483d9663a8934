//! Further requests on a client's connection in http mode: on the same pair while they are for the
//! same target, otherwise on a new one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::admission::{ClientPlace, Place};
use super::client_request::{delay_guess, follow_own_forward};
use super::connect::{ConnectedPair, connect_request, halves};
use super::connection_log::ConnectionLog;
use super::entry::Entry;
use super::idle_pair::IdlePairs;
use super::open_pair::OpenPair;
use super::relaying::{PairAtRest, Relaying, panicked, refuse, relay_exchange};
use super::shared::Shared;
use crate::catch_panic::{CaughtPanic, catch_panic};
use crate::clock::{self, CompactDuration, CompactInstant};
use crate::conn::{Epoch, Meter, OtherPairs};
use crate::ingress::{
    Dialogue, DialogueLimits, Endpoints, HttpExchange, Refusal, ReplyFormat, Request, RequestInfo,
    read_request,
};
use crate::process::ProcessSlot;
use crate::record::Mode;
use crate::relay::{Halves, HeldBytes, Leg, PeerEnd, RelayEnd, RestingPair, wait_until_received};
use crate::target::Target;

/// Size of the first read of a request.
const READ: usize = 4 * 1024;

/// Serves what follows the first exchange of a client's connection. `is_parent`: the upstream is a
/// parent proxy that takes the client's own requests.
pub(super) async fn serve_further(mut rest: PairAtRest, mut is_parent: bool) {
    let mut kept = KeptClient::new(&rest.conn_log);
    let mut last = None;
    while let Some(exchange) = kept.next_exchange(rest, is_parent, last.take()).await {
        let NextExchange { conn_log, client, upstream, halves, later, repeat, .. } = exchange;
        is_parent = exchange.is_parent;
        last = repeat;
        match relay_exchange(conn_log, client, upstream, halves, later).await {
            Relaying::AtRest(at_rest) => rest = at_rest,
            Relaying::Ended(client) => {
                kept.client_end = client;
                break;
            }
        }
    }
    kept.idle.client_ended(kept.client_end.as_deref()).await;
}

/// What all pairs of a client's connection have in common.
struct KeptClient {
    shared: Arc<Shared>,
    listener: Arc<Entry>,
    process: Option<ProcessSlot>,
    announced: Option<Box<Endpoints>>,
    addresses: [Option<SocketAddr>; 2],
    /// The places that the connection holds, while no pair has them.
    places: (Place, Option<Box<ClientPlace>>),
    /// The pair that used the connection last, by its id.
    previous: String,
    /// Bytes read and written on the connection by all pairs.
    bytes: [u64; 2],
    idle: IdlePairs,
    /// How the client ended its connection, if it did.
    client_end: Option<Box<PeerEnd>>,
}

/// An exchange that is ready to be relayed.
struct NextExchange {
    conn_log: Box<ConnectionLog>,
    client: Box<Leg>,
    upstream: Box<Leg>,
    halves: Box<Halves>,
    is_parent: bool,
    /// The exchange, unless it is the first of its pair.
    later: Option<Arc<HttpExchange>>,
    repeat: Option<Repeat>,
}

/// A request that can be sent again, if the upstream closes its kept connection without a response.
struct Repeat {
    /// In origin form.
    head: Vec<u8>,
    target: Target,
    reply_format: ReplyFormat,
    is_own_forward: bool,
    exchange: Arc<HttpExchange>,
}

/// A request that was read for the next exchange.
struct NextRequest {
    request: Result<Request, Refusal>,
    info: RequestInfo,
    /// The client, with a state that has only this request.
    client: Box<Leg>,
    epoch: Epoch,
    /// The length of what was read, and when its first byte was. A request that was read ahead
    /// begins when the exchange before it is over.
    bytes: usize,
    since: CompactInstant,
    /// How long it took to read it to its end.
    took: CompactDuration,
}

impl KeptClient {
    fn new(conn_log: &ConnectionLog) -> Self {
        Self {
            shared: Arc::clone(&conn_log.shared),
            listener: Arc::clone(&conn_log.listener),
            process: conn_log.process.clone(),
            announced: conn_log.request_info.announced.clone(),
            addresses: [None; 2],
            places: (None, None),
            previous: conn_log.id(),
            bytes: [0; 2],
            idle: IdlePairs::default(),
            client_end: None,
        }
    }

    /// Waits for the client's next request, and prepares its exchange: on the same pair, or on a
    /// new one. `None` when the client's connection has ended.
    async fn next_exchange(
        &mut self,
        PairAtRest { conn_log, resting }: PairAtRest,
        is_parent: bool,
        repeat: Option<Repeat>,
    ) -> Option<NextExchange> {
        let RestingPair { client, upstream, turns, held, has_upstream_left } = *resting;
        let Leg { stream, mut state } = *client;
        let meter = &mut state.meter;
        if let Some(held) = &held {
            // They belong to the next exchange.
            meter.rx.bytes = meter.rx.bytes.saturating_sub(held.bytes.len() as u64);
            meter.rx.last = held.last_before;
            // An end of stream that was read comes after them, and is read again.
            (meter.rx.ended, state.ended) = (None, None);
        }
        let meter = &mut state.meter;
        self.addresses = [meter.local, meter.remote];
        let answered = meter.tx.last;
        let others = meter.others.get_or_insert_default();
        self.bytes = [others.rx_bytes + meter.rx.bytes, others.tx_bytes + meter.tx.bytes];
        let pair = OpenPair { conn_log, client: state, upstream, turns, is_parent };
        let mut pair = Some(pair);
        if has_upstream_left && let Some(left) = pair.take() {
            if held.is_none() {
                self.wait_for_delivery(&stream).await;
            }
            self.end_pair(left, RelayEnd::ByPeers, &stream);
        }
        if let Some(repeat) = repeat.filter(|repeat| repeat.exchange.needs_repeat()) {
            return self.repeat(repeat, stream, held).await;
        }
        let held = match held {
            Some(held) => held,
            None => self.wait_for_request(&stream).await?,
        };
        let since = answered.map_or(held.since, |answered| held.since.max(answered));
        let next = self.read_request(stream, held.bytes, since).await;
        let pair = match pair {
            Some(pair) if pair.is_for(next.target()) => Some(pair),
            pair => self.change_pair(pair, next.target(), &next.client.stream).await,
        };
        if let Some(exchange) = &next.info.exchange {
            self.note_others(exchange);
        }
        if let Some(mut pair) = pair {
            if pair.is_upstream_quiet() {
                return continue_with(pair, next);
            }
            self.end_pair(pair, RelayEnd::ByPeers, &next.client.stream);
        }
        self.begin_pair(next).await
    }

    /// Tells an exchange whether the client's connection has other upstreams.
    fn note_others(&self, exchange: &HttpExchange) {
        if !self.idle.is_empty() {
            exchange.set_has_others();
        }
    }

    /// Puts a pair aside for a request to another target, and takes that target's pair, if there is
    /// one.
    async fn change_pair(
        &mut self,
        pair: Option<OpenPair>,
        target: Option<&Target>,
        stream: &TcpStream,
    ) -> Option<OpenPair> {
        let Some(target) = target else {
            // The connection ends, or becomes a tunnel.
            if let Some(pair) = pair {
                self.end_pair(pair, RelayEnd::Switched, stream);
            }
            self.idle.end_all().await;
            return None;
        };
        let resumed = self.idle.take(target).await;
        if let Some(mut pair) = pair {
            // Its upstream's socket needs a place of its own.
            let place = self.shared.admission.take();
            let waits_for = pair.conn_log.request_info.target.clone();
            match (place, waits_for) {
                (Some(place), Some(waits_for)) => {
                    self.take_places(&mut pair);
                    pair.conn_log.place = place;
                    pair.release_client(stream);
                    self.idle.add(waits_for, pair).await;
                }
                _ => self.end_pair(pair, RelayEnd::Switched, stream),
            }
        }
        let mut pair = *resumed?;
        (pair.conn_log.place, pair.conn_log.client_place) = std::mem::take(&mut self.places);
        pair.regain_client(stream, self.bytes);
        self.previous = pair.conn_log.id();
        Some(pair)
    }

    fn take_places(&mut self, pair: &mut OpenPair) {
        self.places = (pair.conn_log.place.take(), pair.conn_log.client_place.take());
    }

    /// Ends a pair, and writes its record, while the client's connection stays open.
    fn end_pair(&mut self, mut pair: OpenPair, end: RelayEnd, stream: &TcpStream) {
        self.take_places(&mut pair);
        pair.release_client(stream);
        pair.end(end);
    }

    /// Waits until the client has received everything, or sends its next request.
    async fn wait_for_delivery(&self, stream: &TcpStream) {
        let Shared { settings, stop, .. } = &*self.shared;
        let deadline = clock::after(Instant::now(), settings.linger);
        tokio::select! {
            biased;
            _ = stream.readable() => {}
            () = stop.cancelled() => {}
            () = wait_until_received(stream, deadline) => {}
        }
    }

    /// Waits for the client's next request while no pair uses the connection. `None` when it has
    /// ended: it also ends with the last of the pairs that wait.
    async fn wait_for_request(&mut self, stream: &TcpStream) -> Option<Box<HeldBytes>> {
        let Shared { settings, stop, draining, .. } = &*self.shared;
        let idle = clock::deadline(
            CompactInstant::now().into(),
            settings.limits.idle.unwrap_or(Duration::ZERO),
        );
        let has_others = !self.idle.is_empty();
        loop {
            let ready = tokio::select! {
                biased;
                ready = stream.readable() => ready,
                () = self.idle.all_left(), if has_others => return None,
                () = stop.cancelled() => return None,
                () = draining.cancelled() => return None,
                () = tokio::time::sleep_until(idle.into()) => return None,
            };
            ready.ok()?;
            let mut bytes = vec![0; READ];
            match stream.try_read(&mut bytes) {
                Ok(0) => {
                    self.client_end = Some(PeerEnd::fin());
                    return None;
                }
                Ok(length) => {
                    bytes.truncate(length);
                    let since = CompactInstant::now();
                    return Some(Box::new(HeldBytes { bytes, since, last_before: None }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.client_end = Some(Box::new(PeerEnd::from_error(&error)));
                    return None;
                }
            }
        }
    }

    /// The client's leg for a pair that begins now.
    fn fresh_leg(&self, stream: TcpStream, since: CompactInstant) -> (Epoch, Box<Leg>) {
        let epoch = Epoch::beginning_at(since);
        let mut meter = Meter::new(epoch, epoch.start());
        [meter.local, meter.remote] = self.addresses;
        (epoch, Leg::boxed(stream, meter))
    }

    /// Reads the client's next request to its end.
    async fn read_request(
        &self,
        stream: TcpStream,
        held: Vec<u8>,
        since: CompactInstant,
    ) -> NextRequest {
        let Shared { settings, stop, draining, .. } = &*self.shared;
        let (epoch, mut client) = self.fresh_leg(stream, since);
        client.state.meter.rx.count(held.len(), since);
        let mut info = RequestInfo { announced: self.announced.clone(), ..RequestInfo::default() };
        let deadline = clock::deadline(since.into(), settings.request_timeout);
        let limits = DialogueLimits { deadline, stop, draining };
        let dialogue = Dialogue::with_received(&mut client, limits, held);
        let mut request = read_request(dialogue, settings.access.users.as_ref(), &mut info).await;
        if let Ok(request) = &mut request {
            follow_own_forward(&self.shared, request, &mut info);
        }
        let held = request.as_ref().map_or(0, |request| request.held.len());
        let bytes = usize::try_from(client.state.meter.rx.bytes).unwrap_or(usize::MAX) - held;
        let took = CompactInstant::now().since(since);
        NextRequest { request, info, client, epoch, bytes, since, took }
    }

    /// The log of a pair that begins now.
    fn begin_log(&mut self, epoch: Epoch, info: RequestInfo) -> Box<ConnectionLog> {
        let shared = Arc::clone(&self.shared);
        let listener = Arc::clone(&self.listener);
        let seq = shared.next_seq(&listener);
        let (place, client_place) = std::mem::take(&mut self.places);
        let mut conn_log = Box::new(ConnectionLog::new(shared, seq, epoch, listener, place));
        conn_log.client_place = client_place;
        conn_log.process.clone_from(&self.process);
        conn_log.request_info = info;
        conn_log.previous = Some(std::mem::replace(&mut self.previous, conn_log.id()));
        conn_log
    }

    /// Begins a pair for a request.
    async fn begin_pair(&mut self, next: NextRequest) -> Option<NextExchange> {
        let NextRequest { request, info, client, epoch, took, .. } = next;
        let mut conn_log = self.begin_log(epoch, info);
        conn_log.request = Some(took);
        self.connect(conn_log, client, request).await
    }

    /// Begins a pair for a request that an upstream has left without a response.
    async fn repeat(
        &mut self,
        Repeat { head, target, reply_format, is_own_forward, exchange }: Repeat,
        stream: TcpStream,
        held: Option<Box<HeldBytes>>,
    ) -> Option<NextExchange> {
        let (epoch, mut client) = self.fresh_leg(stream, CompactInstant::now());
        let exchange = Arc::new(exchange.repeated());
        self.note_others(&exchange);
        let mut request = Request::repeated(head, target.clone(), reply_format, &exchange);
        if let Some(held) = held {
            client.state.meter.rx.count(held.bytes.len(), held.since);
            request.held = held.bytes;
            exchange.set_has_next();
        }
        let info = RequestInfo {
            mode: Some(Mode::Http),
            target: Some(target),
            announced: self.announced.clone(),
            exchange: Some(exchange),
            is_own_forward,
        };
        let conn_log = self.begin_log(epoch, info);
        self.connect(conn_log, client, Ok(request)).await
    }

    /// Connects a new pair. If that fails, the client's connection ends, as that of a first pair.
    async fn connect(
        &self,
        mut conn_log: Box<ConnectionLog>,
        mut client: Box<Leg>,
        request: Result<Request, Refusal>,
    ) -> Option<NextExchange> {
        let meter = &mut client.state.meter;
        meter.snapshot_open(&client.stream);
        let [rx_bytes, tx_bytes] = self.bytes;
        meter.others = Some(Box::new(OtherPairs { rx_bytes, tx_bytes, ..OtherPairs::default() }));
        delay_guess(&conn_log, &client, request.as_ref().err()).await;
        let connecting = async { connect_request(&mut conn_log, &mut client, request?).await };
        let connected = catch_panic(Box::pin(connecting)).await;
        let connected = connected.unwrap_or_else(|CaughtPanic| Err(panicked().into()));
        match connected {
            Ok(ConnectedPair { upstream, halves, is_parent }) => {
                conn_log.record_open(&client, &upstream);
                let (later, repeat) = (None, None);
                Some(NextExchange { conn_log, client, upstream, halves, is_parent, later, repeat })
            }
            Err(error) => {
                refuse(conn_log, client, error).await;
                None
            }
        }
    }
}

impl NextRequest {
    /// The target of a request that can share a connection with others.
    fn target(&self) -> Option<&Target> {
        let request = self.request.as_ref().ok()?;
        (self.info.mode == Some(Mode::Http)).then_some(&request.target)
    }
}

/// The exchange of a further request on a pair.
fn continue_with(pair: OpenPair, next: NextRequest) -> Option<NextExchange> {
    let OpenPair { conn_log, client, mut upstream, mut turns, is_parent } = pair;
    let NextRequest { request, info, client: fresh, bytes, since, .. } = next;
    let (Ok(mut request), Some(exchange)) = (request, info.exchange) else { return None };
    exchange.set_later();
    let repeat = exchange.is_repeatable().then(|| Repeat {
        head: request.first.clone(),
        target: request.target.clone(),
        reply_format: request.reply_format,
        is_own_forward: info.is_own_forward,
        exchange: Arc::clone(&exchange),
    });
    if is_parent && let Some(parent) = &conn_log.shared.settings.http_via {
        request.rewrite_for_parent(&exchange, parent.authorization().as_deref());
    }
    let Leg { stream, state: read } = *fresh;
    let mut client = Box::new(Leg { stream, state: client });
    client.state.absorb(read);
    upstream.state.is_complete = false;
    upstream.state.meter.own_tx += request.authored as u64;
    turns.begin_next_request((&client, &upstream), bytes, since, CompactInstant::now());
    let editors = request.editors?;
    let halves = halves([request.first, Vec::new()], editors, request.held, turns);
    let later = Some(exchange);
    Some(NextExchange { conn_log, client, upstream, halves, is_parent, later, repeat })
}
