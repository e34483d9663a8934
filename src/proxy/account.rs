//! The pair's account: from what happened to the line that tells it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use uuid::Uuid;

use super::admission::{ClientPlace, Place};
use super::counters::Added;
use super::listener::Entry;
use super::{Limits, Shared};
use crate::clock::{self, Moment, Nanos};
use crate::conn::{Epoch, Meter};
use crate::dial::{DialLog, OwnConnection, OwnStream};
use crate::ingress::{Asked, Exchange, Target};
use crate::judge::{Course, Finish, Known, Opened, Setup, ending, turn, turns, verdict, warnings};
use crate::observe::Sight;
use crate::process;
use crate::record::{
    self, BriefLine, Delivered, Delivery, Delta, Detail, EndedTurn, Line, Phase, Phases, Record,
    Report, Sample, SampleReason, SampledLeg, WaitingFor,
};
use crate::relay::{Leg, LegState, Patience, Side, Story, Told, Turns, Waiting, Watch};

/// What is known of a pair beside its two sockets.
pub(super) struct Account {
    pub(super) shared: Arc<Shared>,
    pub(super) asked: Asked,
    /// How long the client's request took. `None` where there is none to read.
    pub(super) request: Option<Nanos>,
    pub(super) dialled: DialLog,
    /// The upstream's connection among those that we dialled; held until its socket is closed.
    pub(super) own_connection: Option<OwnConnection>,
    /// The local program that is the client, once it was found.
    pub(super) process: Option<process::Answer>,
    /// What the observers of a tunnel see.
    pub(super) sight: Option<Arc<Sight>>,
    /// Held until both sockets are closed.
    pub(super) client_place: Option<Box<ClientPlace>>,
    place: Place,
    seq: u64,
    epoch: Epoch,
    pub(super) entry: Arc<Entry>,
    /// Payload that was counted while the pair was open.
    added: Added,
    /// Bytes to upstream and to client that earlier lines reported. Boxed, because most pairs have none.
    reported: Option<Box<(u64, u64)>>,
    is_recorded: bool,
    /// The end was counted.
    is_counted: bool,
}

impl Watch for Account {
    fn poll(
        &mut self,
        client: &Side<'_>,
        upstream: &Side<'_>,
        turns: &mut Turns,
        _: &mut Context<'_>,
    ) {
        self.count_payload(&client.state.meter, Some(&upstream.state.meter));
        self.turns_ended(&turns.ended());
    }
}

impl Drop for Account {
    /// A pair whose task ended in a panic where it has no record to give is accounted for as well.
    fn drop(&mut self) {
        self.count_end();
        if !self.is_recorded && self.shared.settings.events.close {
            self.shared.recorder.lose();
        }
    }
}

impl Account {
    pub(super) fn new(
        shared: Arc<Shared>,
        seq: u64,
        epoch: Epoch,
        entry: Arc<Entry>,
        place: Place,
    ) -> Self {
        Self {
            shared,
            asked: Asked::default(),
            request: None,
            dialled: DialLog::default(),
            own_connection: None,
            process: None,
            sight: None,
            client_place: None,
            place,
            seq,
            epoch,
            entry,
            added: Added::default(),
            reported: None,
            is_recorded: false,
            is_counted: false,
        }
    }

    /// How long relaying may go on from here.
    pub(super) fn patience(&self) -> Option<Box<Patience>> {
        let Limits { idle, lifetime, .. } = self.shared.settings.limits;
        let [idle, lifetime] = [idle, lifetime].map(|time| time.filter(|time| !time.is_zero()));
        let until = lifetime.map(|lifetime| clock::after(self.epoch.start().into(), lifetime));
        Patience::new(idle, until)
    }

    /// The client's request has come to its end, whichever.
    pub(super) fn request_ended(&mut self) {
        self.request = Some(self.epoch.start().elapsed().into());
    }

    /// The upstream's leg, right after connect.
    pub(super) fn upstream_leg(&mut self, own: OwnStream) -> Box<Leg> {
        let OwnStream { stream, connection } = own;
        self.own_connection = Some(connection);
        let mut meter = Meter::new(self.epoch, Moment::now());
        meter.look_at_open(&stream);
        meter.local = stream.local_addr().ok();
        if let Some((address, failed)) = self.dialled.winner() {
            // Not always the address that was dialled: the unspecified one leads to loopback.
            meter.remote = Some(stream.peer_addr().unwrap_or(address));
            meter.reconnects = u32::try_from(failed).unwrap_or(u32::MAX);
        }
        Leg::boxed(stream, meter)
    }

