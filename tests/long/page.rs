//! The page of `conniver report --html`, in Chromium: it loads under its own policy, sorts, filters and opens.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::need;
use crate::harness::program::BINARY;

/// How many connections the large page has. A build without optimisation reads slowly.
const MANY: u64 = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };

/// What a host may be called to do harm.
const HOSTILE: &str = "</script><img src=x onerror='window.harmed=1'>";

pub(crate) fn report_in_chromium() -> String {
    for tool in ["chromium", "chromedriver"] {
        need(tool, "report_in_chromium");
    }
    let directory = TempDir::new().unwrap();
    let small = directory.path().join("small.html");
    write_page(&small, 60);
    let browser = Browser::start(directory.path());
    browser.open(&small);
    check_list(&browser);
    assert_eq!(browser.console(), Vec::<Value>::new());

    let large = directory.path().join("large.html");
    write_page(&large, MANY);
    let size = std::fs::metadata(&large).unwrap().len();
    assert!(size < 2_000_000, "{size}");
    browser.open(&large);
    let loaded = browser.number("return performance.getEntriesByType('navigation')[0].domComplete");
    let sorted = browser.number(
        "const began = performance.now();
         for (const button of document.querySelectorAll('#connections th button')) button.click();
         document.body.offsetHeight;
         return performance.now() - began",
    );
    assert!(browser.text("#list").contains("of the others"), "it says what it leaves out");
    assert_eq!(browser.console(), Vec::<Value>::new());
    assert!(loaded < 3000.0 && sorted < 3000.0, "{loaded:.0} ms to load, {sorted:.0} ms to sort");
    format!(
        "{MANY} connections: {size} bytes, {loaded:.0} ms to load, {sorted:.0} ms for all sorts"
    )
}

