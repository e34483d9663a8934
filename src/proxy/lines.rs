//! From what happened to a pair to the lines that tell it.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use uuid::Uuid;

use super::account::Account;
use super::shared::Shared;
use crate::clock::{Moment, Nanos};
use crate::conn::Meter;
use crate::ingress::Exchange;
use crate::judge::{Course, Finish, Known, Opened, Setup, ending, turn, turns, verdict, warnings};
use crate::observe::Sight;
use crate::record::{
    self, BriefLine, Delivered, Delivery, Detail, EndedTurn, Header, Line, Phase, Phases, Record,
    Report, Sample, SampleReason, SampledLeg, WaitingFor,
};
use crate::relay::{Leg, LegState, Story, Told, Waiting};
use crate::target::Target;

impl Account {
    /// The `open` line, if it is asked for.
    pub(super) fn record_open(&mut self, client: &Leg, upstream: &Leg) {
        if self.shared.settings.events.open {
            let record = self.line(&client.state, Some(&upstream.state), None);
            self.shared.hooks.open.tell(&record);
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
        let sample = Sample {
            header: self.header(),
            duration: self.epoch.start().elapsed(),
            reason,
            leg,
            client,
            upstream,
            waiting_for,
            delta,
            line: 0,
        };
        self.shared.hooks.sample.tell(&sample);
        self.write(Line::Sample(Box::new(sample)));
    }

    fn header(&self) -> Header {
        let settings = &self.shared.settings;
        Header {
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
        }
    }

    /// A turn line.
    pub(super) fn record_turn(&self, told: &Told) {
        let Shared { recorder, hooks, .. } = &*self.shared;
        // What an open pair has to say must not fill the memory while nothing can be written.
        if recorder.is_full() {
            return recorder.lose();
        }
        let turn = EndedTurn {
            header: self.header(),
            number: told.number,
            crossed: told.is_crossed,
            turn: turn(told, self.epoch),
            line: 0,
        };
        hooks.turn.tell(&turn);
        self.write(Line::Turn(Box::new(turn)));
    }

    /// Queues a line, with as much of it as is asked for.
    pub(super) fn write(&self, mut line: Line) {
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

    /// The line at this event: the pair's end, or its opening where `finish` is `None`.
    pub(super) fn line(
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

    fn id(&self) -> String {
        let run_id = self.shared.settings.run_id.hyphenated();
        format!("{}-{}", run_id.encode_lower(&mut Uuid::encode_buffer()), self.seq)
    }
}

/// On an accepted socket that has sent nothing yet, the age of the last data sent is the time
/// since the handshake: what it waited to be accepted.
fn accept_queue(client: &Report) -> Option<Duration> {
    client.opened_info.as_ref().and_then(|info| info.last_tx_at)
}
