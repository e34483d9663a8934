//! The rules and the dashboard in `scripts/`, on a real Prometheus.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::has_tool;
use crate::harness::program::wait_until;
use crate::harness::prometheus::Prometheus;
use crate::metrics::{five_pairs, measured};

fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(path)
}

#[test]
fn each_alert_fires_for_what_it_names_and_for_nothing_else() {
    if !has_tool("promtool", "each_alert_fires_for_what_it_names_and_for_nothing_else") {
        return;
    }
    let rules = std::fs::read_to_string(script("prometheus/rules.yml")).unwrap();
    let tests = std::fs::read_to_string(script("prometheus/rules-test.yml")).unwrap();
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }
    let promtool = Command::new("promtool")
        .args(["test", "rules", "rules-test.yml"])
        .current_dir(script("prometheus"))
        .output()
        .unwrap();
    assert!(promtool.status.success(), "{}", String::from_utf8_lossy(&promtool.stderr));
}

#[test]
fn the_configuration_to_try_is_one_with_the_rules() {
    if !has_tool("promtool", "the_configuration_to_try_is_one_with_the_rules") {
        return;
    }
    let file = script("prometheus/prometheus.yml");
    let promtool = Command::new("promtool").args(["check", "config"]).arg(&file).output().unwrap();
    let said = String::from_utf8(promtool.stdout).unwrap();
    assert!(promtool.status.success() && said.contains("1 rule files found"), "{said}");
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("job_name: conniver\n"), "the rules and the dashboard rest on the name");
}

/// Every query of the dashboard, for a span of time and all of its variables' values.
fn queries_of_the_dashboard() -> Vec<String> {
    fn collect(value: &Value, queries: &mut Vec<String>) {
        match value {
            Value::Object(keys) => {
                queries.extend(keys.get("expr").and_then(Value::as_str).map(str::to_owned));
                keys.values().for_each(|value| collect(value, queries));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, queries)),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(script("grafana/dashboard.json")).unwrap();
    let mut queries = Vec::new();
    collect(&serde_json::from_str(&text).unwrap(), &mut queries);
    for query in &mut queries {
        for (variable, value) in
            [("$__rate_interval", "1m"), ("$__range", "1m"), ("$instance", ".*"), ("$target", ".*")]
        {
            *query = query.replace(variable, value);
        }
        assert!(!query.contains('$'), "{query}");
    }
    queries
}

#[test]
fn each_rule_and_each_query_of_the_dashboard_has_values() {
    let what = "each_rule_and_each_query_of_the_dashboard_has_values";
    if !has_tool("prometheus", what) || !has_tool("curl", what) {
        return;
    }
    let (proxy, metrics) = measured(&[]);
    // Rates take series that were there before.
    five_pairs(&proxy);
    let rules = script("prometheus/rules.yml");
    let prometheus = Prometheus::start(metrics, &[&rules]);
    wait_until("it has scraped the first pairs", || {
        prometheus.count("conniver_pairs_ended_total") > 0
    });
    five_pairs(&proxy);
    let text = std::fs::read_to_string(rules).unwrap();
    let recorded = text.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    let mut queries = queries_of_the_dashboard();
    assert!(queries.len() > 10);
    queries.extend(recorded.map(str::to_owned));
    for query in queries {
        wait_until(&query, || prometheus.count(&query) > 0);
    }
}
