//! The catalogue: every check, read from its own file under `checks/`.
//!
//! A file begins with the check's page of the manual, as SQL comments; what follows is its query.
//! Adding a check is adding a file and a word here.

use std::sync::LazyLock;

use super::model::{Check, Family, Severity};

/// What every query begins with: the inventory as its one parameter, so that nothing is written.
const INVENTORY: &str = "\
WITH RECURSIVE inv AS MATERIALIZED (
  SELECT * FROM pg_catalog.jsonb_to_recordset($1::pg_catalog.jsonb) AS i(tenant text, db text, sch text,
    role text, login boolean, mode text, status text, complete boolean, timeout integer){few}),
schemas AS MATERIALIZED (SELECT DISTINCT tenant, sch FROM inv WHERE sch IS NOT NULL),
roles AS MATERIALIZED (SELECT DISTINCT i.tenant, r.oid FROM inv i {roles})";

/// What a query begins with besides, where it asks who can act as whom: `edges` are the memberships
/// that convey anything, `able` the roles whose rights a tenant has by any path, `mine` those that
/// are nobody else's.
const REACH: &str = ",
edges AS MATERIALIZED (
  SELECT m.member, m.roleid FROM pg_auth_members m WHERE {conveys}),
reached(tenant, oid) AS (
  SELECT tenant, oid FROM roles
  UNION SELECT reached.tenant, e.roleid FROM reached {edges}),
able AS MATERIALIZED (
  SELECT x.tenant, x.oid FROM reached x {not_super}
  UNION SELECT tenant, oid FROM roles),
mine AS MATERIALIZED (
  SELECT tenant, oid FROM roles
  UNION SELECT min(a.tenant), a.oid FROM able a {group}
    AND a.oid NOT IN (SELECT oid FROM roles)
  GROUP BY a.oid HAVING count(DISTINCT a.tenant) = 1)";

/// What stands for the names in braces. Both forms answer the same. With few roles in the inventory
/// they and their memberships are looked up one by one: to read all of a cluster's roles in each of
/// its databases would take a time that grows with the square of the tenants.
const FORMS: [[(&str, &str); 5]; 2] = [
    [
        ("{few}", ""),
        ("{roles}", "JOIN pg_roles r ON r.rolname = i.role"),
        ("{edges}", "JOIN edges e ON e.member = reached.oid"),
        (
            "{not_super}",
            "JOIN pg_roles q ON q.oid = x.oid WHERE NOT q.rolsuper",
        ),
        (
            "{group}",
            "JOIN pg_roles q ON q.oid = a.oid WHERE NOT q.rolcanlogin AND q.rolname !~ '^pg_'",
        ),
    ],
    [
        // Says to the planner how many there are.
        (
            "{few}",
            "\n  LIMIT pg_catalog.jsonb_array_length($1::pg_catalog.jsonb)",
        ),
        (
            "{roles}",
            "CROSS JOIN LATERAL (\n  SELECT q.oid FROM pg_roles q WHERE q.rolname = i.role OFFSET 0) r",
        ),
        (
            "{edges}",
            "CROSS JOIN LATERAL (\n    SELECT m.roleid FROM pg_auth_members m WHERE m.member = reached.oid AND ({conveys}) OFFSET 0) e",
        ),
        (
            "{not_super}",
            "WHERE (SELECT NOT q.rolsuper FROM pg_roles q WHERE q.oid = x.oid)",
        ),
        (
            "{group}",
            "WHERE (SELECT NOT q.rolcanlogin AND q.rolname !~ '^pg_' FROM pg_roles q WHERE q.oid = a.oid)",
        ),
    ],
];

/// Memberships that convey anything; the columns are those of PostgreSQL 16 and later.
const CONVEYS: &str =
    "{m}.admin_option OR coalesce((to_jsonb({m}) ->> 'inherit_option')::boolean, true)
     OR coalesce((to_jsonb({m}) ->> 'set_option')::boolean, true)";

/// Returns a query's beginning in each of the forms.
fn beginnings(reach: bool) -> [String; 2] {
    FORMS.map(|form| {
        let whole = format!("{INVENTORY}{}", if reach { REACH } else { "" });
        form.iter()
            .fold(whole, |text, (name, value)| text.replace(name, value))
            .replace("{conveys}", &CONVEYS.replace("{m}", "m"))
    })
}

