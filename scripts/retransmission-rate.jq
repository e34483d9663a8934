# How much of what was sent had to be sent again, by target.
#
#   jq -rnf scripts/retransmission-rate.jq records.ndjson | column -ts $'\t'
#
# segments: data segments sent to the upstream, those sent again included; the rate is by them.
# retransmitted counts SYNs as well. Pairs of which the kernel did not tell are left out.

reduce (inputs | select(.event == "close")) as $pair ({};
    $pair.upstream.closedInfo as $info
    | if $info.retransmits != null and $info.sysInfo.dataSegsOut != null then
        .[$pair.target // "-"] |= (
            .pairs += 1
            | .segments += $info.sysInfo.dataSegsOut
            | .retransmitted += $info.retransmits)
      else . end)
| ["target", "pairs", "segments", "retransmitted", "rate %"],
  (to_entries
   | map(.value as {$pairs, $segments, $retransmitted}
         | [.key, $pairs, $segments, $retransmitted,
            (if $segments > 0 then 100 * $retransmitted / $segments else null end)])
   | sort_by(.[4])
   | reverse[])
| @tsv
