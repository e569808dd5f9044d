//! The dashboards: their queries are sound, Grafana's types accept them, and what makes a panel readable is there.

use crate::committed::root;
use crate::lint::findings;
use crate::promtool::run;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

/// The dashboards below `deploy/`.
pub(crate) const FILES: [&str; 2] = ["grafana/artstore-auth-dashboard.json", "grafana/artstore-ingest-dashboard.json"];

/// One of them as it is committed.
pub(crate) fn read(file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(root().join("deploy").join(file)).unwrap()).unwrap()
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row")
}

/// A query as Prometheus gets it, with the variables put in.
fn without_variables(query: &str) -> String {
    query.replace("$__rate_interval", "1m").replace("$job", ".+").replace("$instance", ".+")
}

#[test]
fn every_query_is_sound_and_shows_the_chosen_jobs_and_instances_only() {
    let dashboards = FILES.map(read);
    for target in dashboards.iter().flat_map(panels).flat_map(|panel| panel["targets"].as_array().unwrap()) {
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
    let variables = dashboards.iter().flat_map(|dashboard| dashboard["templating"]["list"].as_array().unwrap());
    for variable in variables.filter(|variable| variable["type"] == "query") {
        let query = variable["query"].as_str().unwrap();
        let (selector, label) =
            query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
        let kept = format!("sum by ({label}) ({})", without_variables(selector));
        assert_eq!(findings(&kept), Vec::<String>::new(), "{query}");
    }
}

/// Rows and panels of each.
#[test]
fn they_have_rows_and_panels_that_a_stranger_can_read() {
    for (file, uid, rows, count) in [(FILES[0], "artstore-auth", 5, 12), (FILES[1], "artstore-ingest", 7, 24)] {
        let dashboard = read(file);
        assert_eq!(dashboard["uid"], uid);
        let all = dashboard["panels"].as_array().unwrap();
        assert_eq!(all.iter().filter(|panel| panel["type"] == "row").count(), rows);
        assert_eq!(panels(&dashboard).count(), count);
        assert_eq!(all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect::<BTreeSet<_>>().len(), all.len());
        for panel in panels(&dashboard) {
            assert_readable(panel);
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
}

fn assert_readable(panel: &Value) {
    let title = panel["title"].as_str().unwrap();
    assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
    for link in panel["links"].as_array().unwrap() {
        let (_, path) = link["url"].as_str().unwrap().split_once("/blob/main/").unwrap();
        assert!(root().join(path).exists(), "{title}: {path}");
    }
    // A pattern that gives some lines a unit of their own fits some of the legends, and not all.
    for of in panel["fieldConfig"]["overrides"].as_array().unwrap().iter().filter(|o| o["matcher"]["id"] == "byRegexp")
    {
        let pattern = of["matcher"]["options"].as_str().unwrap();
        let names: Vec<&str> = pattern.strip_prefix("^(").unwrap().strip_suffix(").*").unwrap().split('|').collect();
        let legends: Vec<&str> =
            panel["targets"].as_array().unwrap().iter().map(|t| t["legendFormat"].as_str().unwrap()).collect();
        let fitting = legends.iter().filter(|legend| names.iter().any(|name| legend.starts_with(name))).count();
        assert!(fitting >= names.len() && fitting < legends.len(), "{title}: {pattern} of {legends:?}");
    }
}

/// Every alert but the watchdog can be followed from a panel to its runbook, on the dashboard that it names.
#[test]
fn panels_lead_to_the_runbooks_of_the_alerts_that_name_their_dashboard() {
    let linked = |file| -> BTreeSet<String> {
        panels(&read(file))
            .flat_map(|panel| panel["links"].as_array().unwrap())
            .map(|link| link["title"].as_str().unwrap().trim_start_matches("Runbook: ").to_owned())
            .collect()
    };
    let alerts = |names: &[&str]| -> BTreeSet<String> {
        let groups = artstore_ops::groups();
        let of_group = groups.iter().filter(|group| names.contains(&group.name)).flat_map(|group| &group.alerts);
        of_group.map(|alert| alert.name.to_owned()).collect()
    };
    assert_eq!(linked(FILES[0]), alerts(&["artstore-auth", "artstore-tls"]));
    let about_files = alerts(&["artstore-storage"]);
    assert!(about_files.is_subset(&linked(FILES[1])) && about_files.len() == 3, "{about_files:?}");
}

/// Latencies name traces where a histogram does; what a rule has recorded names none.
#[test]
fn exemplars_are_asked_for_where_there_can_be_some() {
    for file in FILES {
        let dashboard = read(file);
        let targets: Vec<&Value> = panels(&dashboard).flat_map(|panel| panel["targets"].as_array().unwrap()).collect();
        assert!(targets.iter().any(|target| target["exemplar"] == true), "{file}");
        for target in targets.iter().filter(|target| target["exemplar"] == true) {
            let expr = target["expr"].as_str().unwrap();
            assert!(expr.contains("_seconds_bucket{") && !expr.contains(':'), "{expr}");
        }
    }
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
    let node = root().join(".node/node_modules/.bin/node");
    run(node.to_str().unwrap(), &[compiler.to_str().unwrap(), "--pretty", "false", "--project", "."], folder.path()).1
}

#[test]
fn grafanas_types_accept_them_and_find_what_is_misspelt_or_misplaced() {
    let changes: [(&str, &str, Value); 6] = [
        ("", "titel", json!("misspelt")),
        ("/panels/1/options/legend", "placement", json!("below")),
        ("/panels/1/options", "showHeader", json!(true)),
        ("/panels/1/fieldConfig/defaults", "units", json!("s")),
        ("/panels/1/fieldConfig/defaults/custom", "cellOptions", json!({"type": "auto"})),
        ("/templating/list/1", "refresh", json!(7)),
    ];
    let mut dashboards = vec![("auth".to_owned(), read(FILES[0])), ("ingest".to_owned(), read(FILES[1]))];
    for (index, (place, key, value)) in changes.into_iter().enumerate() {
        let mut wrong = read(FILES[index % 2]);
        wrong.pointer_mut(place).unwrap()[key] = value;
        dashboards.push((format!("wrong{index}"), wrong));
    }
    let said = compile(&dashboards);
    let found: BTreeSet<&str> = said.lines().filter_map(|line| Some(line.split_once(".ts(")?.0)).collect();
    assert_eq!(found, BTreeSet::from(["wrong0", "wrong1", "wrong2", "wrong3", "wrong4", "wrong5"]), "{said}");
}
