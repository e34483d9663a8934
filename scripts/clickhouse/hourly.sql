-- The same by hour, from the roll-up, which outlives the connections themselves.
SELECT
    hour, target,
    sum(h.connections) AS connections, sum(h.failed) AS failed, sum(h.lost) AS lost, max(h.wait_max) AS wait_max,
    quantilesTDigestMerge(0.5, 0.99)(h.connect) AS connect_p50_p99,
    quantilesTDigestMerge(0.5, 0.99)(h.wait) AS wait_p50_p99
FROM conniver.hourly AS h
GROUP BY hour, target
ORDER BY hour, connections DESC, target;
