-- For a cluster: tables over all of its shards, by host, so that all records of a proxy are on one shard. Run after
-- schema.sql in its replicated form, on every server:
--
--   sed -E 's/ENGINE = (Aggregating)?MergeTree/ENGINE = Replicated\1MergeTree/' schema.sql
--
-- It takes Keeper, the macros {cluster}, {shard} and {replica}, and default_replica_path. Insert into landing of any
-- server of the host's shard; query the tables below. NOT RUN on a cluster by this project: the statements are only
-- parsed by ClickHouse in its tests.

CREATE TABLE IF NOT EXISTS conniver.all_landing ON CLUSTER '{cluster}' AS conniver.landing
ENGINE = Distributed('{cluster}', conniver, landing, cityHash64(host));

CREATE TABLE IF NOT EXISTS conniver.all_pairs ON CLUSTER '{cluster}' AS conniver.pairs
ENGINE = Distributed('{cluster}', conniver, pairs, cityHash64(host));

CREATE TABLE IF NOT EXISTS conniver.all_turns ON CLUSTER '{cluster}' AS conniver.turns
ENGINE = Distributed('{cluster}', conniver, turns, cityHash64(host));

CREATE TABLE IF NOT EXISTS conniver.all_attempts ON CLUSTER '{cluster}' AS conniver.attempts
ENGINE = Distributed('{cluster}', conniver, attempts, cityHash64(host));

CREATE TABLE IF NOT EXISTS conniver.all_warnings ON CLUSTER '{cluster}' AS conniver.warnings
ENGINE = Distributed('{cluster}', conniver, warnings, cityHash64(host));

CREATE TABLE IF NOT EXISTS conniver.all_hourly ON CLUSTER '{cluster}' AS conniver.hourly
ENGINE = Distributed('{cluster}', conniver, hourly, cityHash64(host));
