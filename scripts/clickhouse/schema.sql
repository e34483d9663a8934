-- Tables for records of many proxies. Records are inserted as they are:
--
--   clickhouse-client --query 'INSERT INTO conniver.landing SETTINGS input_format_skip_unknown_fields = 1
--       FORMAT JSONEachRow' < records.ndjson
--
-- The landing table keeps nothing: materialized views take each line apart. Durations are in nanoseconds, instants
-- in UTC. A line that is inserted twice stands twice: after a failure, a collector must insert the same batch again,
-- which replicated tables recognize (see cluster.sql).

CREATE DATABASE IF NOT EXISTS conniver;

CREATE TABLE IF NOT EXISTS conniver.landing
(
    event LowCardinality(String),
    time DateTime64(6, 'UTC'),
    host LowCardinality(String),
    labels Map(String, String),
    runId UUID,
    seq UInt64,
    id String,
    mode LowCardinality(Nullable(String)),
    listener LowCardinality(String),
    clientHost Nullable(String),
    target Nullable(String),
    via Nullable(String),
    outcome LowCardinality(Nullable(String)),
    -- Brief lines have no instant but their own.
    openedAt Int64 DEFAULT toUnixTimestamp64Micro(time) * 1000 - toInt64(duration),
    duration UInt64,
    resolveSource LowCardinality(Nullable(String)),
    -- What has keys of its own arrives as its JSON.
    phases String,
    attempts String,
    client String,
    upstream String,
    delivery String,
    ending String,
    verdict String,
    turns String,
    process String,
    warnings String,
    -- Of turn lines.
    number UInt64,
    at Int64,
    wait UInt64,
    network UInt64,
    requestBytes UInt64,
    answerBytes UInt64,
    limitedBy LowCardinality(String)
)
ENGINE = Null;

