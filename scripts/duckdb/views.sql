-- Views over files of records, plain or compressed by gzip or zstd. The variable `records` says which:
--
--   SET VARIABLE records = '/var/log/conniver/records.ndjson*';
--   .read views.sql
--
-- Nothing is imported: each query reads the files. to-parquet.sql makes a copy that is read faster.
-- Durations are in milliseconds, instants in UTC with microseconds.

-- An instant and a duration of the records (ns) as SQL's.
CREATE OR REPLACE MACRO instant(ns) AS make_timestamp(ns // 1000);
CREATE OR REPLACE MACRO ms(ns) AS ns / 1e6;

-- Every line. What has keys of its own stays JSON; its views are below. Brief lines have no instants but their own.
CREATE OR REPLACE VIEW lines AS
SELECT * REPLACE (
    coalesce(openedAt, epoch_ns(time) - duration) AS openedAt,
    coalesce(closedAt, CASE event WHEN 'close' THEN epoch_ns(time) END) AS closedAt
)
FROM read_ndjson(
    getvariable('records'),
    columns = {
        event: 'VARCHAR', time: 'TIMESTAMP', host: 'VARCHAR', labels: 'MAP(VARCHAR, VARCHAR)', runId: 'VARCHAR',
        seq: 'UBIGINT', id: 'VARCHAR', mode: 'VARCHAR', listener: 'VARCHAR', clientHost: 'VARCHAR',
        clientPort: 'USMALLINT', target: 'VARCHAR', targetHost: 'VARCHAR', targetPort: 'USMALLINT', via: 'VARCHAR',
        outcome: 'VARCHAR', openedAt: 'BIGINT', closedAt: 'BIGINT', duration: 'BIGINT', phases: 'JSON',
        resolveSource: 'VARCHAR', attempts: 'JSON', client: 'JSON', upstream: 'JSON', delivery: 'JSON',
        ending: 'JSON', verdict: 'JSON', turns: 'JSON', tls: 'JSON', http: 'JSON', process: 'JSON',
        warnings: 'JSON', number: 'UBIGINT', "at": 'BIGINT', wait: 'BIGINT', network: 'BIGINT',
        requestBytes: 'UBIGINT', answerBytes: 'UBIGINT', limitedBy: 'VARCHAR', crossed: 'BOOLEAN', line: 'UBIGINT'
    },
    -- The last line of a file that is being written may not be whole.
    ignore_errors = true,
    maximum_object_size = 67108864
);

-- Connections that have ended. What brief records do not have is null.
CREATE OR REPLACE VIEW pairs AS
SELECT
    id, runId AS run, seq, host, labels, mode, listener, clientHost AS client_host, clientPort AS client_port,
    target, targetHost AS target_host, targetPort AS target_port, via, outcome,
    instant(openedAt) AS opened_at, instant(closedAt) AS closed_at, ms(duration) AS duration_ms,
    resolveSource AS resolve_source,
    ms((phases->>'acceptQueue')::BIGINT) AS accept_queue_ms,
    ms((phases->>'request')::BIGINT) AS request_ms,
    ms((phases->>'resolve')::BIGINT) AS resolve_ms,
    ms((phases->>'connect')::BIGINT) AS connect_ms,
    ms((phases->>'firstByte')::BIGINT) AS first_byte_ms,
    (upstream->>'txBytes')::UBIGINT AS sent,
    (upstream->>'rxBytes')::UBIGINT AS received,
    (delivery->>'$.toUpstream.undelivered')::UBIGINT AS undelivered_to_upstream,
    (delivery->>'$.toClient.undelivered')::UBIGINT AS undelivered_to_client,
    ms(coalesce(client->>'$.eofInfo.rtt', client->>'$.closedInfo.rtt')::BIGINT) AS client_rtt_ms,
    ms(coalesce(upstream->>'$.eofInfo.rtt', upstream->>'$.closedInfo.rtt')::BIGINT) AS upstream_rtt_ms,
    (client->>'lost')::UBIGINT AS client_lost,
    (upstream->>'lost')::UBIGINT AS upstream_lost,
    (client->>'$.closedInfo.retransmits')::UBIGINT AS client_retransmits,
    (upstream->>'$.closedInfo.retransmits')::UBIGINT AS upstream_retransmits,
    ending->>'phase' AS ended_in, ending->>'firstBy' AS ended_by, ending->>'firstHow' AS ended_how,
    ending->>'error' AS error, ending->>'errorCode' AS error_code,
    verdict->>'limitedBy' AS limited_by, (verdict->>'share')::DOUBLE AS limited_share,
    ms((verdict->>'active')::BIGINT) AS active_ms,
    ms((verdict->>'$.time.resolver')::BIGINT) AS resolver_time_ms,
    ms((verdict->>'$.time.client')::BIGINT) AS client_time_ms,
    ms((verdict->>'$.time.upstream')::BIGINT) AS upstream_time_ms,
    ms((verdict->>'$.time.networkClient')::BIGINT) AS network_client_time_ms,
    ms((verdict->>'$.time.networkUpstream')::BIGINT) AS network_upstream_time_ms,
    ms((verdict->>'$.time.proxy')::BIGINT) AS proxy_time_ms,
    ms((verdict->>'$.time.idle')::BIGINT) AS idle_time_ms,
    (turns->>'count')::UBIGINT AS turns,
    ms((turns->>'$.wait.total')::BIGINT) AS wait_total_ms,
    ms((turns->>'$.wait.p50')::BIGINT) AS wait_p50_ms,
    ms((turns->>'$.wait.max')::BIGINT) AS wait_max_ms,
    tls->>'serverName' AS tls_name, http->>'method' AS http_method, (http->>'status')::USMALLINT AS http_status,
    process->>'name' AS process, (process->>'pid')::UINTEGER AS pid
FROM lines WHERE event = 'close';

-- Requests and their answers, one by one (`--events turn`).
CREATE OR REPLACE VIEW turns AS
SELECT
    id, runId AS run, seq, host, labels, mode, listener, target, number, crossed,
    instant("at") AS began_at, ms(duration) AS duration_ms, ms(wait) AS wait_ms, ms(network) AS network_ms,
    requestBytes AS request_bytes, answerBytes AS answer_bytes, limitedBy AS limited_by
FROM lines WHERE event = 'turn';

-- Attempts to connect.
CREATE OR REPLACE VIEW attempts AS
SELECT
    id, host, target, instant(openedAt) AS opened_at,
    attempt->>'addr' AS addr, ms((attempt->>'startedAfter')::BIGINT) AS started_after_ms,
    ms((attempt->>'duration')::BIGINT) AS duration_ms, attempt->>'outcome' AS outcome,
    (attempt->>'synRetransmits')::UBIGINT AS syn_retransmits, attempt->>'errorCode' AS error_code
FROM (SELECT *, unnest(attempts::JSON[]) AS attempt FROM lines WHERE event = 'close');

-- Warnings.
CREATE OR REPLACE VIEW warnings AS
SELECT
    id, host, target, instant(openedAt) AS opened_at,
    warning->>'code' AS code, warning->>'leg' AS leg, (warning->>'value')::BIGINT AS value,
    warning->>'unit' AS unit, warning->>'text' AS text
FROM (SELECT *, unnest(warnings::JSON[]) AS warning FROM lines WHERE event = 'close');