/// The list shows texts as texts, sorts, filters, and opens by mouse, keyboard and address.
fn check_list(browser: &Browser) {
    let rows = "return document.querySelectorAll('#connections tr.row').length";
    assert_eq!(browser.number(rows), 60.0);
    assert!(browser.text("#connections").contains(HOSTILE), "names are shown as they are");
    assert_eq!(browser.run("return window.harmed"), Value::Null);
    assert_eq!(browser.number("return document.images.length"), 0.0);
    let is_styled =
        "return getComputedStyle(document.querySelector('.answers')).display === 'grid'";
    assert_eq!(browser.run(is_styled), Value::Bool(true));

    browser.run("[...document.querySelectorAll('#connections th button')].find((b) => b.textContent === 'Duration').click()");
    assert_eq!(browser.text("#connections th[aria-sort]"), "Duration");
    let durations =
        "return [...document.querySelectorAll('#connections tr.row')].map((row) => row.id)";
    let ids = browser.run(durations);
    browser.run("[...document.querySelectorAll('#connections th button')].find((b) => b.textContent === 'Duration').click()");
    let mut turned = browser.run(durations);
    turned.as_array_mut().unwrap().reverse();
    assert_eq!(ids, turned, "the second click turns the order");

    browser.run("document.querySelector('#connections tr.row').click()");
    let shown = browser.text("#connections tr.detail");
    for word in ["Timeline", "Both sockets", "round-trip time", "accepted", "ended"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    browser.run("document.querySelector('#connections tr.row').click()");
    assert_eq!(browser.number("return document.querySelectorAll('tr.detail').length"), 0.0);

    // Enter opens the row that has the focus, and an arrow goes on to the next.
    browser.run("document.querySelector('#connections .open').focus()");
    browser.press("\u{e007}");
    assert_eq!(browser.number("return document.querySelectorAll('tr.detail').length"), 1.0);
    browser.press("\u{e015}");
    let focused = "return [...document.querySelectorAll('.open')].indexOf(document.activeElement)";
    assert_eq!(browser.number(focused), 1.0);

    browser.run("location.hash = '#c7'");
    let opened = "return document.querySelector('#c7 + .detail') !== null";
    browser.wait_until(opened);

    browser.run("const box = document.getElementById('words'); box.value = 'host-3.'; box.dispatchEvent(new Event('input'))");
    let found = browser.number(rows);
    assert!(found > 0.0 && found < 60.0, "{found}");
    browser.run("const box = document.getElementById('words'); box.value = ''; box.dispatchEvent(new Event('input'));
                 const choice = document.getElementById('outcome'); choice.value = 'failed'; choice.dispatchEvent(new Event('change'))");
    assert_eq!(browser.number(rows), 6.0);
}

/// A page of so many copies of a real record: each tenth was reset, and one in seven has a hostile name.
fn write_page(file: &Path, count: u64) {
    let demo = Command::new(BINARY).arg("demo").output().unwrap();
    let mut record: Value = serde_json::from_slice(&demo.stdout).unwrap();
    let opened_at = record["openedAt"].as_i64().unwrap();
    for leg in ["client", "upstream"] {
        for info in ["openedInfo", "closedInfo"] {
            record[leg][info]["sysInfo"] = json!({});
        }
    }
    for (key, mark) in [("id", "@id"), ("target", "@target"), ("outcome", "@outcome")] {
        record[key] = mark.into();
    }
    (record["openedAt"], record["duration"]) = ("@opened".into(), "@duration".into());
    let template =
        record.to_string().replace("\"@opened\"", "@opened").replace("\"@duration\"", "@duration");
    let hostile = HOSTILE.replace('"', "\\\"");

    let mut command = Command::new(BINARY);
    command.args(["report", "-", "--html"]).arg(file).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut report = command.spawn().unwrap();
    let mut lines = std::io::BufWriter::new(report.stdin.take().unwrap());
    for number in 0..count {
        let target = match number % 7 {
            0 => hostile.clone(),
            other => format!("host-{other}.example.com:443"),
        };
        let line = template
            .replace("@id", &format!("run-{number}"))
            .replace("@target", &target)
            .replace("@outcome", if number % 10 == 0 { "reset" } else { "ok" })
            .replace(
                "@opened",
                &(opened_at + i64::try_from(number).unwrap() * 3_000_000).to_string(),
            )
            .replace("@duration", &(1_000_000 + number * 7919 % 900_000_000).to_string());
        writeln!(lines, "{line}").unwrap();
    }
    drop(lines);
    assert!(report.wait().unwrap().success());
}

/// Chromium, driven by chromedriver over HTTP (W3C WebDriver).
struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().unwrap();
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = said.find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        // It must not wait for a reader.
        std::thread::spawn(move || said.for_each(drop));
        let mut browser = Self { driver, port: port.unwrap(), session: String::new() };
        let profile = format!("--user-data-dir={}", directory.join("profile").display());
        let arguments = json!([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            profile,
        ]);
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let session = browser.request("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    /// The value that the driver answers with.
    fn request(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let mut request = String::new();
        write!(request, "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n", self.port).unwrap();
        write!(request, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
            .unwrap();
        write!(request, "Connection: close\r\n\r\n{body}").unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(answer.read_line(&mut line).unwrap() > 0, "the driver answers {method} {path}");
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body).unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert!(answer["value"]["error"].is_null(), "{method} {path}: {answer}");
        answer["value"].clone()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.request("POST", &format!("/session/{}{path}", self.session), body)
    }

    fn open(&self, file: &Path) {
        self.post("/url", &json!({ "url": format!("file://{}", file.display()) }));
    }

    fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    fn number(&self, script: &str) -> f64 {
        self.run(script).as_f64().unwrap()
    }

    fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({}).innerText", json!(selector));
        self.run(&script).as_str().unwrap().to_owned()
    }

    fn wait_until(&self, script: &str) {
        crate::harness::program::wait_until(script, || self.run(script) == Value::Bool(true));
    }

    /// Presses and releases a key, as WebDriver calls it.
    fn press(&self, key: &str) {
        let actions =
            json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.post(
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }),
        );
    }

    /// What the console has said since the last call: errors, and what the policy forbade.
    fn console(&self) -> Vec<Value> {
        self.post("/se/log", &json!({ "type": "browser" })).as_array().unwrap().clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.request("DELETE", &format!("/session/{}", self.session), &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
