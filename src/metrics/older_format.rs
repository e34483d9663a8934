//! Converts `OpenMetrics` to Prometheus' older text format, version 0.0.4.

/// In the older format the names of counters have `_total` in HELP and TYPE too, and there are no
/// UNIT and EOF lines.
pub(super) fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // The lines of a metric are in the order HELP, TYPE, UNIT, values.
    let mut help = "";
    for line in open_metrics.lines() {
        let mut push = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        if line.starts_with("# HELP ") {
            help = line;
        } else if let Some(name) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter"))
        {
            push(&help.replacen(name, &format!("{name}_total"), 1));
            push(&format!("# TYPE {name}_total counter"));
        } else if line.starts_with("# TYPE ") {
            push(help);
            push(line);
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            push(line);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_values_are() {
        let open_metrics = "# HELP c_bytes Bytes of c_bytes.\n# TYPE c_bytes counter\n# UNIT c_bytes bytes\n\
             c_bytes_total{x=\"y\"} 1\n# HELP g Gauge.\n# TYPE g gauge\ng 2\n# EOF\n";
        let expected = "# HELP c_bytes_total Bytes of c_bytes.\n# TYPE c_bytes_total counter\n\
             c_bytes_total{x=\"y\"} 1\n# HELP g Gauge.\n# TYPE g gauge\ng 2\n";
        assert_eq!(plain(open_metrics), expected);
    }
}
