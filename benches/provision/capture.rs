//! What PostgreSQL was asked while one tenant was made, read from its log.

use std::collections::BTreeMap;

/// `log_line_prefix` that the parser below understands: session, database, user.
pub(crate) const LOG_LINE_PREFIX: &str = "@%c@%d@%u@ ";

/// Something that reached PostgreSQL, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// A session began; `refused` when PostgreSQL turned it away after the login.
    Connect {
        session: String,
        database: String,
        user: String,
        refused: bool,
    },
    /// A statement, with its parameters written into it; `fails` when PostgreSQL refused it.
    Statement {
        session: String,
        sql: String,
        fails: bool,
    },
}

impl Act {
    pub(crate) fn session(&self) -> &str {
        match self {
            Self::Connect { session, .. } | Self::Statement { session, .. } => session,
        }
    }
}

struct Entry<'a> {
    session: &'a str,
    database: &'a str,
    user: &'a str,
    text: &'a str,
}

/// Splits a log into its entries; lines without a prefix belong to the entry before them.
fn entries(log: &str) -> Vec<Entry<'_>> {
    let mut starts: Vec<usize> = log.match_indices("\n@").map(|(at, _)| at + 1).collect();
    if log.starts_with('@') {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([log.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| {
            let mut parts = log[start + 1..end].splitn(4, '@');
            Some(Entry {
                session: parts.next()?,
                database: parts.next()?,
                user: parts.next()?,
                text: parts.next()?.trim(),
            })
        })
        .collect()
}

/// Reads a log that was written with [`LOG_LINE_PREFIX`], `log_statement` and `log_connections`.
pub(crate) fn acts(log: &str) -> Vec<Act> {
    let mut acts: Vec<Act> = Vec::new();
    for entry in entries(log) {
        let session = entry.session.to_owned();
        let of_session = |act: &&mut Act| act.session() == entry.session;
        if entry.text.starts_with("LOG:  connection authorized:") {
            acts.push(Act::Connect {
                session,
                database: entry.database.to_owned(),
                user: entry.user.to_owned(),
                refused: false,
            });
        } else if let Some(sql) = entry.text.strip_prefix("LOG:  statement: ") {
            acts.push(Act::Statement {
                session,
                sql: sql.to_owned(),
                fails: false,
            });
        } else if let Some(executed) = entry.text.strip_prefix("LOG:  execute ")
            && let Some((_, sql)) = executed.split_once(": ")
        {
            acts.push(Act::Statement {
                session,
                sql: sql.to_owned(),
                fails: false,
            });
        } else if let Some(list) = entry.text.strip_prefix("DETAIL:  parameters: ") {
            if let Some(Act::Statement { sql, .. }) = acts.iter_mut().rev().find(of_session) {
                *sql = with_parameters(sql, list);
            }
        } else if entry.text.starts_with("ERROR:") {
            if let Some(Act::Statement { fails, .. }) = acts.iter_mut().rev().find(of_session) {
                *fails = true;
            }
        } else if entry.text.starts_with("FATAL:") {
            // Turned away after the password was checked, or by the password.
            if let Some(Act::Connect { refused, .. }) = acts.iter_mut().rev().find(of_session) {
                *refused = true;
            } else {
                acts.push(Act::Connect {
                    session,
                    database: entry.database.to_owned(),
                    user: entry.user.to_owned(),
                    refused: true,
                });
            }
        }
    }
    acts
}

/// Writes the parameters of `list` (`$1 = 'a', $2 = NULL`) into `sql`.
fn with_parameters(sql: &str, list: &str) -> String {
    let mut values: BTreeMap<usize, &str> = BTreeMap::new();
    let mut rest = list;
    while let Some((number, after)) = rest.strip_prefix('$').and_then(|r| r.split_once(" = ")) {
        let end = if after.starts_with('\'') {
            // The closing quote is the first that is not doubled.
            let mut at = 1;
            while let Some(quote) = after[at..].find('\'') {
                at += quote + 1;
                if !after[at..].starts_with('\'') {
                    break;
                }
                at += 1;
            }
            at
        } else {
            after.find(',').unwrap_or(after.len())
        };
        if let Ok(number) = number.parse() {
            values.insert(number, &after[..end]);
        }
        rest = after[end..].trim_start_matches(", ");
    }
    // From the highest, so that `$1` does not match in `$12`.
    values
        .iter()
        .rev()
        .fold(sql.to_owned(), |sql, (number, value)| {
            sql.replace(&format!("${number}"), value)
        })
}

/// Panics when the parser does not read what PostgreSQL writes; run before every measurement.
pub(crate) fn self_check() {
    let log = "\
@1.a@[unknown]@[unknown]@ LOG:  connection received: host=127.0.0.1
@1.a@postgres@admin@ LOG:  connection authorized: user=admin database=postgres
@1.a@postgres@admin@ LOG:  statement: create role x;
\tcomment on role x is 'two
\tlines'
@2.b@other@tenant@ LOG:  connection authorized: user=tenant database=other
@2.b@other@tenant@ FATAL:  permission denied for database \"other\"
@1.a@postgres@admin@ LOG:  execute s0: select $1::text, $2, $10
@1.a@postgres@admin@ DETAIL:  parameters: $1 = 'it''s, so', $2 = NULL, $10 = '7'
@1.a@postgres@admin@ ERROR:  permission denied
@3.c@other@login@ FATAL:  password authentication failed for user \"login\"
";
    let acts = acts(log);
    assert_eq!(acts.len(), 5, "{acts:#?}");
    assert!(matches!(&acts[1], Act::Statement { sql, .. } if sql.ends_with("lines'")));
    assert!(matches!(&acts[2], Act::Connect { refused: true, .. }));
    assert!(matches!(&acts[3], Act::Statement { sql, fails: true, .. }
        if sql == "select 'it''s, so'::text, NULL, '7'"));
    assert!(matches!(&acts[4], Act::Connect { user, refused: true, .. } if user == "login"));
}
