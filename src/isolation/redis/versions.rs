//! Which versions have known ways out of their scripts.

/// What a version tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holes {
    /// It has the fixes.
    None,
    /// It may have them: its version does not tell.
    Perhaps(String),
    /// It does not have them.
    Known(String),
}

/// First patch of each branch with the fix of CVE-2025-49844; later branches have it from the start.
const REDIS: &[((u32, u32), u32)] = &[
    ((6, 2), 20),
    ((7, 2), 11),
    ((7, 4), 6),
    ((8, 0), 4),
    ((8, 2), 2),
];
const VALKEY: &[((u32, u32), u32)] = &[((7, 2), 11), ((8, 0), 6), ((8, 1), 4)];

/// Judges a version; `packaged` is true for a program that a distribution installed.
pub(super) fn holes(product: &str, version: &str, packaged: bool) -> Holes {
    let mut parts = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    let branch = (next(), next());
    let patch = next();
    let fixes = if product == "Valkey" { VALKEY } else { REDIS };
    let newest = fixes.last().map_or(branch, |(newest, _)| *newest);
    let has_it = match fixes.iter().find(|(of, _)| *of == branch) {
        Some((_, first)) => patch >= *first,
        None => branch > newest,
    };
    if has_it {
        return Holes::None;
    }
    let name = format!("{product} {version} is older than the fix of CVE-2025-49844");
    let upstream = fixes.iter().any(|(of, _)| *of == branch);
    if packaged || !upstream {
        let why = if upstream {
            "a distribution's package may carry it without another version"
        } else {
            "its branch has no fix upstream, and only a distribution's package may carry one"
        };
        return Holes::Perhaps(format!("{name}; {why}"));
    }
    Holes::Known(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_judged_by_its_branch_and_where_it_comes_from() {
        for (product, version) in [
            ("Redis", "6.2.20"),
            ("Redis", "7.2.11"),
            ("Redis", "8.2.2"),
            ("Redis", "8.4.0"),
            ("Valkey", "8.1.4"),
            ("Valkey", "9.0.0"),
        ] {
            assert_eq!(holes(product, version, false), Holes::None, "{version}");
        }
        for version in ["7.2.10", "8.2.1", "6.2.19"] {
            assert!(matches!(holes("Redis", version, false), Holes::Known(_)));
            assert!(matches!(holes("Redis", version, true), Holes::Perhaps(_)));
        }
        for version in ["7.0.15", "6.0.16", "5.0.7"] {
            assert!(matches!(holes("Redis", version, false), Holes::Perhaps(_)));
        }
        assert!(matches!(holes("Valkey", "8.0.5", false), Holes::Known(_)));
    }
}
