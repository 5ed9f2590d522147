//! Which interfaces a component may import: deny by default.

use std::collections::BTreeSet;

/// An interface package beyond the baseline that may be granted to a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ImportGrant {
    /// `wasi:filesystem`. What it reaches is granted apart, folder by folder; a stage reaches nothing.
    Filesystem,
    /// `wasi:sockets`. Every address is refused.
    Sockets,
    /// `wasi:http`. Outgoing requests are refused.
    Http,
    /// `wasi:config`. It gives the component's settings and nothing else.
    Config,
    /// `wasi:logging`. Lines go where the component's other lines go, within the same budget.
    Logging,
}

/// What a component may import beyond the baseline, and what its manifest says that it imports.
#[derive(Debug, Clone, Default)]
pub struct ImportGrants {
    /// The interfaces granted.
    pub granted: BTreeSet<ImportGrant>,
    /// The imports as the signed manifest lists them; a component that imports anything else is refused. None for a
    /// component without a manifest of its own.
    pub declared: Option<Vec<String>>,
}

impl ImportGrants {
    /// The baseline, and the imports as the manifest lists them. Listing an interface grants it where it gives a
    /// component no more than its world does: settings and log lines.
    pub fn declared(imports: &[String]) -> Self {
        let lists = |prefix: &str| imports.iter().any(|import| import.starts_with(prefix));
        let granted = GRANTABLE
            .iter()
            .filter(|(prefix, grant)| GRANTED_WHERE_DECLARED.contains(grant) && lists(prefix))
            .map(|(_, grant)| *grant)
            .collect();
        Self { granted, declared: Some(imports.to_vec()) }
    }

    /// The same with one more grant.
    #[must_use]
    pub fn with(mut self, grant: ImportGrant) -> Self {
        self.granted.insert(grant);
        self
    }

    /// Checks one import.
    ///
    /// # Errors
    /// Why it is refused.
    pub(crate) fn check(&self, import: &str, world: &[&str]) -> Result<(), ImportRefusal> {
        if let Some(declared) = &self.declared
            && !declared.iter().any(|declared| declared == import)
        {
            return Err(ImportRefusal::Undeclared);
        }
        let within = |prefixes: &[&str]| prefixes.iter().any(|prefix| import.starts_with(prefix));
        if within(BASELINE) || within(world) {
            return Ok(());
        }
        match GRANTABLE.iter().find(|(prefix, _)| import.starts_with(prefix)) {
            Some((_, grant)) if self.granted.contains(grant) => Ok(()),
            Some((_, grant)) => Err(ImportRefusal::NotGranted(*grant)),
            None => Err(ImportRefusal::Unknown),
        }
    }
}

/// What every component may import. Nothing here reaches beyond the instance: the environment is empty, standard
/// output goes to the log.
const BASELINE: &[&str] = &["wasi:cli/", "wasi:io/", "wasi:clocks/", "wasi:random/"];

const GRANTABLE: &[(&str, ImportGrant)] = &[
    ("wasi:filesystem/", ImportGrant::Filesystem),
    ("wasi:sockets/", ImportGrant::Sockets),
    ("wasi:http/", ImportGrant::Http),
    // Drafts: no two versions are compatible, so that only the very one that is linked can be granted.
    ("wasi:config/store@0.2.0-rc.1", ImportGrant::Config),
    ("wasi:logging/logging@0.1.0-draft", ImportGrant::Logging),
];

const GRANTED_WHERE_DECLARED: &[ImportGrant] = &[ImportGrant::Config, ImportGrant::Logging];

/// Why an import is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImportRefusal {
    /// The manifest does not list it.
    #[error("not in the manifest")]
    Undeclared,
    /// It could be granted and is not.
    #[error("not granted")]
    NotGranted(ImportGrant),
    /// The host does not have it.
    #[error("not provided by this host")]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_out_needs_a_grant_and_unknown_imports_never_pass() {
        let none = ImportGrants::default();
        assert_eq!(none.check("wasi:clocks/wall-clock@0.2.12", &[]), Ok(()));
        assert_eq!(
            none.check("wasi:sockets/tcp@0.2.12", &[]),
            Err(ImportRefusal::NotGranted(ImportGrant::Sockets))
        );
        assert_eq!(none.clone().with(ImportGrant::Sockets).check("wasi:sockets/tcp@0.2.12", &[]), Ok(()));
        assert_eq!(none.check("wasi:nn/graph@0.2.0", &[]), Err(ImportRefusal::Unknown));
        assert_eq!(none.check("wasi:nn/graph@0.2.0", &["wasi:nn/"]), Ok(()));
        assert_eq!(none.check("wasi:clocksmith/x", &[]), Err(ImportRefusal::Unknown));
    }

    #[test]
    fn an_import_that_the_manifest_does_not_list_is_refused_even_from_the_baseline() {
        let grants = ImportGrants::declared(&["wasi:io/poll@0.2.12".to_owned()]);
        assert_eq!(grants.check("wasi:io/poll@0.2.12", &[]), Ok(()));
        assert_eq!(grants.check("wasi:io/streams@0.2.12", &[]), Err(ImportRefusal::Undeclared));
    }

    #[test]
    fn a_manifest_that_lists_settings_and_log_grants_them_and_nothing_that_reaches_out() {
        let listed =
            ["wasi:config/store@0.2.0-rc.1", "wasi:logging/logging@0.1.0-draft", "wasi:sockets/tcp@0.2.12"];
        let grants = ImportGrants::declared(&listed.map(str::to_owned));
        assert_eq!(
            listed.map(|import| grants.check(import, &[])),
            [Ok(()), Ok(()), Err(ImportRefusal::NotGranted(ImportGrant::Sockets))]
        );
        let none = ImportGrants::declared(&[]);
        assert_eq!(none.check(listed[0], &[]), Err(ImportRefusal::Undeclared));
    }

    #[test]
    fn another_draft_of_a_granted_interface_is_unknown() {
        let grants = ImportGrants::default().with(ImportGrant::Config);
        assert_eq!(grants.check("wasi:config/store@0.2.0-draft", &[]), Err(ImportRefusal::Unknown));
    }
}
