//! The manifests: kustomize builds them, the schemas of Kubernetes, cert-manager and the Prometheus operator accept them, and each pod is
//! restricted, probed, and given its files in the way that is reloaded.

use crate::{assert_parses, deploy, node, node_script, python_tool, run, words, yaml};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use std::sync::LazyLock;

/// What `kubectl apply -k deploy/kubernetes` would send.
static BUILT: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let output = Command::new(python_tool("kubectl")).arg("kustomize").arg(deploy("kubernetes")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    yaml(&String::from_utf8(output.stdout).unwrap())
});

/// The oldest version whose schemas accept the manifests, and the newest that the validator has.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

fn named(kind: &str) -> impl Iterator<Item = &'static Value> {
    BUILT.iter().filter(move |document| document["kind"] == kind)
}

fn name(document: &Value) -> &str {
    document["metadata"]["name"].as_str().unwrap()
}

fn is_custom(document: &Value) -> bool {
    let version = document["apiVersion"].as_str().unwrap();
    version.starts_with("monitoring.coreos.com/") || version.starts_with("cert-manager.io/")
}

/// Deployment and StatefulSets, with the port of each module.
fn workloads() -> Vec<(&'static Value, i64)> {
    let port = |document: &Value| match name(document) {
        "artstore-admin" => 8000,
        "artstore-element-edit" => 8010,
        "artstore-element-rw" => 8011,
        _ => 8020,
    };
    named("Deployment").chain(named("StatefulSet")).map(|document| (document, port(document))).collect()
}

#[test]
fn everything_that_is_needed_is_built() {
    let mut built: Vec<String> = BUILT.iter().map(|d| format!("{} {}", d["kind"].as_str().unwrap(), name(d))).collect();
    // Configuration files carry the hash of their text.
    for line in built.iter_mut().filter(|line| line.starts_with("ConfigMap ")) {
        line.truncate(line.rfind('-').unwrap());
    }
    built.sort();
    let modules = ["artstore-admin", "artstore-element-edit", "artstore-element-rw", "artstore-ingester"];
    let jobs = ["artstore-admin", "artstore-element", "artstore-ingester"];
    let mut expected: Vec<String> =
        ["Namespace artstore", "PrometheusRule artstore", "PodDisruptionBudget artstore-ingester"]
            .into_iter()
            .chain(["Issuer artstore-self-signed", "Issuer artstore-ca", "Certificate artstore-ca"])
            .chain(["Deployment artstore-ingester", "StatefulSet artstore-admin"])
            .chain(["StatefulSet artstore-element-edit", "StatefulSet artstore-element-rw"])
            .map(str::to_owned)
            .collect();
    expected
        .extend(["ConfigMap", "Service", "Certificate"].iter().flat_map(|kind| modules.map(|m| format!("{kind} {m}"))));
    expected.extend(["NetworkPolicy", "PodMonitor"].iter().flat_map(|kind| jobs.map(|job| format!("{kind} {job}"))));
    expected.sort();
    assert_eq!(built, expected);
    for document in BUILT.iter().filter(|document| document["kind"] != "Namespace") {
        assert_eq!(document["metadata"]["namespace"], "artstore");
        assert_eq!(document["metadata"]["labels"]["app.kubernetes.io/part-of"], "artstore");
    }
}

/// What Kubernetes' own schemas say; unknown keys are mistakes.
fn validate(documents: &[&Value], version: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("documents.yaml");
    let texts: Vec<String> = documents.iter().map(ToString::to_string).collect();
    fs::write(&file, texts.join("\n---\n")).unwrap();
    run(Command::new(python_tool("kubernetes-validate")).args(["--strict", "--quiet", "-k", version]).arg(file))
}

#[test]
fn the_schemas_of_kubernetes_accept_them_and_find_what_is_misspelt() {
    let documents: Vec<&Value> = BUILT.iter().filter(|document| !is_custom(document)).collect();
    assert_eq!(documents.len(), 17);
    for version in VERSIONS {
        assert_eq!(validate(&documents, version), (0, String::new()), "{version}");
    }
    let mut wrong = workloads()[0].0.clone();
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = json!({});
    let (code, said) = validate(&[&wrong], VERSIONS[1]);
    assert!(code == 1 && said.contains("'readinesProbe' was unexpected"), "{said}");
}

