//! What mends a finding, and what of it may be done without a person.
//!
//! The statements come from the server that was checked, and names in them may be a tenant's
//! choice. So nothing is sent that this file did not read word by word: one statement a line, of a
//! few forms that take rights away or put a setting back, whose names are whole. They touch no data
//! and can be granted again; all else is for a person.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;

use super::model::Finding;
use super::report::Isolation;
use crate::link::postgres::{PostgresEndpoint, Session};
use crate::link::redis::printable;

/// Options of the session that mends.
const OPTIONS: &str = "-c search_path=pg_catalog -c statement_timeout=60s -c lock_timeout=5s -c \
                       standard_conforming_strings=on -c \
                       idle_in_transaction_session_timeout=60s";

/// What mends one finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// Id of the check.
    pub check: String,
    /// Cluster.
    pub store: String,
    /// Database in which it is done; absent where any database will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// What the finding is about.
    pub object: String,
    /// Statements, in order; as the finding has them where a person has to do it.
    pub statements: Vec<String>,
    /// Why a person has to do it; empty when it may be done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by_hand: String,
    /// Why it could not be done, when it was tried.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A word of a statement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    /// Keyword or bare name, in upper case.
    Word(String),
    /// Quoted name, without its quotes.
    Name(String),
    Number,
    Mark(char),
}

/// Cuts a line into words; `None` for anything that is not plainly a word, a whole name, a number
/// or a mark. Text in single quotes, comments and escapes are not.
fn tokens(line: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ' ' => {}
            '"' => {
                let mut name = String::new();
                loop {
                    match rest.next()? {
                        '"' if rest.peek() == Some(&'"') => {
                            rest.next();
                            name.push('"');
                        }
                        '"' => break,
                        c if c.is_control() => return None,
                        c => name.push(c),
                    }
                }
                tokens.push(Token::Name(name));
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || "_$".contains(*c))
                {
                    word.push(c);
                }
                tokens.push(Token::Word(word.to_ascii_uppercase()));
            }
            c if c.is_ascii_digit() => {
                while rest.next_if(char::is_ascii_digit).is_some() {}
                tokens.push(Token::Number);
            }
            '.' | ',' | '(' | ')' | '[' | ']' | ';' | '=' => tokens.push(Token::Mark(c)),
            _ => return None,
        }
    }
    Some(tokens)
}

fn is(token: Option<&Token>, word: &str) -> bool {
    matches!(token, Some(Token::Word(found)) if found == word)
}

fn is_name(token: Option<&Token>) -> bool {
    matches!(token, Some(Token::Word(_) | Token::Name(_)))
}

/// Returns a word of a shell command, quoted: the one place where names become such words.
pub(super) fn shell_word(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| "NAME".into(), std::borrow::Cow::into_owned)
}

/// Rights or a membership that a line takes back.
struct Taken<'a> {
    /// What it is about: the object, or the role.
    what: &'a [Token],
    /// From whom.
    from: &'a [Token],
    /// As whom, where the line says so.
    by: Option<&'a Token>,
}

/// Returns the statement that a line sends as another role, and the role.
fn as_role(tokens: &[Token]) -> Option<(&Token, &[Token])> {
    const END: Token = Token::Mark(';');
    let [set, role, name, END, inner @ .., reset, whom, END] = tokens else {
        return None;
    };
    let framed = is(Some(set), "SET")
        && is(Some(role), "ROLE")
        && is(Some(reset), "RESET")
        && is(Some(whom), "ROLE");
    (framed && is_name(Some(name)) && is(inner.first(), "REVOKE")).then_some((name, inner))
}

/// Returns what a line takes back.
fn taken(tokens: &[Token]) -> Option<Taken<'_>> {
    let (by, words) = match as_role(tokens) {
        Some((name, inner)) => (Some(name), inner),
        None => (None, tokens),
    };
    let (end, words) = words.split_last()?;
    if *end != Token::Mark(';') || !is(words.first(), "REVOKE") {
        return None;
    }
    let at = |word: &str| words.iter().position(|token| is(Some(token), word));
    let from = at("FROM")?;
    Some(match at("ON").filter(|on| *on < from) {
        Some(on) => Taken {
            what: &words[on..from],
            from: &words[from + 1..],
            by,
        },
        None => Taken {
            what: &words[1..from],
            from: words.get(from + 1..from + 2)?,
            by: words.get(from + 4),
        },
    })
}

