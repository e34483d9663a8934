-- The table of `conniver report`: each target, the most used first. After views.sql.
SELECT
    coalesce(target, '-') AS target,
    count(*) AS connections,
    count(*) FILTER (outcome <> 'ok') AS failed,
    sum(sent) AS sent,
    sum(received) AS received,
    quantile_disc(connect_ms, 0.5) AS connect_p50_ms,
    quantile_disc(connect_ms, 0.99) AS connect_p99_ms,
    max(wait_max_ms) AS wait_max_ms,
    sum(turns) AS turns,
    sum(coalesce(client_lost, 0) + coalesce(upstream_lost, 0)) AS lost,
    sum(active_ms) AS active_ms
FROM pairs
GROUP BY ALL
ORDER BY connections DESC, target;