/// The types of the custom resources, and the rules for their values: what each of them finds wrong.
fn check_custom(documents: &[&Value]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
    let mut module = String::from(
        "import type * as monitoring from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';\n\
         import type * as certificates from '@kubernetes-models/cert-manager/cert-manager.io/v1';\n",
    );
    for (index, document) in documents.iter().enumerate() {
        let package = if document["kind"] == "Certificate" || document["kind"] == "Issuer" {
            "certificates"
        } else {
            "monitoring"
        };
        let kind = document["kind"].as_str().unwrap();
        module += &format!("export const document{index}: {package}.I{kind} = {document};\n");
    }
    write("documents.mts", &module);
    write("documents.json", &json!(documents).to_string());
    write("package.json", r#"{"type": "module"}"#);
    write(
        "tsconfig.json",
        r#"{"compilerOptions": {"strict": true, "noEmit": true, "skipLibCheck": true, "module": "nodenext",
        "moduleResolution": "nodenext", "target": "es2022", "types": []}, "files": ["documents.mts"]}"#,
    );
    write("validate.mjs", include_str!("validate.mjs"));
    let _ = node_script("@kubernetes-models/cert-manager/package.json");
    std::os::unix::fs::symlink(deploy("../.node/node_modules"), folder.path().join("node_modules")).unwrap();
    let compiler = node_script("typescript/lib/tsc.js");
    let (_, types) = run(node().current_dir(folder.path()).arg(compiler).args(["--pretty", "false", "--project", "."]));
    (types, run(node().current_dir(folder.path()).args(["validate.mjs", "documents.json"])).1)
}

#[test]
fn the_types_of_custom_resources_accept_them_and_find_what_is_wrong() {
    let services = yaml(&crate::read("kubernetes/servicemonitor.yaml"));
    let documents: Vec<&Value> = BUILT.iter().filter(|document| is_custom(document)).chain(&services).collect();
    assert_eq!(documents.len(), 14);
    assert_eq!(check_custom(&documents), (String::new(), String::new()));
    let mut misspelt = named("PodMonitor").next().unwrap().clone();
    misspelt["spec"]["podMetricsEndpoints"][0]["prot"] = json!("operations");
    let mut wrong = named("Certificate").next().unwrap().clone();
    wrong["spec"]["usages"][0] = json!("digital signing");
    let (types, values) = check_custom(&[&misspelt, &wrong]);
    assert!(types.contains("'\"prot\"' does not exist in type 'IPodMetricsEndpoint'"), "{types}");
    assert!(values.contains("/spec/usages/0 must be equal to one of the allowed values"), "{values}");
}

#[test]
fn pods_may_do_no_more_than_the_restricted_profile_and_write_to_their_data_alone() {
    assert_eq!(workloads().len(), 4);
    for (workload, _) in workloads() {
        let pod = &workload["spec"]["template"]["spec"];
        let expected = json!({
            "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(pod["securityContext"], expected, "{}", name(workload));
        assert_eq!(pod["automountServiceAccountToken"], false);
        let container = &pod["containers"][0];
        let expected = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], expected);
        assert_eq!(container["image"], "artstore:0.1.0");
        assert_parses(&words(&container["args"]));
        let writable = container["volumeMounts"].as_array().unwrap().iter().filter(|mount| mount["readOnly"] != true);
        let expected: &[&str] = if workload["kind"] == "StatefulSet" { &["/var/lib/artstore"] } else { &[] };
        assert_eq!(writable.map(|mount| mount["mountPath"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    }
}

/// A Secret's folder is swapped as a whole; a file mounted by `subPath` would stay the old one.
#[test]
fn certificates_and_secrets_are_mounted_as_folders_that_the_configuration_names() {
    for (workload, _) in workloads() {
        let (name, pod) = (name(workload), &workload["spec"]["template"]["spec"]);
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().all(|mount| mount["subPath"].is_null()), "{name}");
        let mut secrets: Vec<(&str, &str)> = Vec::new();
        for volume in pod["volumes"].as_array().unwrap().iter().filter(|volume| !volume["secret"].is_null()) {
            assert_eq!(volume["secret"]["defaultMode"], 0o440, "{name}");
            let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap();
            secrets.push((volume["secret"]["secretName"].as_str().unwrap(), mount["mountPath"].as_str().unwrap()));
        }
        let tls = format!("{name}-tls");
        let mut expected = vec![(tls.as_str(), "/etc/artstore/tls")];
        let account = format!("{name}-account");
        if name != "artstore-admin" {
            expected.push((&account, "/etc/artstore/account"));
        }
        assert_eq!(secrets, expected);
        let certificate =
            named("Certificate").find(|certificate| certificate["spec"]["secretName"] == tls.as_str()).unwrap();
        let names = [name.to_owned(), format!("{name}.artstore"), format!("{name}.artstore.svc")];
        assert_eq!(certificate["spec"]["dnsNames"], json!(names));
    }
}

#[test]
fn probes_ask_the_operations_listener_and_ends_wait_for_requests_in_flight() {
    for (workload, port) in workloads() {
        let pod = &workload["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(
            container["ports"],
            json!([
                {"name": "https", "containerPort": port}, {"name": "operations", "containerPort": port + 1000},
            ])
        );
        for (probe, path) in
            [("startupProbe", "/health/live"), ("livenessProbe", "/health/live"), ("readinessProbe", "/health/ready")]
        {
            assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "operations"}), "{probe}");
        }
        let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64().unwrap();
        // listen.drain_timeout, whose default is 30 s, is not set in the configuration.
        assert!(pod["terminationGracePeriodSeconds"].as_i64().unwrap() > pause + 30);
    }
}

