# Who breaks connections off: pairs whose first end was a reset, by target and by who sent it.
#
#   jq -rnf scripts/who-resets.jq records.ndjson | column -ts $'\t'

reduce (inputs | select(.event == "close")) as $pair ({};
    .[$pair.target // "-"] |= (
        .pairs += 1
        | if $pair.ending.firstHow == "reset" then .resets[$pair.ending.firstBy] += 1 else . end))
| ["target", "by", "resets", "of pairs"],
  (to_entries
   | map(.key as $target | .value.pairs as $pairs
         | .value.resets // {} | to_entries[] | [$target, .key, .value, $pairs])
   | sort_by(.[2])
   | reverse[])
| @tsv
