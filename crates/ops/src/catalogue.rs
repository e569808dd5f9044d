//! All families of all crates, by the crate that declares them.

use artstore_metrics::Family;

/// The families that one crate declares.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// What they measure, as a heading.
    pub title: &'static str,
    /// The crate that declares them.
    pub package: &'static str,
    /// The families in the order of their declaration.
    pub families: &'static [&'static Family],
}

/// Every family that any module exports.
#[must_use]
pub const fn catalogue() -> [Section; 7] {
    [
        Section { title: "Authentication", package: "artstore-auth", families: artstore_auth::metrics::FAMILIES },
        Section { title: "TLS", package: "artstore-tls", families: artstore_tls::metrics::FAMILIES },
        Section { title: "HTTP and process", package: "artstore-http", families: artstore_http::metrics::FAMILIES },
        Section {
            title: "Ingester Module",
            package: "artstore-ingester",
            families: artstore_ingester::metrics::FAMILIES,
        },
        Section {
            title: "Storage Element",
            package: "artstore-element",
            families: artstore_element::metrics::FAMILIES,
        },
        Section { title: "Admin Module", package: "artstore-admin", families: artstore_admin::metrics::FAMILIES },
        Section { title: "Build", package: "artstore-ops", families: &[&crate::BUILD_INFO] },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use artstore_metrics::{Kind, Values};
    use std::collections::BTreeSet;

    fn all() -> impl Iterator<Item = &'static Family> {
        catalogue().into_iter().flat_map(|section| section.families.iter().copied())
    }

    #[test]
    fn no_name_is_declared_twice_and_every_help_is_a_sentence() {
        let mut names = BTreeSet::new();
        for family in all() {
            assert!(names.insert(family.openmetrics_name()), "{}", family.name());
            assert!(family.help().ends_with('.') && family.help().len() > 10, "{}: {}", family.name(), family.help());
        }
    }

    #[test]
    fn no_label_is_one_that_could_hold_a_secret_or_grow_without_bound() {
        for label in all().flat_map(Family::label_declarations) {
            let refused = ["path", "query", "user", "token", "client_id", "file", "filename", "id"];
            assert!(!refused.contains(&label.name), "{}", label.name);
        }
    }

    /// The 17 fixed families: names, kinds, labels, value sets and buckets, against the contract's own words.
    #[test]
    fn the_seventeen_are_declared_as_the_contract_says() {
        let text = include_str!("../../../contract/metrics.toml");
        let contract: toml::Table = text.parse().unwrap();
        let families = contract["family"].as_array().unwrap();
        assert_eq!(families.len(), 17);
        for wanted in families {
            let name = wanted["name"].as_str().unwrap();
            let family = all().find(|family| family.name() == name).unwrap_or_else(|| panic!("{name} is not declared"));
            let kind = match family.kind() {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            assert_eq!(kind, wanted["type"].as_str().unwrap(), "{name}");
            let buckets = wanted.get("buckets").and_then(toml::Value::as_array).cloned().unwrap_or_default();
            assert_eq!(family.buckets(), buckets.iter().map(|b| b.as_float().unwrap()).collect::<Vec<_>>(), "{name}");
            let empty = toml::Table::new();
            let labels = wanted.get("labels").map_or(&empty, |labels| labels.as_table().unwrap());
            let declared: BTreeSet<&str> = family.label_declarations().iter().map(|label| label.name).collect();
            assert_eq!(declared, labels.keys().map(String::as_str).collect(), "{name}");
            for label in family.label_declarations() {
                let expected = values_of(&contract, &labels[label.name]);
                match label.values {
                    Values::Closed(values) => {
                        let values: BTreeSet<String> = values.iter().map(|v| (*v).to_owned()).collect();
                        assert_eq!(Some(values), expected, "{name}: {}", label.name);
                    }
                    Values::Open(_) => assert_eq!(expected, None, "{name}: {}", label.name),
                }
            }
        }
    }

    /// The closed set of a label in the contract, `@x` resolved; `None` if it is open.
    fn values_of(contract: &toml::Table, label: &toml::Value) -> Option<BTreeSet<String>> {
        let values = label.get("values")?.as_array().unwrap();
        let mut set = BTreeSet::new();
        for value in values.iter().map(|value| value.as_str().unwrap()) {
            match value.strip_prefix('@') {
                Some(name) => {
                    set.extend(
                        contract["set"][name].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()),
                    );
                }
                None => _ = set.insert(value.to_owned()),
            }
        }
        Some(set)
    }
}
