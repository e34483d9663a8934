# Bytes that were sent and never acknowledged, by target.
#
#   jq -rnf scripts/undelivered.jq records.ndjson | column -ts $'\t'
#
# pairs: those that lost any. Where it cannot be known how much was lost, nothing is counted.

reduce (inputs | select(.event == "close")) as $pair ({};
    ($pair.delivery.toUpstream.undelivered // 0) as $up
    | ($pair.delivery.toClient.undelivered // 0) as $down
    | if $up + $down > 0 then
        .[$pair.target // "-"] |= (.pairs += 1 | .up += $up | .down += $down)
      else . end)
| ["target", "pairs", "bytes to upstream", "bytes to client"],
  (to_entries
   | map([.key, .value.pairs, .value.up, .value.down])
   | sort_by(.[2] + .[3])
   | reverse[])
| @tsv
