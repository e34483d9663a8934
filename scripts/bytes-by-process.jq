# Bytes by the local program that was the client.
#
#   jq -rnf scripts/bytes-by-process.jq records.ndjson | column -ts $'\t'

reduce (inputs | select(.event == "close")) as $pair ({};
    .[$pair.process.name // "-"] |= (
        .pairs += 1
        | .sent += $pair.client.rxBytes
        | .received += $pair.client.txBytes))
| ["program", "pairs", "bytes sent", "bytes received"],
  (to_entries
   | map([.key, .value.pairs, .value.sent, .value.received])
   | sort_by(.[2] + .[3])
   | reverse[])
| @tsv