/// Takes back the rights that an entry of an ACL gives: `{revoke WHAT; ENTRY; OWNER; ARGUMENTS…}`, with
/// the entry's alias, the owner of the object, and what `format` puts into WHAT. PostgreSQL takes back
/// what the owner gave, whoever asks; what another gave is left in place without a word, unless it is
/// taken back as that role.
const REVOKE: &str = "format('%sREVOKE {what} FROM %s;%s', \
    CASE WHEN {entry}.grantor <> {owner} THEN format('SET ROLE %I; ', pg_get_userbyid({entry}.grantor)) ELSE '' END, \
    {arguments}, CASE WHEN {entry}.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid({entry}.grantee)::text) END, \
    CASE WHEN {entry}.grantor <> {owner} THEN ' RESET ROLE;' ELSE '' END)";

/// Ends a membership: `{leave MEMBER; ROLE}`. Since PostgreSQL 16 a role may be a member of another
/// several times over, by several grantors, and REVOKE takes back one of them: without GRANTED BY that
/// of the first superuser, or none at all.
const LEAVE: &str = "(SELECT string_agg(format('REVOKE %I FROM %I%s;', pg_get_userbyid(granting.roleid), pg_get_userbyid(granting.member), \
    CASE WHEN current_setting('server_version_num')::int >= 160000 \
    THEN format(' GRANTED BY %I', pg_get_userbyid(granting.grantor)) ELSE '' END), E'\\n') \
    FROM pg_auth_members granting WHERE granting.member = {member} AND granting.roleid = {role} AND ({conveys}))";

/// The names of a search path, `{names PATH}`, as the server reads it: in quotes as they stand, with
/// what quotes hold inside of them, and otherwise in small letters.
const NAMES: &str = "(SELECT coalesce(replace(word[1], '\"\"', '\"'), lower(trim(word[2]))) AS name, at \
    FROM regexp_matches({path}, '\"((?:[^\"]|\"\")*)\"|([^,\"]+)', 'g') WITH ORDINALITY AS words(word, at) \
    WHERE word[1] IS NOT NULL OR trim(word[2]) <> '')";

/// Whether a setting is switched off, `{off VALUE}`: the server takes the beginning of any of its words
/// for one, and nothing else.
const OFF: &str = "(lower({value}) ~ '^(f|n|of|0)')";

/// Writes out what stands in braces in a query.
fn written_out(body: &str) -> String {
    let mut text = String::with_capacity(body.len());
    let mut rest = body;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after.split_once('}').unwrap_or((after, ""));
        let (word, inside) = inside.split_once(' ').unwrap_or((inside, ""));
        let parts: Vec<&str> = inside.split(';').map(str::trim).collect();
        text.push_str(before);
        let whole = match (word, &parts[..]) {
            ("revoke", [what, entry, owner, arguments @ ..]) => REVOKE
                .replace("{what}", what)
                .replace("{entry}", entry)
                .replace("{owner}", owner)
                .replace("{arguments}", &arguments.join(", ")),
            ("leave", [member, role]) => LEAVE
                .replace("{member}", member)
                .replace("{role}", role)
                .replace("{conveys}", &CONVEYS.replace("{m}", "granting")),
            ("names", [path]) => NAMES.replace("{path}", path),
            ("off", [value]) => OFF.replace("{value}", value),
            // The test of all queries finds the brace.
            _ => format!("{{{word}}}"),
        };
        text.push_str(&whole);
        rest = after;
    }
    text + rest
}

macro_rules! files {
    ($family:expr, $folder:literal, $extension:literal, $($id:literal)*) => {
        &[$(($family, $id, include_str!(concat!("checks/", $folder, "/", $id, ".", $extension)))),*]
    };
}

type File = (Family, &'static str, &'static str);

