# The slowest targets to connect to: the 95th percentile of connect times, failed ones included.
#
#   jq -rnf scripts/slowest-targets.jq records.ndjson | column -ts $'\t'
#
# failed: pairs that never got to their target. Their connect times are counted until they gave up.

def p95: sort | .[(length * 95 / 100 | ceil) - 1];

reduce (inputs | select(.event == "close")) as $pair ({};
    .[$pair.target // "-"] |= (
        .pairs += 1
        | .failed += (if $pair.ending.phase == "relay" then 0 else 1 end)
        | .connects += [$pair.phases.connect | values]))
| ["target", "pairs", "failed", "p95 connect ms"],
  (to_entries
   | map([.key, .value.pairs, .value.failed, (.value.connects | if . == [] then null else p95 / 1e6 end)])
   | sort_by(.[3])
   | reverse[])
| @tsv
