//! Which version runs: the family that joins every other one with its release.

use artstore_metrics::{Family, Label, Registry};

/// The version that runs; always 1.
pub const BUILD_INFO: Family = Family::gauge("artstore_build_info", "The version and the module that run; always 1.")
    .labels(&[Label::open("version", "one, the running version"), Label::open("module", "one, the running module")]);

/// Registers [`BUILD_INFO`] for a module.
pub fn register_build_info(registry: &Registry, module: &'static str) {
    registry.computed(&BUILD_INFO, move |samples| samples.integer(&[env!("CARGO_PKG_VERSION"), module], 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_info_names_version_and_module() {
        let registry = Registry::new();
        register_build_info(&registry, "ingester");
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("module", "ingester")];
        assert_eq!(registry.sum_of("artstore_build_info", &labels), 1.0);
    }
}
