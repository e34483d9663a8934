//! Builds the output lines of a pair.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use uuid::Uuid;

use super::connection_log::ConnectionLog;
use super::hooks::ClientTurn;
use super::shared::Shared;
use crate::clock::{CompactDuration, CompactInstant};
use crate::conn::Meter;
use crate::ingress::HttpExchange;
use crate::judge::{
    OpenKind, PairEnd, Setup, SetupInput, WarningInput, ending, turn, turns, verdict, warnings,
};
use crate::observe::Observations;
use crate::record::{
    self, BriefLine, Delivered, Delivery, Detail, EndedTurn, Header, Line, Phase, Phases, Process,
    Record, Report, Sample, SampleReason, SampledLeg, SampledProcess, WaitingFor,
};
use crate::relay::{CurrentWait, FinishedTurn, Leg, LegState, TimeBreakdown};
use crate::target::Target;

impl ConnectionLog {
    /// Writes the `open` line, if it is enabled.
    pub(super) fn record_open(&mut self, client: &Leg, upstream: &Leg) {
        if self.shared.settings.events.open {
            let record = self.line(&client.state, Some(&upstream.state), None);
            self.shared.hooks.open.call(&record);
            self.write(Line::Open(Box::new(record)));
        }
    }

    /// Writes a `sample` line.
    pub(super) fn record_sample(
        &mut self,
        reason: SampleReason,
        leg: Option<record::Leg>,
        client: SampledLeg,
        upstream: SampledLeg,
        waiting: Option<CurrentWait>,
    ) {
        let now = CompactInstant::now();
        let waiting = waiting.filter(|_| !self.is_multiplexed());
        let waiting_for = waiting.map(|CurrentWait { who, since }| WaitingFor {
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
            process: self.process().map(SampledProcess::from),
            client,
            upstream,
            waiting_for,
            delta,
            line: 0,
        };
        self.shared.hooks.sample.call(&sample);
        self.write(Line::Sample(Box::new(sample)));
    }

    /// The client's program, once it has been found.
    fn process(&self) -> Option<&Process> {
        self.process.as_ref()?.get().map(|process| &**process)
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
            mode: self.request_info.mode,
            listener: self.entry.listener.clone(),
            target: self.request_info.target.as_ref().map(Target::to_string),
        }
    }

    /// Writes a `turn` line.
    pub(super) fn record_turn(&self, finished: &FinishedTurn, client: &Meter) {
        let Shared { recorder, hooks, .. } = &*self.shared;
        let turn = EndedTurn {
            header: self.header(),
            number: finished.number,
            crossed: finished.is_crossed,
            turn: turn(finished, self.epoch),
            line: 0,
        };
        let turn = match hooks.turn.is_set() {
            true => {
                let client = self.request_info.announced_source().or(client.remote);
                let process = self.process.as_ref().and_then(|answer| answer.get()).cloned();
                let turn = ClientTurn { turn, client, process };
                hooks.turn.call(&turn);
                turn.turn
            }
            false => turn,
        };
        // Lines of open pairs must not fill the memory while nothing can be written.
        match recorder.is_full() {
            true => recorder.count_lost(),
            false => self.write(Line::Turn(Box::new(turn))),
        }
    }

    /// Queues a line at the level of detail of the settings.
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