    /// Whether the connection to the upstream has come back to a listener of ours.
    pub(super) fn has_returned(&self) -> bool {
        self.own_connection.as_ref().is_some_and(OwnConnection::has_returned)
    }

    /// The `open` line, if it is asked for.
    pub(super) fn record_open(&mut self, client: &Leg, upstream: &Leg) {
        if self.shared.settings.events.open {
            let record = self.build(&client.state, Some(&upstream.state), None);
            self.write(Line::Open(Box::new(record)));
        }
    }

    /// A sample line.
    pub(super) fn record_sample(
        &mut self,
        reason: SampleReason,
        leg: Option<record::Leg>,
        client: SampledLeg,
        upstream: SampledLeg,
        waiting: Option<Waiting>,
    ) {
        let now = Moment::now();
        let waiting = waiting.filter(|_| !self.is_multiplexed());
        let waiting_for = waiting.map(|Waiting { who, since }| WaitingFor {
            who,
            since: self.epoch.unix_nanos(since),
            duration: now.saturating_since(since),
        });
        let delta = self.delta(upstream.tx_bytes, client.tx_bytes);
        let settings = &self.shared.settings;
        let sample = Sample {
            schema: record::SCHEMA,
            time: Timestamp::now(),
            host: settings.host.clone(),
            labels: settings.labels.clone(),
            run_id: settings.run_id,
            seq: self.seq,
            id: self.id(),
            mode: self.asked.mode,
            listener: self.entry.listener.clone(),
            target: self.asked.target.as_ref().map(Target::to_string),
            duration: self.epoch.start().elapsed(),
            reason,
            leg,
            client,
            upstream,
            waiting_for,
            delta,
            line: 0,
        };
        self.write(Line::Sample(Box::new(sample)));
    }

    /// Whether somebody is told of each turn.
    pub(super) fn heeds_turns(&self) -> bool {
        self.shared.settings.events.turn || self.shared.counters.are_shown()
    }

    /// Counts these turns, and writes lines of them if those are asked for.
    fn turns_ended(&self, turns: &[Told]) {
        if turns.is_empty() || self.is_multiplexed() {
            return;
        }
        let settings = &self.shared.settings;
        for told in turns {
            self.entry.waits.add(told.wait);
            if settings.events.turn && told.wait >= settings.turn_min {
                self.record_turn(told);
            }
        }
    }

    /// A turn line.
    fn record_turn(&self, told: &Told) {
        let Shared { settings, recorder, .. } = &*self.shared;
        // What an open pair has to say must not fill the memory while nothing can be written.
        if recorder.is_full() {
            return recorder.lose();
        }
        let turn = EndedTurn {
            schema: record::SCHEMA,
            time: Timestamp::now(),
            host: settings.host.clone(),
            labels: settings.labels.clone(),
            run_id: settings.run_id,
            seq: self.seq,
            id: self.id(),
            mode: self.asked.mode,
            listener: self.entry.listener.clone(),
            target: self.asked.target.as_ref().map(Target::to_string),
            number: told.number,
            crossed: told.is_crossed,
            turn: turn(told, self.epoch),
            line: 0,
        };
        self.write(Line::Turn(Box::new(turn)));
    }

    /// Whether bytes were relayed since the pair's previous line.
    pub(super) fn has_news(&self, [client, upstream]: [&Meter; 2]) -> bool {
        (upstream.tx.bytes, client.tx.bytes)
            != self.reported.as_deref().copied().unwrap_or_default()
    }

    /// What was relayed since the pair's previous line, with this one.
    fn delta(&mut self, to_upstream: u64, to_client: u64) -> Delta {
        let now = Box::new((to_upstream, to_client));
        let before = self.reported.replace(now).as_deref().copied().unwrap_or_default();
        Delta { to_upstream: to_upstream - before.0, to_client: to_client - before.1 }
    }

    fn id(&self) -> String {
        let run_id = self.shared.settings.run_id.hyphenated();
        format!("{}-{}", run_id.encode_lower(&mut Uuid::encode_buffer()), self.seq)
    }

