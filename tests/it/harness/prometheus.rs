//! A real Prometheus that scrapes a proxy every second.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::clients::Server;

/// Runs until it is dropped. Takes `prometheus` and `curl`.
pub(crate) struct Prometheus {
    address: SocketAddr,
    _process: Server,
    _directory: TempDir,
}

impl Prometheus {
    /// Scrapes the metrics at this address, with these files of rules.
    pub(crate) fn start(scraped: SocketAddr, rules: &[&Path]) -> Self {
        let directory = TempDir::new().unwrap();
        let rules: Vec<_> = rules.iter().map(|file| format!("'{}'", file.display())).collect();
        let configuration = format!(
            "global: {{evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n- job_name: conniver\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{scraped}']\n",
            rules.join(", ")
        );
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, configuration).unwrap();
        // It can only be told a port: one that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Server::start(
            Command::new("prometheus")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
                .arg(format!("--web.listen-address={address}"))
                .stderr(Stdio::null()),
        );
        Self { address, _process: process, _directory: directory }
    }

    /// Its answer to a query, as text: empty as long as it does not listen.
    pub(crate) fn query(&self, query: &str) -> String {
        let url = format!("http://{}/api/v1/query", self.address);
        let query = format!("query={query}");
        let args = ["-s", "--noproxy", "*", "-G", "--data-urlencode", &query, &url];
        let answer = Command::new("curl").args(args).output().unwrap().stdout;
        String::from_utf8(answer).unwrap()
    }

    /// How many series a query has.
    ///
    /// # Panics
    ///
    /// It is no query.
    pub(crate) fn count(&self, query: &str) -> usize {
        // While it starts it answers in words, if at all.
        let Ok(answer) = serde_json::from_str::<Value>(&self.query(query)) else { return 0 };
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().map_or(0, Vec::len)
    }
}