const FILES: &[&[File]] = &[
    files!(Family::Config, "config", "txt",
        "CF-01" "CF-02" "CF-03" "CF-04" "CF-05" "CF-06" "CF-07" "CF-08" "CF-09" "CF-10" "CF-11" "CF-12"
        "CF-14" "CF-16" "CF-18" "CF-19" "CF-21" "CF-22" "CF-23"),
    files!(Family::Cluster, "cluster", "sql",
        "PG-001" "PG-002" "PG-003" "PG-004" "PG-005" "PG-006" "PG-007" "PG-008" "PG-009" "PG-010"
        "PG-011" "PG-012" "PG-013" "PG-014" "PG-015" "PG-016" "PG-017" "PG-018" "PG-019" "PG-021"
        "PG-022" "PG-023" "PG-024" "PG-025" "PG-026" "PG-027" "PG-030" "PG-210" "CF-13" "CF-20"),
    files!(Family::Cluster, "cluster", "txt", "PG-028"),
    files!(Family::Database, "database", "sql",
        "PG-020" "PG-101" "PG-102" "PG-103" "PG-104" "PG-105" "PG-106" "PG-107" "PG-108" "PG-109"
        "PG-110" "PG-111" "PG-112" "PG-113" "PG-114" "PG-115" "PG-116" "PG-117" "PG-118" "PG-119"
        "PG-120" "PG-121" "PG-122" "PG-123"),
    files!(Family::Live, "live", "txt",
        "PG-029" "PG-201" "PG-202" "PG-203" "PG-204" "PG-205" "PG-206" "PG-208" "PG-209" "PG-211" "PG-212" "PG-213" "PG-214"
        "PG-215" "PG-217" "PB-01" "PB-02" "PB-03" "PB-04" "PB-05" "PB-06"),
    files!(Family::Redis, "redis", "txt",
        "RD-01" "RD-02" "RD-03" "RD-04" "RD-05" "RD-06" "RD-07" "RD-08" "RD-09" "RD-10" "RD-11"
        "RD-12" "RD-13" "RD-14" "RD-15" "CF-17"),
    files!(Family::Rabbitmq, "rabbitmq", "txt",
        "RQ-01" "RQ-02" "RQ-03" "RQ-04" "RQ-05" "RQ-06" "RQ-07" "RQ-08" "RQ-09" "RQ-10" "RQ-11"
        "RQ-12" "RQ-13" "RQ-14"),
    files!(Family::Mongodb, "mongodb", "txt",
        "MG-01" "MG-02" "MG-03" "MG-04" "MG-05" "MG-06" "MG-07" "MG-08" "MG-09" "MG-10" "MG-11" "MG-12"
        "MG-13" "MG-14" "MG-16"),
    files!(Family::Kafka, "kafka", "txt", "OS-03" "OS-04"),
    files!(Family::Objects, "objects", "txt", "OS-01"),
    files!(Family::Http, "http", "txt",
        "CF-15" "JW-01" "JW-02" "JW-03" "JW-04" "JW-05" "JW-06" "JW-07" "JW-08" "JW-09" "JW-10" "JW-11" "JW-12"
        "JW-13" "JW-14" "JW-15" "JW-16" "JW-17" "JW-18" "JW-19" "JW-20" "JW-21" "JW-22" "JW-23" "JW-24"
        "JW-25" "JW-26" "JW-27" "JW-28" "PG-207"),
];

static CHECKS: LazyLock<Vec<Check>> = LazyLock::new(|| {
    let files = FILES.iter().flat_map(|family| family.iter());
    let mut checks: Vec<Check> = files
        .map(|(family, id, text)| parse(*family, id, text))
        .collect();
    checks.sort_by_key(|check| (check.family, check.id));
    checks
});

/// Returns every check, by family and id.
pub fn all() -> &'static [Check] {
    &CHECKS
}

/// Returns the check called `id`, in either case.
pub fn find(id: &str) -> Option<&'static Check> {
    all().iter().find(|check| check.id.eq_ignore_ascii_case(id))
}

/// Returns the check called `id`, which is known to exist.
pub(super) fn known(id: &str) -> &'static Check {
    find(id).expect("the ids in the source are those of the catalogue")
}

/// Returns the checks of a family.
pub fn of(family: Family) -> impl Iterator<Item = &'static Check> {
    all().iter().filter(move |check| check.family == family)
}