    /// What the pair's time was spent on while it was relayed. Both sockets are closed.
    pub(super) fn story(
        &self,
        mut turns: Turns,
        client: &LegState,
        upstream: &LegState,
    ) -> Box<Story> {
        self.turns_ended(&turns.ended());
        let story = turns.finish(client, upstream, self.is_multiplexed());
        if let Some(tally) = story.tally.as_ref().filter(|_| !story.is_mixed) {
            self.turns_ended(&tally.ended);
        }
        Box::new(story)
    }

    /// Its protocol is known to carry many conversations at once.
    fn is_multiplexed(&self) -> bool {
        self.sight.as_ref().is_some_and(|sight| sight.is_multiplexed())
    }

    /// The pair's end. Both sockets are closed: there is time to decode.
    pub(super) fn record(
        &mut self,
        client: &LegState,
        upstream: Option<&LegState>,
        finish: Finish,
    ) {
        (self.place, self.client_place, self.own_connection) = (None, None, None);
        self.count_payload(&client.meter, upstream.map(|leg| &leg.meter));
        self.count_end();
        let shared = Arc::clone(&self.shared);
        let is_written = shared.settings.events.close;
        if is_written || shared.on_close.is_some() {
            let record = self.build(client, upstream, Some(finish));
            if let Some(on_close) = &shared.on_close {
                // It is not ours: that it panics costs no record.
                let _ = catch_unwind(AssertUnwindSafe(|| on_close.0(&record)));
            }
            if is_written {
                self.write(Line::Close(Box::new(record)));
            }
        }
        self.is_recorded = true;
    }

    /// The pair ends without a record: it was counted.
    pub(super) fn leave_unrecorded(&mut self) {
        self.entry.connections.refused.fetch_add(1, Ordering::Relaxed);
        (self.is_recorded, self.is_counted) = (true, true);
    }

    /// Counts from here on what passes as going to this target, if it was dialled.
    pub(super) fn count_by_target(&mut self, target: &Target) {
        if self.dialled.has_attempts()
            && let Some(entry) = self.shared.counters.entry_for(&self.entry, target)
        {
            self.entry = entry;
        }
    }

    /// Adds the payload that has passed since it last did.
    pub(super) fn count_payload(&mut self, client: &Meter, upstream: Option<&Meter>) {
        let passed = [upstream.map_or(0, Meter::payload_sent), client.payload_sent()];
        self.added.add_rest(passed, &self.entry.payload);
    }

    fn count_end(&mut self) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.entry.connections.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Queues a line, with as much of it as is asked for.
    fn write(&self, mut line: Line) {
        let Shared { settings, recorder, .. } = &*self.shared;
        match settings.detail {
            Detail::Brief => recorder.push_brief(&BriefLine::from(&line)),
            Detail::Normal => {
                line.cut_to_normal();
                recorder.push(&line);
            }
            Detail::Full => recorder.push(&line),
        }
    }

