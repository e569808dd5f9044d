//! The operator's drill: a certificate with 5 days left is announced, found by the runbook's own queries and commands while the fault
//! lasts, renewed by its commands, and the alert ends.

use crate::runbook::{Desk, Runbook};
use crate::stack::Stack;
use artstore_e2e::poll;
use artstore_e2e::prometheus::Series;
use artstore_e2e::webhook::Told;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const ALERT: &str = "ArtstoreTlsCertificateExpiryCritical";
/// The certificate that the fault shortens, by its subject.
const SUBJECT: &str = "CN=ArtStore development module";
const LIMIT: Duration = Duration::from_secs(15);

/// Which certificate at which instance.
type Culprit = (String, String, String);

fn culprit(label: impl Fn(&str) -> String) -> Culprit {
    (label("instance"), label("cert_type"), label("subject"))
}

/// The desk of whoever is woken: the installation's files under the names that the runbook uses.
fn desk(stack: &Stack) -> Desk {
    let tls = stack.up.data().join("tls");
    let names = [("client.pem", "module.pem"), ("server.pem", "server.pem"), ("ca.pem", "ca.pem")];
    let mut names = names.map(|(name, file)| (name, tls.join(file))).to_vec();
    names.push(("certs", tls.clone()));
    let desk = Desk::set_up(&stack.up.scratch().join("desk"), &names);
    let secrets = std::fs::read_to_string(stack.up.data().join("secrets.json")).unwrap();
    let secrets: Value = serde_json::from_str(&secrets).unwrap();
    desk.write(
        "ingester.toml",
        &format!(
            "tls.cert_file = {:?}\ntls.key_file = {:?}\ntls.ca_cert_file = {:?}\nauth.admin_urls = [{:?}]\n\
             auth.client_id = 'artstore-ingester'\nauth.client_secret = {}\n",
            tls.join("module.pem"),
            tls.join("module.key"),
            tls.join("ca.pem"),
            stack.up.var("ARTSTORE_ADMIN_URL"),
            secrets["artstore-ingester"],
        ),
    );
    desk
}

/// What the diagnosis' queries say while the fault lasts: exactly the certificates that the alert is about, under 5 days; by
/// fingerprint as well; refused nowhere yet; and no new files that could not be used.
/// Its fingerprint.
fn diagnose_by_queries(stack: &Stack, runbook: &Runbook, announced: &BTreeSet<Culprit>) -> String {
    let queries = runbook.queries("Diagnosis");
    let answers: Vec<Vec<Series>> = queries.iter().map(|query| stack.prometheus.query(query)).collect();
    let [short, by_fingerprint, refused, pending] = answers.as_slice() else { panic!("{queries:#?}") };
    let named: BTreeSet<Culprit> = short.iter().map(|series| culprit(|name| series.label(name).to_owned())).collect();
    assert_eq!(&named, announced);
    assert!(short.iter().all(|series| (4.9..5.0).contains(&series.value())), "{short:?}");
    let instances =
        |series: &[Series]| -> BTreeSet<String> { series.iter().map(|s| s.label("instance").to_owned()).collect() };
    assert_eq!(instances(by_fingerprint), instances(short), "{by_fingerprint:?}");
    assert_eq!((refused.len(), pending.len()), (0, 0), "{refused:?} {pending:?}");
    let fingerprints: BTreeSet<&str> = by_fingerprint.iter().map(|series| series.label("fingerprint")).collect();
    assert_eq!(fingerprints.len(), 1, "{by_fingerprint:?}");
    fingerprints.into_iter().collect()
}

/// The diagnosis' commands name the same certificate, and only that one.
fn diagnose_by_commands(desk: &Desk, runbook: &Runbook, fingerprint: &str) {
    let commands = runbook.commands("Diagnosis").concat();
    let [inspect, doctor] = commands.as_slice() else { panic!("{commands:#?}") };
    let done = desk.run(inspect);
    assert_eq!(done.code, Some(1), "{}", done.said);
    let critical: Vec<&str> = done.said.lines().filter(|line| line.trim_start().starts_with("critical")).collect();
    assert!(critical.len() == 1 && critical[0].contains(SUBJECT) && critical[0].contains(" 5.0 "), "{}", done.said);
    let (before, _) = done.said.split_once("server.pem:").unwrap();
    assert!(before.starts_with("client.pem:") && before.contains(fingerprint), "{}", done.said);
    let done = desk.run(doctor);
    let told =
        done.said.lines().find(|line| line.contains("good as a client")).unwrap_or_else(|| panic!("{}", done.said));
    assert!(told.contains("for 5.0 more days; renew it") && told.contains(SUBJECT), "{told}");
}

/// The mitigation as it is written: a look before, the renewal, the same look after.
fn mitigate(desk: &Desk, runbook: &Runbook) {
    let blocks = runbook.commands("Mitigation");
    let [look, renew] = blocks.as_slice() else { panic!("{blocks:#?}") };
    let codes = |lines: &[String]| lines.iter().map(|line| desk.run(line).code).collect::<Vec<_>>();
    assert_eq!(codes(look), [Some(1), Some(0)]);
    assert_eq!(codes(renew), [Some(0)]);
    assert_eq!(codes(look), [Some(0), Some(0)]);
}

#[test]
fn a_certificate_at_five_days_is_announced_diagnosed_and_renewed_as_the_runbook_says() {
    let stack = Stack::start();
    let desk = desk(&stack);
    let began = stack.webhook.now();
    stack.begin("certificate-5-days");
    // The Ingester and the scraped elements show this certificate when they connect.
    let announced = poll::until("the alert at the webhook", LIMIT, || {
        let firing = stack.at_webhook(began).into_values().filter(Told::is_firing);
        let firing: Vec<Told> = firing.filter(|told| told.name() == ALERT).collect();
        (firing.len() == 3).then_some(firing)
    });
    let culprits: BTreeSet<Culprit> = announced.iter().map(|told| culprit(|name| told.labels[name].clone())).collect();
    assert!(culprits.iter().all(|(_, kind, subject)| kind == "client" && subject == SUBJECT), "{culprits:?}");
    assert!(announced[0].annotations["description"].starts_with("5.0 days are left"), "{announced:?}");

    let runbook = Runbook::at(&announced[0].annotations["runbook_url"]);
    let fingerprint = diagnose_by_queries(&stack, &runbook, &culprits);
    diagnose_by_commands(&desk, &runbook, &fingerprint);
    mitigate(&desk, &runbook);
    poll::until("the alert is resolved at the webhook", LIMIT, || {
        stack.firing_at_webhook(began).is_empty().then_some(())
    });
    assert_eq!(stack.told_since(began), BTreeSet::from([ALERT.to_owned()]));
    assert!(stack.prometheus.query(&runbook.queries("Diagnosis")[0]).is_empty());
}