    /// Builds the record: at the pair's end, or at its opening if `finish` is `None`.
    pub(super) fn line(
        &mut self,
        client: &LegState,
        upstream: Option<&LegState>,
        finish: Option<PairEnd>,
    ) -> Record {
        let closed = finish.is_some().then(|| {
            let upstream = upstream.and_then(|leg| leg.meter.closed);
            client.meter.closed.max(upstream).unwrap_or_else(CompactInstant::now)
        });
        let is_relayed = match &finish {
            None | Some(PairEnd::Relayed(..)) => true,
            Some(PairEnd::Failed(failure)) => failure.phase == Phase::Relay,
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
        let attempts = self.dial_log.attempts(upstream.as_ref());
        let breakdown = match &finish {
            Some(PairEnd::Relayed(_, breakdown)) => Some(&**breakdown),
            _ => None,
        };
        let verdict = finish.as_ref().and_then(|_| {
            let setup = self.setup(breakdown, meters.0, upstream.as_ref(), &attempts);
            verdict(&setup, breakdown, &client, upstream.as_ref())
        });
        let turns = breakdown.and_then(|breakdown| turns(breakdown, self.epoch));
        let tls = self.observations.as_deref().and_then(Observations::tls);
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
                .map(|leg| Delivered::from_leg(leg, OpenKind::Active, upstream_purged)),
            to_client: Some(Delivered::from_leg(&client, OpenKind::Passive, client_purged)),
        };
        let delta = self.delta(upstream.as_ref().map_or(0, |leg| leg.tx_bytes), client.tx_bytes);

        let exchange = self.request_info.exchange.as_deref();
        let observations = self.observations.as_deref();
        let requested = self.request_info.target.as_ref();
        let client_address = self.request_info.announced_source().or(client.remote_addr);
        let Header { schema, time, host, labels, run_id, seq, id, mode, listener, target } =
            self.header();
        Record {
            schema,
            time,
            host,
            labels,
            run_id,
            seq,
            id,
            mode,
            listener,
            client_host: client_address.map(|address| address.ip().to_canonical().to_string()),
            client_port: client_address.map(|address| address.port()),
            target,
            target_host: requested.map(Target::host),
            target_port: requested.map(Target::port),
            via: self.dial_log.via(),
            outcome,
            opened_at: client.opened_at,
            closed_at: closed.map(|at| self.epoch.unix_nanos(at)),
            duration: closed
                .unwrap_or_else(CompactInstant::now)
                .saturating_since(self.epoch.start()),
            warnings: warnings(&WarningInput {
                client: &client,
                upstream: upstream.as_ref(),
                attempts: &attempts,
                phases: &phases,
                is_accepted: self.previous.is_none(),
                client_stays: self.client_stays,
                delivery: &delivery,
                exchange,
                longest_closed: (
                    meters.0.longest_closed(),
                    meters.1.map_or(Duration::ZERO, Meter::longest_closed),
                ),
                clock_step: self.epoch.step(SystemTime::now(), CompactInstant::now()),
            }),
            phases,
            resolve_source: self.dial_log.source(),
            attempts,
            attempts_omitted: self.dial_log.attempts_omitted(),
            client,
            upstream,
            delivery,
            ending,
            verdict,
            turns,
            tls,
            http: exchange
                .map(HttpExchange::seen)
                .or_else(|| observations.and_then(Observations::http)),
            previous: self.previous.clone(),
            process: self.process().cloned(),
            delta,
            line: 0,
        }
    }

    fn setup(
        &self,
        breakdown: Option<&TimeBreakdown>,
        client: &Meter,
        upstream: Option<&Report>,
        attempts: &[record::Attempt],
    ) -> Setup {
        let start = self.epoch.start();
        let first_byte = client.own_first.as_ref().map_or(client.rx.first, |own| own.rx);
        Setup::new(&SetupInput {
            total: breakdown.map(|breakdown| breakdown.began().saturating_since(start)),
            request: self.request.map(CompactDuration::get),
            until_first_byte: first_byte.map(|at| at.saturating_since(start)),
            dial_log: &self.dial_log,
            attempts,
            upstream,
        })
    }

    /// `closed` is when the pair ended, if it has.
    fn phases(
        &self,
        upstream: Option<&LegState>,
        closed: Option<CompactInstant>,
        client: &Report,
    ) -> Phases {
        let first_sent = upstream.and_then(|leg| leg.meter.tx.first);
        // The wait for an upstream that never answered lasts until it could not answer any more.
        let answered = upstream.and_then(|leg| {
            let ended = leg.ended.as_ref().map(|end| end.at);
            leg.meter.rx.first.or(closed.map(|closed| ended.unwrap_or(closed)))
        });
        Phases {
            // A further pair of a client's connection was not accepted.
            accept_queue: accept_queue(client).filter(|_| self.previous.is_none()),
            request: self.request.map(CompactDuration::get),
            resolve: self.dial_log.resolve(),
            connect: self.dial_log.connect(),
            first_byte: upstream.and_then(|leg| {
                answered?.checked_since(self.dial_log.tunnelled().unwrap_or(leg.meter.opened))
            }),
            response: first_sent
                .zip(answered)
                .and_then(|(sent, answered)| answered.checked_since(sent)),
        }
    }

    pub(super) fn id(&self) -> String {
        let run_id = self.shared.settings.run_id.hyphenated();
        format!("{}-{}", run_id.encode_lower(&mut Uuid::encode_buffer()), self.seq)
    }
}

/// On an accepted socket that has sent nothing yet, the age of the last data sent is the time since
/// the handshake: the time in the accept queue.
fn accept_queue(client: &Report) -> Option<Duration> {
    client.opened_info.as_ref().and_then(|info| info.last_tx_at)
}
