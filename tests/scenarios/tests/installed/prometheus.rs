//! A real Prometheus that scrapes the pods, with the chart's rules.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::bed::Bed;

/// Ends with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _has_ended = self.0.kill();
        let _has_ended = self.0.wait();
    }
}

/// It reads all metrics of both pods, evaluates each rule, and finds nothing to tell.
pub(crate) async fn scrapes(bed: &Bed, rules: &str) {
    let directory = std::env::temp_dir().join(format!("runjob-prometheus-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let targets: Vec<_> =
        bed.pods().iter().map(|pod| format!("{}:8080", pod["status"]["podIP"].as_str().unwrap())).collect();
    // JSON is YAML.
    let config = json!({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [rules],
        "scrape_configs": [{"job_name": "runjob", "static_configs": [{"targets": targets}]}],
    });
    let file = directory.join("prometheus.yml");
    std::fs::write(&file, config.to_string()).unwrap();
    // Free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let running = Prometheus(
        Command::new(bed.tool("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let ask = |path: &str| -> Value {
        let answer = bed.shell(&format!("curl -s --noproxy '*' 'http://{address}/api/v1/{path}' || true"));
        serde_json::from_str(&answer).unwrap_or_default()
    };
    bed.comes_about("Prometheus scrapes both pods, and one of them leads", async || {
        let is =
            |query: &str, value: &str| ask(&format!("query?query={query}"))["data"]["result"][0]["value"][1] == value;
        is("sum(up)", "2") && is("sum(runjob_leading)", "1")
    })
    .await;
    bed.comes_about("each rule was evaluated", async || {
        let rules = ask("rules?type=alert");
        let groups = rules["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules: Vec<_> =
            groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect();
        !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok" && rule["state"] == "inactive")
    })
    .await;
    drop(running);
    std::fs::remove_dir_all(&directory).unwrap();
}