/// The address by which a module is configured to reach another one is a Service, and a NetworkPolicy lets it through.
#[test]
fn configured_addresses_are_services_that_select_the_pods() {
    let mut urls = Vec::new();
    for configuration in named("ConfigMap") {
        let text = configuration["data"]["config.toml"].as_str().unwrap();
        urls.extend(text.split('"').filter(|word| word.starts_with("https://")));
    }
    urls.sort_unstable();
    urls.dedup();
    let admin = "https://artstore-admin:8000";
    assert_eq!(urls, [admin, "https://artstore-element-edit:8010", "https://artstore-element-rw:8011"]);
    for (workload, port) in workloads() {
        let service = named("Service").find(|service| name(service) == name(workload)).unwrap();
        assert_eq!(service["spec"]["ports"], json!([{"name": "https", "port": port, "targetPort": "https"}]));
        assert_eq!(service["spec"]["selector"], workload["spec"]["selector"]["matchLabels"]);
        let labels = &workload["spec"]["template"]["metadata"]["labels"];
        let selector = service["spec"]["selector"].as_object().unwrap();
        assert!(selector.iter().all(|(key, value)| &labels[key] == value), "{}", name(workload));
        // Rules and monitors know the module by this label: it is the job.
        let job = labels["app.kubernetes.io/name"].as_str().unwrap();
        let by_job = |document: &&Value| {
            let selector = if document["kind"] == "PodMonitor" { "selector" } else { "podSelector" };
            document["spec"][selector]["matchLabels"] == json!({"app.kubernetes.io/name": job})
        };
        assert_eq!(named("PodMonitor").filter(by_job).count(), 1, "{job}");
        assert_eq!(named("NetworkPolicy").filter(by_job).count(), 1, "{job}");
    }
}

/// Only the namespace of Prometheus reaches the operations listeners; elements take uploads from Ingesters and nobody else.
#[test]
fn policies_let_through_what_the_modules_need() {
    let peers = |rule: &Value, side: &str| -> Vec<String> {
        let peer = |peer: &Value| {
            let labels = peer.as_object().unwrap().values().next().unwrap()["matchLabels"].as_object().unwrap();
            labels.values().next().unwrap().as_str().unwrap().to_owned()
        };
        let mut peers: Vec<String> =
            rule[side].as_array().map_or(vec!["anyone".to_owned()], |all| all.iter().map(peer).collect());
        peers.push(rule["ports"][0]["port"].to_string());
        peers
    };
    let rules = |policy: &Value, direction: &str, side: &str| -> Vec<String> {
        policy["spec"][direction].as_array().unwrap().iter().map(|rule| peers(rule, side).join(" ")).collect()
    };
    let mut found: Vec<(&str, Vec<String>, Vec<String>)> =
        named("NetworkPolicy").map(|p| (name(p), rules(p, "ingress", "from"), rules(p, "egress", "to"))).collect();
    found.sort();
    let list = |rules: &[&str]| rules.iter().map(|&rule| rule.to_owned()).collect::<Vec<_>>();
    let expected = [
        (
            "artstore-admin",
            list(&["anyone \"https\"", "monitoring \"operations\""]),
            list(&["artstore-element \"https\"", "kube-system 53"]),
        ),
        (
            "artstore-element",
            list(&["artstore-ingester artstore-admin \"https\"", "monitoring \"operations\""]),
            list(&["artstore-admin \"https\"", "kube-system 53"]),
        ),
        (
            "artstore-ingester",
            list(&["anyone \"https\"", "monitoring \"operations\""]),
            list(&["artstore-admin artstore-element \"https\"", "kube-system 53"]),
        ),
    ];
    assert_eq!(found, expected);
}
