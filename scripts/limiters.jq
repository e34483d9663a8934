# What transfers waited for: of the time in which they were active, the share of each limiter.
#
#   jq -rnf scripts/limiters.jq records.ndjson | column -ts $'\t'
#
# A limiter has the share of each pair in which it was named; the rest of all pairs is "none".

reduce (inputs | select(.event == "close" and .verdict != null).verdict) as $verdict ({};
    ($verdict.active * ($verdict.share // 0)) as $time
    | .[$verdict.limitedBy] |= (.pairs += 1 | .time += $time)
    | .none |= (.pairs += 0 | .time += $verdict.active - $time))
| ([.[].time] | add) as $active
| ["limited by", "pairs", "active s", "share %"],
  (to_entries
   | map([.key, .value.pairs, .value.time / 1e9,
          (if $active > 0 then 100 * .value.time / $active else null end)])
   | sort_by(.[2])
   | reverse[])
| @tsv
