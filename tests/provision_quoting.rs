//! Any text comes back from a real server as it went in, as identifier and as literal.

use lerianctl::provision::sql::{ident, literal};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio_postgres::SimpleQueryMessage;

use crate::provision_fixture::Bench;

/// Text with many of the characters that end quotes, names and lines.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("$$".to_owned()),
        Just("; --".to_owned()),
        Just("/*".to_owned()),
        Just("\n".to_owned()),
        Just("E'".to_owned()),
        Just("U&\"".to_owned()),
        Just("🦀".to_owned()),
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 1..12)
        .prop_map(|pieces| pieces.concat().replace('\0', ""))
        .prop_filter("not empty", |text| !text.is_empty())
}

#[test]
fn any_text_round_trips() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let session = runtime.block_on(async {
        let bench = Bench::shared();
        bench.admin("postgres").await
    });
    for conforming in ["on", "off"] {
        let set = format!(
            "SET standard_conforming_strings = {conforming}; SET escape_string_warning = off"
        );
        runtime.block_on(session.batch_execute(&set)).unwrap();
        let mut runner = TestRunner::new(Config::with_cases(300));
        runner
            .run(&(nasty(), nasty()), |(name, value)| {
                // PostgreSQL keeps 63 bytes of a name.
                prop_assume!(name.len() <= 63);
                let query = format!("SELECT {} AS {}, 1 AS last", literal(&value), ident(&name));
                let rows = runtime.block_on(session.simple_query(&query)).unwrap();
                let row = rows
                    .iter()
                    .find_map(|message| match message {
                        SimpleQueryMessage::Row(row) => Some(row),
                        _ => None,
                    })
                    .unwrap();
                prop_assert_eq!(row.columns().len(), 2);
                prop_assert_eq!(row.columns()[0].name(), name);
                prop_assert_eq!(row.get(0).unwrap(), value);
                Ok(())
            })
            .unwrap();
    }
    // The one character that no quoting carries is refused before anything is sent.
    for query in [
        format!("SELECT {}", literal("a\0b")),
        format!("SELECT 1 AS {}", ident("a\0b")),
    ] {
        assert!(runtime.block_on(session.simple_query(&query)).is_err());
    }
    drop(session);
}