/// Returns how far each line, of several lists, is from what the owner gave; what takes nothing back
/// has no distance. What was passed on goes before the right that it hangs on.
fn depths(lists: &[&[String]]) -> Vec<Vec<Option<usize>>> {
    /// Longer chains are for a person.
    const LONGEST: usize = 16;
    let lines: Vec<(usize, usize, Vec<Token>)> = lists
        .iter()
        .enumerate()
        .flat_map(|(list, lines)| {
            let cut =
                move |(at, line): (usize, &String)| (list, at, tokens(line).unwrap_or_default());
            lines.iter().enumerate().map(cut)
        })
        .collect();
    let mut objects: BTreeMap<&[Token], Vec<(usize, usize, Taken<'_>)>> = BTreeMap::new();
    for (list, at, tokens) in &lines {
        if let Some(taken) = taken(tokens) {
            objects
                .entry(taken.what)
                .or_default()
                .push((*list, *at, taken));
        }
    }
    let mut depths: Vec<Vec<Option<usize>>> =
        lists.iter().map(|lines| vec![None; lines.len()]).collect();
    for (list, at, _) in objects.values().flatten() {
        depths[*list][*at] = Some(0);
    }
    for of_one in objects.values().filter(|lines| lines.len() > 1) {
        for _ in 0..LONGEST {
            let mut changed = false;
            for (list, at, taken) in of_one.iter().filter(|(_, _, taken)| taken.by.is_some()) {
                let hangs_on = |(_, _, other): &&(usize, usize, Taken<'_>)| {
                    other.by != taken.by && other.from.iter().any(|name| Some(name) == taken.by)
                };
                let below = of_one.iter().filter(hangs_on);
                let depth = below.filter_map(|(list, at, _)| depths[*list][*at]).max();
                let depth = depth.map(|depth| (depth + 1).min(LONGEST));
                if depth > depths[*list][*at] {
                    depths[*list][*at] = depth;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
    }
    depths
}

/// Puts the lines of a remedy into the order in which the server takes them.
pub(super) fn ordered(lines: Vec<String>) -> Vec<String> {
    let depths = depths(&[&lines]).remove(0);
    let mut order: Vec<(Option<usize>, String)> = depths.into_iter().zip(lines).collect();
    // What connects stays first.
    let start = usize::from(
        order
            .first()
            .is_some_and(|(_, line)| line.starts_with('\\')),
    );
    order[start..].sort_by_key(|(depth, _)| std::cmp::Reverse(depth.unwrap_or_default()));
    order.into_iter().map(|(_, line)| line).collect()
}

/// Returns true for one statement that may be sent; `before` are the statements ahead of it.
fn is_safe(line: &str, before: &[String]) -> bool {
    let Some(tokens) = tokens(line) else {
        return false;
    };
    let tokens = match as_role(&tokens) {
        // What it gave, a role takes back itself; memberships say so in another way.
        Some((_, inner)) if inner.iter().any(|token| is(Some(token), "ON")) => inner.to_vec(),
        Some(_) => return false,
        None => tokens,
    };
    let ends = tokens
        .iter()
        .filter(|token| **token == Token::Mark(';'))
        .count();
    let Some((Token::Mark(';'), words)) = tokens.split_last() else {
        return false;
    };
    let has = |word: &str| words.iter().any(|token| is(Some(token), word));
    if ends != 1 || has("CASCADE") {
        return false;
    }
    if is(words.first(), "REVOKE") {
        let of_grantor = words.len() == 7
            && is_name(words.get(1))
            && is(words.get(2), "FROM")
            && is_name(words.get(3))
            && is(words.get(4), "GRANTED")
            && is(words.get(5), "BY")
            && is_name(words.get(6));
        return of_grantor || has("FROM") && !has("GRANTED");
    }
    if is(words.first(), "GRANT") {
        // Only what a closed database needs to stay open for its own tenant.
        let closes = |line: &String| {
            self::tokens(line).is_some_and(|other| {
                let taken = taken(&other);
                taken.is_some_and(|taken| taken.what == &words[2..5])
            })
        };
        return words.len() == 7
            && is(words.get(1), "CONNECT")
            && is(words.get(2), "ON")
            && is(words.get(3), "DATABASE")
            && is(words.get(5), "TO")
            && !is(words.get(6), "PUBLIC")
            && is_name(words.get(6))
            && before.iter().any(closes);
    }
    if !is(words.first(), "ALTER") {
        return false;
    }
    match words.get(1) {
        Some(Token::Word(word)) if word == "DEFAULT" => {
            is(words.get(2), "PRIVILEGES") && has("REVOKE") && has("FROM") && !has("GRANT")
        }
        Some(Token::Word(word)) if word == "ROLE" => {
            let mut rest = words.get(3..).unwrap_or_default();
            if is(rest.first(), "IN") && is(rest.get(1), "DATABASE") && is_name(rest.get(2)) {
                rest = &rest[3..];
            }
            is_name(words.get(2)) && (sheds(rest) || resets(rest) || sets_path(rest))
        }
        Some(Token::Word(word)) if word == "DATABASE" => {
            let rest = words.get(3..).unwrap_or_default();
            let no_template =
                rest.len() == 2 && is(rest.first(), "IS_TEMPLATE") && is(rest.get(1), "FALSE");
            is_name(words.get(2)) && (resets(rest) || no_template)
        }
        _ => false,
    }
}

/// Attributes that a role loses.
fn sheds(rest: &[Token]) -> bool {
    const ATTRIBUTES: [&str; 5] = [
        "NOSUPERUSER",
        "NOCREATEROLE",
        "NOCREATEDB",
        "NOREPLICATION",
        "NOBYPASSRLS",
    ];
    !rest.is_empty()
        && rest
            .iter()
            .all(|token| ATTRIBUTES.iter().any(|word| is(Some(token), word)))
}

fn resets(rest: &[Token]) -> bool {
    is(rest.first(), "RESET") && rest.len() == 2 && is_name(rest.get(1))
}

fn sets_path(rest: &[Token]) -> bool {
    is(rest.first(), "SET")
        && is(rest.get(1), "SEARCH_PATH")
        && rest.get(2) == Some(&Token::Mark('='))
        && rest.len() == 4
        && is_name(rest.get(3))
}

/// Returns the name that `\connect NAME` has, where it is plainly one.
fn connect(line: &str) -> Option<String> {
    let name = line.strip_prefix("\\connect ")?;
    match &tokens(name)?[..] {
        // A bare name is folded by the server to what it is already.
        [Token::Word(_)] => Some(name.trim().to_owned()),
        [Token::Name(name)] => Some(name.clone()),
        _ => None,
    }
}

/// Returns what mends a finding, and whether it may be done without a person.
pub fn of(finding: &Finding) -> Repair {
    let (database, rest) = match finding.remedy.split_first() {
        Some((first, rest)) if first.starts_with('\\') => (connect(first), rest),
        _ => (None, &finding.remedy[..]),
    };
    let whole = database.is_some() == (rest.len() != finding.remedy.len());
    let safe = whole
        && !rest.is_empty()
        && rest
            .iter()
            .enumerate()
            .all(|(at, line)| is_safe(line, &rest[..at]));
    let by_hand = if safe {
        ""
    } else if rest.is_empty() {
        "there is no statement for it"
    } else {
        "it does more than take rights away or put a setting back"
    };
    Repair {
        check: finding.check.clone(),
        store: finding.store.clone(),
        database: database.filter(|_| safe),
        object: finding.object.clone(),
        statements: if safe {
            rest.to_vec()
        } else {
            finding.remedy.clone()
        },
        by_hand: by_hand.to_owned(),
        error: String::new(),
    }
}

/// Returns what mends the findings that count: by cluster, what concerns all of it first, then by
/// database; the same statement is never there twice. Where what was passed on stands in several
/// findings, each of its statements stands by itself, so that they can go in the server's order.
pub fn plan(report: &Isolation) -> Vec<Repair> {
    let repairs: Vec<Repair> = report
        .findings
        .iter()
        .filter(|finding| finding.counts())
        .map(of)
        .collect();
    let lists: Vec<&[String]> = repairs
        .iter()
        .map(|repair| &repair.statements[..])
        .collect();
    let depths = depths(&lists);
    let mut parts: Vec<(usize, Repair)> = Vec::new();
    for (repair, depths) in repairs.into_iter().zip(depths) {
        let deepest = depths.iter().flatten().max().copied().unwrap_or_default();
        if deepest == 0 || !repair.by_hand.is_empty() || depths.contains(&None) {
            parts.push((deepest, repair));
            continue;
        }
        for (statement, depth) in repair.statements.iter().zip(depths) {
            let part = Repair {
                statements: vec![statement.clone()],
                ..repair.clone()
            };
            parts.push((depth.unwrap_or_default(), part));
        }
    }
    parts.sort_by(|(a_depth, a), (b_depth, b)| {
        (!a.by_hand.is_empty(), &a.store, &a.database, b_depth).cmp(&(
            !b.by_hand.is_empty(),
            &b.store,
            &b.database,
            a_depth,
        ))
    });
    let mut repairs: Vec<Repair> = parts.into_iter().map(|(_, repair)| repair).collect();
    let mut seen = BTreeSet::new();
    repairs.retain(|repair| {
        seen.insert((
            repair.store.clone(),
            repair.database.clone(),
            repair.statements.clone(),
        )) || !repair.by_hand.is_empty()
    });
    repairs
}

/// Returns how many things the repairs are about.
pub fn things<'a>(repairs: impl Iterator<Item = &'a Repair>) -> usize {
    let things: BTreeSet<_> = repairs
        .map(|repair| (&repair.check, &repair.store, &repair.object))
        .collect();
    things.len()
}

/// Mends what may be mended, each finding in a transaction of its own, and notes what failed.
/// `login` returns who may change a cluster.
pub async fn apply(
    repairs: &mut [Repair],
    login: &dyn Fn(&str) -> Option<PostgresEndpoint>,
    progress: &dyn Fn(u64, u64),
) {
    let mut places: BTreeMap<(String, Option<String>), Vec<usize>> = BTreeMap::new();
    for (at, repair) in repairs.iter().enumerate() {
        if repair.by_hand.is_empty() {
            places
                .entry((repair.store.clone(), repair.database.clone()))
                .or_default()
                .push(at);
        }
    }
    let total = places.values().map(Vec::len).sum::<usize>() as u64;
    let mut done = 0;
    for ((store, database), members) in places {
        let session = match login(&store) {
            Some(endpoint) => {
                let endpoint = match &database {
                    Some(database) => endpoint.with_database(database),
                    None => endpoint,
                };
                endpoint
                    .try_connect(OPTIONS)
                    .await
                    .map_err(|error| error.to_string())
            }
            None => Err("no login was given that may change it (--postgres-url-file)".to_owned()),
        };
        let session = match session {
            Ok(session) => session,
            Err(reason) => {
                for at in &members {
                    repairs[*at].error.clone_from(&reason);
                }
                done += members.len() as u64;
                progress(done, total);
                continue;
            }
        };
        let mut left = members;
        // What hangs on a right goes before it; where the order did not say so, it does the next time.
        loop {
            let before = left.len();
            let mut hanging = Vec::new();
            for at in left {
                match mend(&session, &mut repairs[at]).await {
                    Mended::Hanging => hanging.push(at),
                    Mended::Done | Mended::Failed => {
                        done += 1;
                        progress(done, total);
                    }
                }
            }
            left = hanging;
            if left.is_empty() || left.len() == before {
                break;
            }
        }
        done += left.len() as u64;
        progress(done, total);
        session.close().await;
    }
}

/// How it went.
enum Mended {
    Done,
    /// Others were given it by the one that it is to be taken from.
    Hanging,
    Failed,
}

async fn mend(session: &Session, repair: &mut Repair) -> Mended {
    let text = format!("BEGIN; {} COMMIT", repair.statements.join(" "));
    let Err(error) = session.batch_execute(&text).await else {
        repair.error.clear();
        return Mended::Done;
    };
    // The rest of the session goes on where this one left off.
    let _ = session.batch_execute("ROLLBACK").await;
    let Some(error) = error.as_db_error() else {
        repair.error = error.to_string();
        return Mended::Failed;
    };
    repair.error = printable(error.message());
    if *error.code() != SqlState::DEPENDENT_OBJECTS_STILL_EXIST {
        return Mended::Failed;
    }
    repair.error += ": it was passed on to others, who would lose it as well. Let the owner give it to \
                     those who need it, then take it back with CASCADE";
    Mended::Hanging
}

/// Notes the repairs that changed nothing: afterwards a check asks for the same again.
pub fn without_effect(repairs: &mut [Repair], after: &Isolation) {
    let asked: BTreeSet<(String, Option<String>, String)> = after
        .findings
        .iter()
        .filter(|finding| finding.counts())
        .map(of)
        .flat_map(|again| {
            let place = (again.store, again.database);
            let line = move |line| (place.0.clone(), place.1.clone(), line);
            again.statements.into_iter().map(line)
        })
        .collect();
    for repair in repairs {
        let again = |line: &String| {
            let key = (repair.store.clone(), repair.database.clone(), line.clone());
            asked.contains(&key)
        };
        if repair.by_hand.is_empty()
            && repair.error.is_empty()
            && repair.statements.iter().any(again)
        {
            repair.error = String::from(
                "the server accepted it, and nothing changed: the login may not act for the role that gave \
                 it. Use one that may, such as a superuser (--postgres-url-file)",
            );
        }
    }
}

/// Returns a script for psql: what may be done, in order, and the rest as comments.
pub fn script(repairs: &[Repair]) -> String {
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    let mut text = String::from(
        "-- Run it with psql as a role that may change these clusters; it can be run again.\n\
         \\set ON_ERROR_STOP on\n",
    );
    let mut place = None;
    let mut by_hand = Vec::new();
    for repair in repairs {
        let (host, port) = repair.store.rsplit_once(':').unwrap_or_default();
        let database = repair.database.as_deref();
        if !repair.by_hand.is_empty()
            || !plain(host.trim_matches(['[', ']', ':']))
            || !database.is_none_or(plain)
        {
            by_hand.push(repair);
            continue;
        }
        let here = (repair.store.clone(), repair.database.clone());
        if place.as_ref() != Some(&here) {
            let database = database.unwrap_or("postgres");
            let _ = write!(
                text,
                "\n\\connect -reuse-previous=on \"host={host} port={port} dbname={database}\"\n"
            );
            place = Some(here);
        }
        let _ = write!(
            text,
            "\n-- {} {}\nBEGIN;\n{}\nCOMMIT;\n",
            repair.check,
            printable(&repair.object),
            repair.statements.join("\n")
        );
    }
    if !by_hand.is_empty() {
        text.push_str("\n-- For a person to look at first:\n");
    }
    for repair in by_hand {
        let _ = write!(
            text,
            "--\n-- {} {} at {}\n",
            repair.check,
            printable(&repair.object),
            printable(&repair.store)
        );
        for line in repair.statements.iter().flat_map(|line| line.split('\r')) {
            let _ = writeln!(text, "--   {}", printable(line));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolation::catalogue;

    fn finding(remedy: &str) -> Finding {
        let mut finding = Finding::new(catalogue::find("PG-001").unwrap(), "h:5432", "database a");
        finding.remedy = remedy.lines().map(ToOwned::to_owned).collect();
        finding
    }

    fn safe(remedy: &str) -> bool {
        of(&finding(remedy)).by_hand.is_empty()
    }

    #[test]
    fn what_takes_rights_away_may_be_done() {
        for remedy in [
            "REVOKE ALL ON DATABASE acme FROM PUBLIC;\nGRANT CONNECT ON DATABASE acme TO acme_app;",
            "REVOKE b_owner FROM a_app;",
            "REVOKE b_owner FROM a_app GRANTED BY postgres;",
            "\\connect a\nSET ROLE \"C d\"; REVOKE ALL ON TABLE a.b FROM c; RESET ROLE;",
            "SET ROLE c; REVOKE CONNECT ON DATABASE a FROM b; RESET ROLE;\nGRANT CONNECT ON DATABASE a TO d;",
            "\\connect \"my \"\"db\"\nREVOKE ALL ON SCHEMA \"S\" FROM \"x y\";",
            "\\connect shared\nREVOKE EXECUTE ON ROUTINE a.f(integer, text[]) FROM PUBLIC;",
            "\\connect a\nALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s REVOKE ALL ON TABLES FROM b;",
            "ALTER ROLE a NOSUPERUSER NOCREATEDB;",
            "ALTER ROLE a IN DATABASE s SET search_path = a;",
            "ALTER ROLE ALL RESET search_path;",
            "ALTER DATABASE a RESET search_path;",
            "ALTER DATABASE a IS_TEMPLATE false;",
            "REVOKE ALL ON LARGE OBJECT 4711 FROM a;",
        ] {
            assert!(safe(remedy), "{remedy}");
        }
    }

    #[test]
    fn all_else_is_for_a_person() {
        for remedy in [
            "",
            "DROP DATABASE a;",
            "-- look at it, then:  DROP OWNED BY a;",
            "GRANT CONNECT ON DATABASE a TO b;",
            "REVOKE ALL ON DATABASE a FROM PUBLIC;\nGRANT CONNECT ON DATABASE b TO a;",
            "REVOKE ALL ON DATABASE a FROM PUBLIC;\nGRANT CONNECT ON DATABASE a TO PUBLIC;",
            "REVOKE ALL ON DATABASE a FROM PUBLIC;\nGRANT ALL ON DATABASE a TO b;",
            "REVOKE ALL ON DATABASE a FROM PUBLIC CASCADE;",
            "REVOKE b FROM a GRANTED BY c CASCADE;",
            "REVOKE b, c FROM a GRANTED BY d;",
            "SET ROLE c; REVOKE a FROM b; RESET ROLE;",
            "SET ROLE c; REVOKE ALL ON TABLE a.b FROM c;",
            "SET ROLE c; GRANT ALL ON TABLE a.b TO c; RESET ROLE;",
            "SET ROLE c; REVOKE ALL ON TABLE a.b FROM c; DROP TABLE d; RESET ROLE;",
            "SET ROLE c; REVOKE ALL ON TABLE a.b FROM c CASCADE; RESET ROLE;",
            "SET ROLE c;",
            "REVOKE ALL ON DATABASE a FROM PUBLIC",
            "REVOKE ALL ON DATABASE a FROM PUBLIC; DROP DATABASE a;",
            "REVOKE ALL ON DATABASE a FROM PUBLIC; -- x",
            "REVOKE ALL ON TABLE a.b FROM 'x';",
            "\\connect a\n\\! rm -rf /",
            "\\connect a b\nREVOKE a FROM b;",
            "\\! true\nREVOKE a FROM b;",
            "ALTER ROLE a SUPERUSER;",
            "ALTER ROLE a PASSWORD NULL;",
            "ALTER ROLE a SET role = b;",
            "ALTER SCHEMA a OWNER TO CURRENT_USER;",
            "ALTER DATABASE a OWNER TO CURRENT_USER;",
            "ALTER DEFAULT PRIVILEGES FOR ROLE a GRANT ALL ON TABLES TO b;",
            "SELECT pg_terminate_backend(1);",
            "REVOKE U&\"\\0061\" FROM b;",
            "REVOKE a$$ FROM b; $$ FROM c;",
        ] {
            assert!(!safe(remedy), "{remedy}");
        }
    }

    #[test]
    fn what_was_passed_on_is_taken_back_before_what_it_hangs_on() {
        let lines = |text: &str| text.lines().map(ToOwned::to_owned).collect::<Vec<String>>();
        for (given, wanted) in [
            (
                "REVOKE b FROM a GRANTED BY p;\nREVOKE b FROM c GRANTED BY a;\nREVOKE b FROM a GRANTED BY a;",
                "REVOKE b FROM c GRANTED BY a;\nREVOKE b FROM a GRANTED BY a;\nREVOKE b FROM a GRANTED BY p;",
            ),
            (
                "\\connect x\nREVOKE ALL ON TABLE s.t FROM a;\n\
                 SET ROLE c; REVOKE SELECT ON TABLE s.t FROM PUBLIC; RESET ROLE;\n\
                 SET ROLE a; REVOKE ALL ON TABLE s.t FROM c; RESET ROLE;\n\
                 SET ROLE a; REVOKE ALL ON TABLE s.u FROM c; RESET ROLE;",
                "\\connect x\nSET ROLE c; REVOKE SELECT ON TABLE s.t FROM PUBLIC; RESET ROLE;\n\
                 SET ROLE a; REVOKE ALL ON TABLE s.t FROM c; RESET ROLE;\n\
                 REVOKE ALL ON TABLE s.t FROM a;\n\
                 SET ROLE a; REVOKE ALL ON TABLE s.u FROM c; RESET ROLE;",
            ),
            // Nobody's names are a circle; it ends all the same.
            (
                "REVOKE b FROM a GRANTED BY c;\nREVOKE b FROM c GRANTED BY a;",
                "REVOKE b FROM a GRANTED BY c;\nREVOKE b FROM c GRANTED BY a;",
            ),
        ] {
            assert_eq!(ordered(lines(given)), lines(wanted));
        }
        let mut report = crate::isolation::render::tests::report(2);
        report.findings = vec![
            finding("REVOKE ALL ON DATABASE d FROM a;"),
            finding("SET ROLE a; REVOKE CONNECT ON DATABASE d FROM c; RESET ROLE;"),
        ];
        let text = script(&plan(&report));
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        assert!(at("SET ROLE a;") < at("REVOKE ALL ON DATABASE d FROM a;"));
    }

    #[test]
    fn a_name_with_a_line_break_cannot_smuggle_a_statement_in() {
        // What the server's quoting makes of a schema that a tenant called
        //   x FROM y;⏎REVOKE ALL ON DATABASE ledger FROM ledger_app;⏎--
        let name = "\"x FROM y;\nREVOKE ALL ON DATABASE ledger FROM ledger_app;\n--\"";
        let remedy = format!("\\connect shared\nREVOKE ALL ON SCHEMA {name} FROM a;");
        assert!(!safe(&remedy));
        let repair = of(&finding(&remedy));
        for line in script(&[repair]).lines().skip(2) {
            assert!(line.is_empty() || line.starts_with("--"), "{line}");
        }
        let quoted = "\"x\"\" FROM y;\nDROP DATABASE a;\n\"\"\"";
        assert!(!safe(&format!("REVOKE ALL ON SCHEMA {quoted} FROM a;")));
    }

    proptest::proptest! {
        #[test]
        fn no_quoted_name_ends_early(name in ".{0,40}") {
            let quoted = crate::provision::sql::ident(&name);
            let line = format!("REVOKE ALL ON SCHEMA {quoted} FROM a;");
            if let Some(tokens) = tokens(&line) {
                let names = tokens.iter().filter(|token| matches!(token, Token::Name(_))).count();
                let words = tokens.iter().filter(|token| matches!(token, Token::Word(_))).count();
                proptest::prop_assert!(names + words == 7, "{tokens:?}");
            }
        }
    }

    #[test]
    fn a_script_goes_from_cluster_to_database_and_says_nothing_twice() {
        let mut report = crate::isolation::render::tests::report(2);
        report.findings = vec![
            finding("\\connect b\nREVOKE ALL ON SCHEMA s FROM PUBLIC;"),
            finding("DROP DATABASE x;"),
            finding("REVOKE a FROM b;"),
            finding("REVOKE a FROM b;"),
            finding("\\connect \"odd db\"\nREVOKE ALL ON SCHEMA s FROM PUBLIC;"),
        ];
        let repairs = plan(&report);
        assert_eq!(repairs.len(), 4);
        let text = script(&repairs);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
        assert!(at("dbname=postgres") < at("\nREVOKE a FROM b;"));
        assert!(at("REVOKE a FROM b;") < at("dbname=b"));
        assert!(at("For a person") < at("--   DROP DATABASE x;"));
        assert!(at("For a person") < at("--   REVOKE ALL ON SCHEMA s FROM PUBLIC;"));
        assert_eq!(text.matches("REVOKE a FROM b;").count(), 1);
    }
}
