# Who moves most bytes, by target: of open pairs as well, where their samples are recorded.
#
#   jq -rnf scripts/top-talkers.jq records.ndjson | column -ts $'\t'
#   jq -rnf scripts/top-talkers.jq --arg since 2026-01-31T12:00 records.ndjson
#
# Every line tells what has passed since its pair's previous one, so those of any stretch of time can
# be added up.

($ARGS.named.since // "") as $since
| reduce (inputs | select(.delta.toUpstream and .time >= $since)) as $line ({};
    .[$line.target // "-"] |= (
        .pairs[$line.id] = true
        | .up += $line.delta.toUpstream
        | .down += $line.delta.toClient))
| ["target", "pairs", "bytes to upstream", "bytes to client"],
  (to_entries
   | map([.key, (.value.pairs | length), .value.up, .value.down])
   | sort_by(.[2] + .[3])
   | reverse[])
| @tsv
