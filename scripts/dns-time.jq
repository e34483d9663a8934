# Time lost in looking names up, by target.
#
#   jq -rnf scripts/dns-time.jq records.ndjson | column -ts $'\t'
#
# pairs: those that waited for a look-up. failed: those that ended with it.

reduce (inputs | select(.event == "close" and .phases.resolve != null)) as $pair ({};
    .[$pair.target // "-"] |= (
        .pairs += 1
        | .failed += (if $pair.outcome == "dns" then 1 else 0 end)
        | .total += $pair.phases.resolve
        | .longest = ([.longest, $pair.phases.resolve] | max)))
| ["target", "pairs", "failed", "total ms", "longest ms"],
  (to_entries
   | map([.key, .value.pairs, .value.failed, .value.total / 1e6, .value.longest / 1e6])
   | sort_by(.[3])
   | reverse[])
| @tsv
