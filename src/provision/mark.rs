//! Ownership marks: the comment on everything that we make says whose it is.
//!
//! A mark is one line, `lerianctl/1 tenant=… service=… module=…`, kept with `COMMENT ON`.
//! Whatever exists without the mark that is expected is somebody else's: it is neither adopted,
//! altered nor dropped.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::apply::ProvisionError;
use super::plan::DatabaseSpec;

const PREFIX: &str = "lerianctl/1";
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// Whose an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The cluster's: the role that owns databases.
    Cluster,
    /// Shared by the tenants in schema mode of one module.
    Shared {
        /// Service.
        service: String,
        /// Module.
        module: String,
        /// False until the database is closed to `PUBLIC` on the inside, too.
        ready: bool,
    },
    /// One tenant's, for one module.
    Tenant {
        /// Tenant id.
        tenant: String,
        /// Service.
        service: String,
        /// Module.
        module: String,
    },
}

impl Mark {
    /// Returns the mark of everything that belongs to `spec` alone.
    pub fn of(spec: &DatabaseSpec) -> Self {
        Self::Tenant {
            tenant: spec.tenant_id.as_str().to_owned(),
            service: spec.service.as_str().to_owned(),
            module: spec.module.clone(),
        }
    }

    /// Returns the mark of the database that `spec` shares with other tenants.
    pub fn shared_by(spec: &DatabaseSpec, ready: bool) -> Self {
        Self::Shared {
            service: spec.service.as_str().to_owned(),
            module: spec.module.clone(),
            ready,
        }
    }

    /// Reads a comment; `None` when it is not one of ours.
    pub fn parse(comment: &str) -> Option<Self> {
        let mut words = comment.split(' ');
        if words.next()? != PREFIX {
            return None;
        }
        let mut field = |name: &str| -> Option<String> {
            let value = words.next()?.strip_prefix(name)?.strip_prefix('=')?;
            Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
        };
        let mark = match field("kind")?.as_str() {
            "cluster" => Self::Cluster,
            "shared" => Self::Shared {
                service: field("service")?,
                module: field("module")?,
                ready: field("ready")? == "yes",
            },
            "tenant" => Self::Tenant {
                tenant: field("tenant")?,
                service: field("service")?,
                module: field("module")?,
            },
            _ => return None,
        };
        words.next().is_none().then_some(mark)
    }

    /// Refuses an object whose comment is not this mark.
    pub fn check(
        &self,
        object: impl FnOnce() -> String,
        comment: Option<&str>,
    ) -> Result<(), ProvisionError> {
        if comment.and_then(Self::parse).as_ref() == Some(self) {
            Ok(())
        } else {
            Err(Self::foreign(object(), comment))
        }
    }

    /// Returns the refusal to touch an object with another comment than was expected.
    pub fn foreign(object: String, comment: Option<&str>) -> ProvisionError {
        let found = match comment.and_then(Self::parse) {
            Some(mark) => format!("it is marked `{mark}`"),
            None => "it has no ownership mark".into(),
        };
        ProvisionError::Foreign { object, found }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |text| utf8_percent_encode(text, &PLAIN);
        match self {
            Self::Cluster => write!(f, "{PREFIX} kind=cluster"),
            Self::Shared {
                service,
                module,
                ready,
            } => write!(
                f,
                "{PREFIX} kind=shared service={} module={} ready={}",
                plain(service),
                plain(module),
                if *ready { "yes" } else { "no" }
            ),
            Self::Tenant {
                tenant,
                service,
                module,
            } => write!(
                f,
                "{PREFIX} kind=tenant tenant={} service={} module={}",
                plain(tenant),
                plain(service),
                plain(module)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_comments_are_not_marks() {
        for comment in [
            "",
            "standard public schema",
            "lerianctl/1",
            "lerianctl/1 kind=tenant tenant=a service=b",
            "lerianctl/1 kind=tenant tenant=a service=b module=c more",
            "lerianctl/1 kind=tenant service=b tenant=a module=c",
            "lerianctl/2 kind=cluster",
            " lerianctl/1 kind=cluster",
        ] {
            assert_eq!(Mark::parse(comment), None, "{comment}");
        }
    }

    #[test]
    fn a_foreign_object_is_named_with_what_was_found() {
        let error = Mark::Cluster
            .check(|| "role `x`".into(), Some("mine"))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "role `x` exists and was not made for this tenant: it has no ownership mark"
        );
    }

    proptest! {
        #[test]
        fn a_mark_reads_back(tenant in any::<String>(), service in any::<String>(), module in any::<String>(), ready in any::<bool>()) {
            let marks = [
                Mark::Shared { service: service.clone(), module: module.clone(), ready },
                Mark::Tenant { tenant, service, module },
            ];
            for mark in marks {
                let text = mark.to_string();
                prop_assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)));
                prop_assert_eq!(Mark::parse(&text), Some(mark));
            }
        }
    }
}
