//! The compose file and what Grafana is provisioned with: the linter finds nothing, ports are for this machine alone, and what is mounted is
//! there.

use crate::{assert_parses, deploy, node, node_script, read, run, words, yaml};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

fn compose() -> Value {
    yaml(&read("compose.yaml")).remove(0)
}

/// The Compose Specification's schema and the linter's own rules, none left out.
fn lint(text: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compose.yaml");
    fs::write(&file, text).unwrap();
    let linter = node_script("dclint/bin/dclint.cjs");
    run(node().arg(linter).args(["--color=false", "--max-warnings", "0"]).arg(file))
}

#[test]
fn the_linter_finds_nothing_and_finds_what_is_misspelt_or_open_to_all() {
    let (code, said) = lint(&read("compose.yaml"));
    assert_eq!((code, said.trim()), (0, ""));
    let (code, said) = lint(&read("compose.yaml").replace("stop_grace_period", "stop_grace"));
    assert!(code == 1 && said.contains("invalid-schema"), "{said}");
    let (code, said) = lint(&read("compose.yaml").replace("'127.0.0.1:3000:3000'", "'3000:3000'"));
    assert!(code == 1 && said.contains("no-unbound-port-interfaces"), "{said}");
}

#[test]
fn every_port_is_published_for_this_machine_alone() {
    let services = compose()["services"].as_object().unwrap().clone();
    let ports: BTreeMap<&str, Vec<&str>> =
        services.iter().map(|(name, service)| (name.as_str(), words(&service["ports"]))).collect();
    let expected = BTreeMap::from([
        ("alertmanager", vec!["127.0.0.1:9093:9093"]),
        ("artstore", vec!["127.0.0.1:8020:8020", "127.0.0.1:9020:9020"]),
        ("grafana", vec!["127.0.0.1:3000:3000"]),
        ("prometheus", vec!["127.0.0.1:9090:9090"]),
    ]);
    assert_eq!(ports, expected);
}

#[test]
fn what_is_mounted_or_built_is_there_and_each_named_volume_is_declared() {
    let compose = compose();
    let volumes = compose["volumes"].as_object().unwrap();
    for (name, service) in compose["services"].as_object().unwrap() {
        for mount in words(&service["volumes"]) {
            let (source, target) = mount.split_once(':').unwrap();
            if source.starts_with('.') {
                assert!(deploy(source).exists() && target.ends_with(":ro"), "{name}: {mount}");
            } else {
                assert!(volumes.contains_key(source), "{name}: {mount}");
            }
        }
    }
    let build = &compose["services"]["artstore"]["build"];
    let context = deploy(build["context"].as_str().unwrap());
    assert!(context.join(build["dockerfile"].as_str().unwrap()).exists());
}

#[test]
fn the_command_is_ours_and_writes_where_the_volume_is() {
    let compose = compose();
    let command = words(&compose["services"]["artstore"]["command"]);
    assert_parses(&command);
    assert!(command.contains(&"--demo-traffic") && command.contains(&"--data=/var/lib/artstore/data"), "{command:?}");
    // Prometheus reaches every operations listener from its own container, and the host the Ingester.
    let open: Vec<&str> =
        command.iter().filter_map(|word| word.split_once("=0.0.0.0:")).map(|(_, port)| port).collect();
    assert_eq!(open, ["8020", "9020", "9000", "9010", "9011"]);
}

/// The same jobs, rules and intervals as in the generated file: only addresses differ.
#[test]
fn prometheus_is_configured_as_the_generated_file_says() {
    let without_comment = |text: String| text.split_once('\n').unwrap().1.to_owned();
    let ours = without_comment(read("compose/prometheus.yml"));
    let names = ours.replace("\"artstore:", "\"127.0.0.1:").replace("\"alertmanager:", "\"127.0.0.1:");
    assert_eq!(names, without_comment(read("prometheus/prometheus.yml")));
    let folder = tempfile::tempdir().unwrap();
    fs::copy(deploy("prometheus/artstore.rules.yml"), folder.path().join("artstore.rules.yml")).unwrap();
    let file = folder.path().join("prometheus.yml");
    fs::copy(deploy("compose/prometheus.yml"), &file).unwrap();
    let (code, said) = run(Command::new("promtool").args(["check", "config"]).arg(file));
    assert_eq!(code, 0, "{said}");
}

/// The data source that the dashboards' variable finds, asked where Prometheus is, and the folder where the dashboards are mounted.
#[test]
fn grafana_shows_the_generated_dashboards_from_that_prometheus() {
    let source = yaml(&read("grafana/provisioning/datasources/artstore.yaml")).remove(0);
    let interval = yaml(&read("compose/prometheus.yml"))[0]["global"]["scrape_interval"].clone();
    let expected = json!({"apiVersion": 1, "datasources": [{
        "name": "Prometheus", "uid": "prometheus", "type": "prometheus", "access": "proxy", "url": "http://prometheus:9090",
        "isDefault": true, "jsonData": {"httpMethod": "POST", "timeInterval": interval},
    }]});
    assert_eq!(source, expected);
    let provider = yaml(&read("grafana/provisioning/dashboards/artstore.yaml")).remove(0);
    let path = provider["providers"][0]["options"]["path"].as_str().unwrap();
    assert!(words(&compose()["services"]["grafana"]["volumes"]).contains(&format!("./grafana:{path}:ro").as_str()));
    let dashboards = fs::read_dir(deploy("grafana")).unwrap().map(|entry| entry.unwrap().path());
    let dashboards: Vec<_> = dashboards.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    assert!(!dashboards.is_empty());
    for file in dashboards {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert!(variables.iter().any(|variable| variable["type"] == "datasource" && variable["query"] == "prometheus"));
    }
}