/// Reads a file; a unit test reads all of them, so what is missing shows there.
fn parse(family: Family, id: &'static str, text: &'static str) -> Check {
    let mut lines = text.lines().peekable();
    let first = lines.next().unwrap_or_default();
    let title = first.split_once(" · ").map_or("", |(_, title)| title);
    let mut check = Check {
        id,
        title,
        severity: Severity::Info,
        family,
        claim: String::new(),
        why: String::new(),
        looks: String::new(),
        remedy: String::new(),
        peach: String::new(),
        limit: false,
        schema_mode: false,
        since: 0,
        sql: None,
        sql_for_few: None,
    };
    while let Some(line) = lines.peek().and_then(|line| line.strip_prefix("-- ")) {
        let (key, value) = line.split_once(": ").unwrap_or((line, ""));
        let mut value = value.to_owned();
        lines.next();
        while let Some(more) = lines.peek().and_then(|line| line.strip_prefix("--   ")) {
            value.push('\n');
            value.push_str(more);
            lines.next();
        }
        match key {
            "severity" => check.severity = value.parse().unwrap_or(Severity::Info),
            "claim" => check.claim = value.replace('\n', " "),
            "why" => check.why = value.replace('\n', " "),
            "looks" => check.looks = value.replace('\n', " "),
            "remedy" => check.remedy = value,
            "peach" => check.peach = value,
            "kind" => check.limit = value == "limit",
            "mode" => check.schema_mode = value == "schema",
            "since" => check.since = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    let body: Vec<&str> = lines.collect();
    if !body.is_empty() {
        let separator = if body[0].starts_with(',') { "" } else { "\n" };
        let body = written_out(&body.join("\n"));
        let words = ["edges", "able", "mine"];
        let reach = words.iter().any(|word| has_word(&body, word));
        let [many, few] = beginnings(reach).map(|text| format!("{text}{separator}{body}"));
        check.sql = Some(many);
        check.sql_for_few = Some(few);
    }
    check
}

/// Returns true when `word` stands in `text` on its own.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_has_a_whole_page_and_an_id_of_its_own() {
        let mut ids = BTreeSet::new();
        for (_, id, text) in FILES.iter().flat_map(|family| family.iter()) {
            assert!(text.starts_with(&format!("-- {id} · ")), "{id}");
            assert!(text.contains("\n-- severity: "), "{id}");
            assert!(ids.insert(*id), "{id} stands twice");
        }
        for check in all() {
            let id = check.id;
            for (name, text) in [
                ("title", check.title),
                ("claim", &check.claim),
                ("why", &check.why),
                ("looks", &check.looks),
                ("remedy", &check.remedy),
            ] {
                assert!(text.len() > 15, "{id} has no {name}: {text:?}");
            }
            let peach = [
                "privilege",
                "encryption",
                "authentication",
                "connectivity",
                "hygiene",
            ];
            assert!(peach.contains(&check.peach.as_str()), "{id}");
            let is_sql =
                matches!(check.family, Family::Cluster | Family::Database) && id != "PG-028";
            assert_eq!(check.sql.is_some(), is_sql, "{id}");
        }
    }

    #[test]
    fn both_beginnings_are_whole() {
        for text in [beginnings(false), beginnings(true)].concat() {
            assert!(!text.contains(['{', '}']), "{text}");
        }
    }

    #[test]
    fn what_stands_in_braces_is_written_out() {
        for check in all() {
            let Some(sql) = &check.sql else { continue };
            assert!(!sql.contains(['{', '}']), "{}: {sql}", check.id);
        }
        assert_eq!(written_out("a {else b} c"), "a {else} c");
    }

    #[test]
    fn no_query_can_write() {
        for check in all() {
            let Some(sql) = &check.sql else { continue };
            let both = format!("{sql} {}", check.sql_for_few.as_ref().unwrap());
            let code: String = both
                .split('\'')
                .step_by(2)
                .flat_map(|part| [part, " "])
                .collect();
            for word in [
                "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "GRANT", "ALTER",
            ] {
                let found = code
                    .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .any(|part| part == word);
                assert!(!found, "{} has {word} outside of a text", check.id);
            }
        }
    }

    #[test]
    fn checks_are_found_in_either_case() {
        assert_eq!(find("pg-002").unwrap().id, "PG-002");
        assert!(find("PG-999").is_none());
    }
}
