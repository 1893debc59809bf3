//! Which versions read beyond a compressed message: CVE-2025-14847.

/// Whether a version has the fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hole {
    /// It has it.
    Closed,
    /// It does not have it.
    Open,
    /// No fix is known for its branch.
    Unknown,
}

/// First patch of each branch with the fix, as MongoDB's SERVER-115508 names them; later branches
/// have it from the start.
const FIXED: [((u32, u32), u32); 6] = [
    ((4, 4), 30),
    ((5, 0), 32),
    ((6, 0), 27),
    ((7, 0), 28),
    ((8, 0), 17),
    ((8, 2), 3),
];

/// Judges a version.
pub(super) fn hole(version: &str) -> Hole {
    let mut parts = version
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    let branch = (next(), next());
    let patch = next();
    match FIXED.iter().find(|(of, _)| *of == branch) {
        Some((_, first)) if patch >= *first => Hole::Closed,
        Some(_) => Hole::Open,
        None if branch > (8, 2) => Hole::Closed,
        // Their branches have ended, without a fix.
        None => Hole::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_judged_by_its_branch() {
        for version in [
            "8.2.3", "8.2.11", "8.0.17", "7.0.28", "6.0.27", "5.0.32", "4.4.30", "8.3.0", "9.0.0",
        ] {
            assert_eq!(hole(version), Hole::Closed, "{version}");
        }
        for version in ["8.2.2", "8.0.16", "7.0.27", "4.4.29"] {
            assert_eq!(hole(version), Hole::Open, "{version}");
        }
        for version in ["4.2.25", "7.3.4", "8.1.2", "", "x"] {
            assert_eq!(hole(version), Hole::Unknown, "{version}");
        }
    }
}