    fn build(
        &mut self,
        client: &LegState,
        upstream: Option<&LegState>,
        finish: Option<Finish>,
    ) -> Record {
        let closed = finish.is_some().then(|| {
            let upstream = upstream.and_then(|leg| leg.meter.closed);
            client.meter.closed.max(upstream).unwrap_or_else(Moment::now)
        });
        let is_relayed = match &finish {
            None | Some(Finish::Relayed(..)) => true,
            Some(Finish::Failed(failure)) => failure.phase == Phase::Relay,
        };
        let (client_purged, upstream_purged) =
            (client.purged, upstream.is_some_and(|leg| leg.purged));
        let states = (client, upstream);
        let meters = (&client.meter, upstream.map(|leg| &leg.meter));
        let report = |meter: &Meter| {
            let mut report = Report::from(meter);
            if self.shared.settings.raw {
                report.add_raw(meter);
            }
            report
        };
        let (client, upstream) = (report(meters.0), meters.1.map(report));
        let attempts = self.dialled.attempts(upstream.as_ref());
        let story = match &finish {
            Some(Finish::Relayed(_, story)) => Some(&**story),
            _ => None,
        };
        let verdict = finish.as_ref().and_then(|_| {
            let setup = self.setup(story, meters.0, upstream.as_ref(), &attempts);
            verdict(&setup, story, &client, upstream.as_ref())
        });
        let turns = story.and_then(|story| turns(story, self.epoch));
        let tls = self.sight.as_deref().and_then(Sight::tls);
        let ends = finish.map(|finish| {
            let upstream = states.1.zip(upstream.as_ref());
            ending((states.0, &client), upstream, tls.is_some(), finish)
        });
        let (outcome, ending) = ends.unzip();
        let relayed = states.1.filter(|_| is_relayed);
        let phases = self.phases(relayed, closed, &client);

        let delivery = Delivery {
            to_upstream: upstream
                .as_ref()
                .map(|leg| Delivered::of(leg, Opened::Actively, upstream_purged)),
            to_client: Some(Delivered::of(&client, Opened::Passively, client_purged)),
        };
        let delta = self.delta(upstream.as_ref().map_or(0, |leg| leg.tx_bytes), client.tx_bytes);

        let settings = &self.shared.settings;
        let exchange = self.asked.exchange.as_deref();
        let sight = self.sight.as_deref();
        let target = self.asked.target.as_ref();
        let client_address = self.asked.announced_source().or(client.remote_addr);
        Record {
            schema: record::SCHEMA,
            time: Timestamp::now(),
            host: settings.host.clone(),
            labels: settings.labels.clone(),
            run_id: settings.run_id,
            seq: self.seq,
            id: self.id(),
            mode: self.asked.mode,
            listener: self.entry.listener.clone(),
            client_host: client_address.map(|address| address.ip().to_canonical().to_string()),
            client_port: client_address.map(|address| address.port()),
            target: target.map(Target::to_string),
            target_host: target.map(Target::host),
            target_port: target.map(Target::port),
            via: self.dialled.via(),
            outcome,
            opened_at: client.opened_at,
            closed_at: closed.map(|at| self.epoch.unix_nanos(at)),
            duration: closed.unwrap_or_else(Moment::now).saturating_since(self.epoch.start()),
            warnings: warnings(&Known {
                client: &client,
                upstream: upstream.as_ref(),
                attempts: &attempts,
                phases: &phases,
                delivery: &delivery,
                exchange,
                longest_closed: (
                    meters.0.longest_closed(),
                    meters.1.map_or(Duration::ZERO, Meter::longest_closed),
                ),
                clock_step: self.epoch.step(SystemTime::now(), Moment::now()),
            }),
            phases,
            resolve_source: self.dialled.source(),
            attempts,
            attempts_omitted: self.dialled.attempts_omitted(),
            client,
            upstream,
            delivery,
            ending,
            verdict,
            turns,
            tls,
            http: exchange.map(Exchange::seen).or_else(|| sight.and_then(Sight::http)),
            process: self.process.as_ref().and_then(|answer| answer.get()).map(|p| (**p).clone()),
            delta,
            line: 0,
        }
    }

    fn setup(
        &self,
        story: Option<&Story>,
        client: &Meter,
        upstream: Option<&Report>,
        attempts: &[record::Attempt],
    ) -> Setup {
        let start = self.epoch.start();
        let first_byte = client.own_first.as_ref().map_or(client.rx.first, |own| own.rx);
        Setup::of(&Course {
            total: story.map(|story| story.began().saturating_since(start)),
            request: self.request.map(Nanos::get),
            until_first_byte: first_byte.map(|at| at.saturating_since(start)),
            dialled: &self.dialled,
            attempts,
            upstream,
        })
    }

    /// `closed` is when the pair ended, if it has.
    fn phases(
        &self,
        upstream: Option<&LegState>,
        closed: Option<Moment>,
        client: &Report,
    ) -> Phases {
        let asked = upstream.and_then(|leg| leg.meter.tx.first);
        // An upstream that never answered was waited for as long as it might have.
        let answered = upstream.and_then(|leg| {
            let ended = leg.ended.as_ref().map(|end| end.at);
            leg.meter.rx.first.or(closed.map(|closed| ended.unwrap_or(closed)))
        });
        Phases {
            accept_queue: accept_queue(client),
            request: self.request.map(Nanos::get),
            resolve: self.dialled.resolve(),
            connect: self.dialled.connect(),
            first_byte: upstream.and_then(|leg| {
                answered?.checked_since(self.dialled.tunnelled().unwrap_or(leg.meter.opened))
            }),
            response: asked
                .zip(answered)
                .and_then(|(asked, answered)| answered.checked_since(asked)),
        }
    }
}

/// On an accepted socket that has sent nothing yet, the age of the last data sent is the time
/// since the handshake: what it waited to be accepted.
fn accept_queue(client: &Report) -> Option<Duration> {
    client.opened_info.as_ref().and_then(|info| info.last_tx_at)
}
