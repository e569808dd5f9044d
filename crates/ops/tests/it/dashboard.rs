//! The dashboard: its queries are sound, Grafana's types accept it, and what makes a panel readable is there.

use crate::committed::root;
use crate::lint::findings;
use crate::promtool::run;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

fn dashboard() -> Value {
    let text = fs::read_to_string(root().join("deploy/grafana/artstore-auth-dashboard.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
}

/// A query as Prometheus gets it, with the variables put in.
fn without_variables(query: &str) -> String {
    query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")
}

#[test]
fn every_query_is_sound_and_shows_the_chosen_jobs_and_instances_only() {
    let dashboard = dashboard();
    for target in panels(&dashboard).flat_map(|panel| panel["targets"].as_array().unwrap()) {
        let expr = target["expr"].as_str().unwrap();
        assert_eq!(findings(&without_variables(expr)), Vec::<String>::new(), "{expr}");
        let selectors = expr.matches('{').count();
        assert_eq!(expr.matches(r#"job=~"$job",instance=~"$instance""#).count(), selectors, "{expr}");
        // A legend names labels that the query keeps.
        let labels = crate::lint::labels_of(&without_variables(expr));
        for label in
            target["legendFormat"].as_str().unwrap().split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap())
        {
            assert!(labels.contains(label), "{expr}: {label} is none of {labels:?}");
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|v| v["type"] == "query") {
        let query = variable["query"].as_str().unwrap();
        let (selector, label) =
            query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
        let kept = format!("sum by ({label}) (rate({}[1m]))", without_variables(selector));
        assert_eq!(findings(&kept), Vec::<String>::new(), "{query}");
    }
}

#[test]
fn it_has_five_rows_and_twelve_panels_that_a_stranger_can_read() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "artstore-auth");
    let all = dashboard["panels"].as_array().unwrap();
    assert_eq!(all.iter().filter(|panel| panel["type"] == "row").count(), 5);
    assert_eq!(panels(&dashboard).count(), 12);
    assert_eq!(all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect::<BTreeSet<_>>().len(), all.len());
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
        assert!(
            ["percentunit", "ops", "s", "d", "short"]
                .contains(&panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap()),
            "{title}"
        );
        for link in panel["links"].as_array().unwrap() {
            let (_, path) = link["url"].as_str().unwrap().split_once("/blob/main/").unwrap();
            assert!(root().join(path).exists(), "{title}: {path}");
        }
    }
    // No square of the grid is taken twice, and none beyond its width.
    let mut taken = BTreeSet::new();
    for panel in all {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for square in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(square.0 < 24 && taken.insert(square), "{}: {square:?}", panel["title"]);
        }
    }
}

/// Every alert but the watchdog, and those about files, can be followed from a panel to its runbook.
#[test]
fn panels_lead_to_the_runbooks_of_authentication_and_tls() {
    let dashboard = dashboard();
    let linked: BTreeSet<String> = panels(&dashboard)
        .flat_map(|panel| panel["links"].as_array().unwrap())
        .map(|link| link["title"].as_str().unwrap().trim_start_matches("Runbook: ").to_owned())
        .collect();
    let groups = artstore_ops::groups();
    let alerts = groups
        .iter()
        .filter(|group| ["artstore-auth", "artstore-tls"].contains(&group.name))
        .flat_map(|group| &group.alerts);
    assert_eq!(linked, alerts.map(|alert| alert.name.to_owned()).collect());
}

/// What is wrong by Grafana's types, for each of these dashboards by name: one run of the compiler.
fn compile(dashboards: &[(String, Value)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("dashboard_schema.ts", include_str!("dashboard_schema.ts"));
    for (name, dashboard) in dashboards {
        let import = "import type { Strict } from './dashboard_schema';";
        write(&format!("{name}.ts"), &format!("{import}\nexport const dashboard: Strict = {dashboard:#};\n"));
    }
    let options = json!({
        "compilerOptions": {
            "strict": true, "noEmit": true, "skipLibCheck": true, "module": "nodenext", "moduleResolution": "nodenext",
            "target": "es2022", "types": [],
        },
        "files": dashboards.iter().map(|(name, _)| format!("{name}.ts")).collect::<Vec<_>>(),
    });
    write("tsconfig.json", &options.to_string());
    write("package.json", r#"{"type": "commonjs"}"#);
    std::os::unix::fs::symlink(root().join(".node/node_modules"), folder.path().join("node_modules")).unwrap();
    let compiler = root().join(".node/node_modules/typescript/lib/tsc.js");
    assert!(compiler.exists(), "TypeScript is needed: run `scripts/test --install`");
    run("node", &[compiler.to_str().unwrap(), "--pretty", "false", "--project", "."], folder.path()).1
}

#[test]
fn grafanas_types_accept_it_and_find_what_is_misspelt_or_misplaced() {
    let changes: [(&str, &str, Value); 6] = [
        ("", "titel", json!("misspelt")),
        ("/panels/1/options/legend", "placement", json!("below")),
        ("/panels/1/options", "showHeader", json!(true)),
        ("/panels/1/fieldConfig/defaults", "units", json!("s")),
        ("/panels/1/fieldConfig/defaults/custom", "cellOptions", json!({"type": "auto"})),
        ("/templating/list/1", "refresh", json!(7)),
    ];
    let mut dashboards = vec![("right".to_owned(), dashboard())];
    for (index, (place, key, value)) in changes.into_iter().enumerate() {
        let mut wrong = dashboard();
        wrong.pointer_mut(place).unwrap()[key] = value;
        dashboards.push((format!("wrong{index}"), wrong));
    }
    let said = compile(&dashboards);
    let found: BTreeSet<&str> = said.lines().filter_map(|line| Some(line.split_once(".ts(")?.0)).collect();
    assert_eq!(found, BTreeSet::from(["wrong0", "wrong1", "wrong2", "wrong3", "wrong4", "wrong5"]), "{said}");
}