-- Connections that have ended.
CREATE TABLE IF NOT EXISTS conniver.pairs
(
    opened_at DateTime64(9, 'UTC') CODEC(Delta, ZSTD),
    host LowCardinality(String),
    labels Map(LowCardinality(String), String),
    id String CODEC(ZSTD),
    mode LowCardinality(String),
    listener LowCardinality(String),
    client_host LowCardinality(String),
    target LowCardinality(String),
    via LowCardinality(String),
    process LowCardinality(String),
    outcome LowCardinality(String),
    duration UInt64 CODEC(T64, ZSTD),
    resolve Nullable(UInt64) CODEC(ZSTD),
    connect Nullable(UInt64) CODEC(ZSTD),
    first_byte Nullable(UInt64) CODEC(ZSTD),
    sent Nullable(UInt64) CODEC(ZSTD),
    received Nullable(UInt64) CODEC(ZSTD),
    undelivered_to_upstream Nullable(UInt64) CODEC(ZSTD),
    undelivered_to_client Nullable(UInt64) CODEC(ZSTD),
    client_rtt Nullable(UInt64) CODEC(ZSTD),
    upstream_rtt Nullable(UInt64) CODEC(ZSTD),
    client_lost Nullable(UInt64) CODEC(ZSTD),
    upstream_lost Nullable(UInt64) CODEC(ZSTD),
    ended_by LowCardinality(String),
    ended_how LowCardinality(String),
    error_code LowCardinality(String),
    limited_by LowCardinality(String),
    active Nullable(UInt64) CODEC(ZSTD),
    turns Nullable(UInt64) CODEC(ZSTD),
    wait_total Nullable(UInt64) CODEC(ZSTD),
    wait_max Nullable(UInt64) CODEC(ZSTD)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(opened_at)
ORDER BY (target, opened_at)
TTL toDateTime(opened_at) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS conniver.landing_to_pairs TO conniver.pairs AS
SELECT
    fromUnixTimestamp64Nano(openedAt, 'UTC') AS opened_at, host, labels, id, ifNull(l.mode, '') AS mode, listener,
    ifNull(clientHost, '') AS client_host, ifNull(l.target, '') AS target, ifNull(l.via, '') AS via,
    JSONExtractString(l.process, 'name') AS process, ifNull(l.outcome, '') AS outcome, duration,
    JSONExtract(phases, 'resolve', 'Nullable(UInt64)') AS resolve,
    JSONExtract(phases, 'connect', 'Nullable(UInt64)') AS connect,
    JSONExtract(phases, 'firstByte', 'Nullable(UInt64)') AS first_byte,
    JSONExtract(upstream, 'txBytes', 'Nullable(UInt64)') AS sent,
    JSONExtract(upstream, 'rxBytes', 'Nullable(UInt64)') AS received,
    JSONExtract(delivery, 'toUpstream', 'undelivered', 'Nullable(UInt64)') AS undelivered_to_upstream,
    JSONExtract(delivery, 'toClient', 'undelivered', 'Nullable(UInt64)') AS undelivered_to_client,
    coalesce(
        JSONExtract(client, 'eofInfo', 'rtt', 'Nullable(UInt64)'), JSONExtract(client, 'closedInfo', 'rtt', 'Nullable(UInt64)')
    ) AS client_rtt,
    coalesce(
        JSONExtract(upstream, 'eofInfo', 'rtt', 'Nullable(UInt64)'), JSONExtract(upstream, 'closedInfo', 'rtt', 'Nullable(UInt64)')
    ) AS upstream_rtt,
    JSONExtract(client, 'lost', 'Nullable(UInt64)') AS client_lost,
    JSONExtract(upstream, 'lost', 'Nullable(UInt64)') AS upstream_lost,
    JSONExtractString(ending, 'firstBy') AS ended_by, JSONExtractString(ending, 'firstHow') AS ended_how,
    JSONExtractString(ending, 'errorCode') AS error_code, JSONExtractString(verdict, 'limitedBy') AS limited_by,
    JSONExtract(verdict, 'active', 'Nullable(UInt64)') AS active,
    JSONExtract(l.turns, 'count', 'Nullable(UInt64)') AS turns,
    JSONExtract(l.turns, 'wait', 'total', 'Nullable(UInt64)') AS wait_total,
    JSONExtract(l.turns, 'wait', 'max', 'Nullable(UInt64)') AS wait_max
FROM conniver.landing AS l
WHERE event = 'close';

-- Requests and their answers, one by one (--events turn).
CREATE TABLE IF NOT EXISTS conniver.turns
(
    began_at DateTime64(9, 'UTC') CODEC(Delta, ZSTD),
    host LowCardinality(String),
    id String CODEC(ZSTD),
    target LowCardinality(String),
    number UInt64 CODEC(ZSTD),
    duration UInt64 CODEC(ZSTD),
    wait UInt64 CODEC(ZSTD),
    network UInt64 CODEC(ZSTD),
    request_bytes UInt64 CODEC(ZSTD),
    answer_bytes UInt64 CODEC(ZSTD),
    limited_by LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(began_at)
ORDER BY (target, began_at)
TTL toDateTime(began_at) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS conniver.landing_to_turns TO conniver.turns AS
SELECT
    fromUnixTimestamp64Nano(at, 'UTC') AS began_at, host, id, ifNull(target, '') AS target, number, duration, wait,
    network, requestBytes AS request_bytes, answerBytes AS answer_bytes, limitedBy AS limited_by
FROM conniver.landing
WHERE event = 'turn';

-- Attempts to connect.
CREATE TABLE IF NOT EXISTS conniver.attempts
(
    opened_at DateTime64(9, 'UTC') CODEC(Delta, ZSTD),
    host LowCardinality(String),
    id String CODEC(ZSTD),
    target LowCardinality(String),
    addr LowCardinality(String),
    duration UInt64 CODEC(ZSTD),
    outcome LowCardinality(String),
    syn_retransmits Nullable(UInt64) CODEC(ZSTD),
    error_code LowCardinality(String)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(opened_at)
ORDER BY (target, opened_at)
TTL toDateTime(opened_at) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS conniver.landing_to_attempts TO conniver.attempts AS
SELECT
    fromUnixTimestamp64Nano(openedAt, 'UTC') AS opened_at, host, id, ifNull(target, '') AS target,
    JSONExtractString(attempt, 'addr') AS addr, JSONExtractUInt(attempt, 'duration') AS duration,
    JSONExtractString(attempt, 'outcome') AS outcome,
    JSONExtract(attempt, 'synRetransmits', 'Nullable(UInt64)') AS syn_retransmits,
    JSONExtractString(attempt, 'errorCode') AS error_code
FROM conniver.landing
ARRAY JOIN JSONExtractArrayRaw(attempts) AS attempt
WHERE event = 'close';

-- Warnings.
CREATE TABLE IF NOT EXISTS conniver.warnings
(
    opened_at DateTime64(9, 'UTC') CODEC(Delta, ZSTD),
    host LowCardinality(String),
    id String CODEC(ZSTD),
    target LowCardinality(String),
    code LowCardinality(String),
    leg LowCardinality(String),
    value Nullable(Int64) CODEC(ZSTD)
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(opened_at)
ORDER BY (code, target, opened_at)
TTL toDateTime(opened_at) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS conniver.landing_to_warnings TO conniver.warnings AS
SELECT
    fromUnixTimestamp64Nano(openedAt, 'UTC') AS opened_at, host, id, ifNull(target, '') AS target,
    JSONExtractString(warning, 'code') AS code, JSONExtractString(warning, 'leg') AS leg,
    JSONExtract(warning, 'value', 'Nullable(Int64)') AS value
FROM conniver.landing
ARRAY JOIN JSONExtractArrayRaw(warnings) AS warning
WHERE event = 'close';

-- Each hour's sums and quantiles, by target, host and process; kept for two years.
CREATE TABLE IF NOT EXISTS conniver.hourly
(
    hour DateTime('UTC'),
    target LowCardinality(String),
    host LowCardinality(String),
    process LowCardinality(String),
    connections SimpleAggregateFunction(sum, UInt64),
    failed SimpleAggregateFunction(sum, UInt64),
    sent SimpleAggregateFunction(sum, UInt64),
    received SimpleAggregateFunction(sum, UInt64),
    lost SimpleAggregateFunction(sum, UInt64),
    turns SimpleAggregateFunction(sum, UInt64),
    wait_max SimpleAggregateFunction(max, UInt64),
    connect AggregateFunction(quantilesTDigest(0.5, 0.99), UInt64),
    wait AggregateFunction(quantilesTDigest(0.5, 0.99), UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (target, host, process, hour)
TTL hour + INTERVAL 2 YEAR;

CREATE MATERIALIZED VIEW IF NOT EXISTS conniver.pairs_to_hourly TO conniver.hourly AS
SELECT
    toStartOfHour(toDateTime(opened_at, 'UTC')) AS hour, target, host, process,
    count() AS connections, countIf(outcome != 'ok') AS failed,
    sum(ifNull(p.sent, 0)) AS sent, sum(ifNull(p.received, 0)) AS received,
    sum(ifNull(client_lost, 0) + ifNull(upstream_lost, 0)) AS lost,
    sum(ifNull(p.turns, 0)) AS turns, max(ifNull(p.wait_max, 0)) AS wait_max,
    quantilesTDigestStateIf(0.5, 0.99)(assumeNotNull(p.connect), isNotNull(p.connect)) AS connect,
    quantilesTDigestStateIf(0.5, 0.99)(assumeNotNull(p.wait_max), isNotNull(p.wait_max)) AS wait
FROM conniver.pairs AS p
GROUP BY hour, target, host, process;
