-- The table of `conniver report`: each target, the most used first.
SELECT
    if(target = '', '-', target) AS target,
    count() AS connections,
    countIf(outcome != 'ok') AS failed,
    sum(p.sent) AS sent,
    sum(p.received) AS received,
    quantileExactLow(0.5)(connect) AS connect_p50,
    quantileExact(0.99)(connect) AS connect_p99,
    max(p.wait_max) AS wait_max,
    sum(p.turns) AS turns,
    sum(ifNull(client_lost, 0) + ifNull(upstream_lost, 0)) AS lost
FROM conniver.pairs AS p
GROUP BY target
ORDER BY connections DESC, target;
