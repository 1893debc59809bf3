//! Whatever is done to a log, it is found, and the entry is named.

use proptest::prelude::*;

use super::*;

fn key() -> MacKey {
    MacKey::new("00000000", &Secret::generate()).unwrap()
}

fn log(key: &MacKey, count: u64) -> Vec<AuditEntry> {
    let mut head = AuditHead::origin();
    (0..count)
        .map(|number| {
            let mut record = draft("tenant.create", jiff::Timestamp::UNIX_EPOCH);
            record.detail = Some(format!("number {number} \"\u{7}é\n"));
            record.status = Some(201);
            let linked = link(record, &head, key);
            head = linked.head();
            linked.entry
        })
        .collect()
}

fn seen(entry: &AuditEntry, place: Option<u64>) -> Seen {
    Seen {
        place,
        record: Ok(entry.record.clone()),
        hash: entry.hash.clone(),
        mac: entry.mac.clone(),
        contradicted: None,
    }
}

/// Verifies a file of entries; returns the named ones.
fn named(entries: &[AuditEntry], key: Option<&MacKey>, anchor: Option<AuditHead>) -> Vec<u64> {
    let mut verifier = Verifier::new(key, Some(AuditHead::origin()));
    if let Some(anchor) = anchor {
        verifier.anchor(anchor);
    }
    for entry in entries {
        verifier.take(seen(entry, None));
    }
    let outcome = verifier.finish();
    outcome
        .findings
        .iter()
        .map(|finding| finding.sequence)
        .collect()
}

fn head_of(entries: &[AuditEntry]) -> Option<AuditHead> {
    entries.last().map(|entry| AuditHead {
        sequence: entry.record.sequence,
        hash: entry.hash.clone(),
    })
}

/// Gives every entry from `at` on a hash and a link that fit, as someone without the key can.
fn relink(entries: &mut [AuditEntry], at: usize) {
    for index in at..entries.len() {
        if index > 0 {
            let before = entries[index - 1].hash.clone();
            entries[index].record.previous = before;
        }
        entries[index].hash = hash(&canonical(&entries[index].record));
    }
}

#[test]
fn the_canonical_form_has_sorted_keys_and_no_white_space() {
    let entry = log(&key(), 1).remove(0);
    let text = canonical(&entry.record);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value.to_string(), text);
    let full = AuditRecord {
        caller_name: Some("a".into()),
        first: Some(jiff::Timestamp::UNIX_EPOCH),
        operation: Some("b".into()),
        peer: Some("c".into()),
        plan: Some("d".into()),
        request: Some("e".into()),
        service: Some("f".into()),
        target: Some("g".into()),
        tenant: Some("h".into()),
        ..entry.record
    };
    let text = canonical(&full);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value.to_string(), text);
    assert_eq!(serde_json::from_str::<AuditRecord>(&text).unwrap(), full);
}

#[test]
fn a_whole_log_rewritten_without_the_key_is_found() {
    let key = key();
    let mut entries = log(&key, 5);
    assert!(named(&entries, Some(&key), None).is_empty());
    let anchor = head_of(&entries);
    entries[1].record.caller = "somebody else".into();
    relink(&mut entries, 1);
    assert!(
        named(&entries, None, None).is_empty(),
        "the chain alone fits"
    );
    assert_eq!(named(&entries, Some(&key), None), [2, 3, 4, 5]);
    assert_eq!(named(&entries, None, anchor), [5]);
}

#[test]
fn a_cut_off_end_is_found_against_what_was_kept() {
    let key = key();
    let mut entries = log(&key, 5);
    let anchor = head_of(&entries);
    entries.truncate(3);
    assert!(named(&entries, Some(&key), None).is_empty());
    assert_eq!(named(&entries, Some(&key), anchor), [4]);
}

#[derive(Debug, Clone)]
enum Tampering {
    Detail(usize),
    Caller(usize),
    Hash(usize),
    Previous(usize),
    Mac(usize),
    Rehashed(usize),
    Removed(usize),
    Swapped(usize, usize),
    Copied(usize, usize),
    Inserted(usize),
}

fn tampering(count: usize) -> impl Strategy<Value = Tampering> {
    let at = 0..count;
    prop_oneof![
        at.clone().prop_map(Tampering::Detail),
        at.clone().prop_map(Tampering::Caller),
        at.clone().prop_map(Tampering::Hash),
        at.clone().prop_map(Tampering::Previous),
        at.clone().prop_map(Tampering::Mac),
        at.clone().prop_map(Tampering::Rehashed),
        (0..count - 1).prop_map(Tampering::Removed),
        (at.clone(), at.clone())
            .prop_filter("two", |(a, b)| a != b)
            .prop_map(|(a, b)| Tampering::Swapped(a, b)),
        (at.clone(), at.clone()).prop_map(|(a, b)| Tampering::Copied(a, b)),
        at.prop_map(Tampering::Inserted),
    ]
}

proptest! {
    #[test]
    fn whatever_is_done_to_a_log_is_found_and_named(
        (count, tampering) in (2_usize..20).prop_flat_map(|count| (Just(count), tampering(count))),
        with_key: bool,
    ) {
        let key = key();
        let mut entries = log(&key, count as u64);
        let anchor = head_of(&entries);
        let place = |index: usize| index as u64 + 1;
        // Without the key a code means nothing.
        let with_key = with_key || matches!(tampering, Tampering::Mac(_));
        let culprits = match tampering {
            Tampering::Detail(at) => {
                entries[at].record.detail = Some("x".into());
                vec![place(at)]
            }
            Tampering::Caller(at) => {
                entries[at].record.caller.push('x');
                vec![place(at)]
            }
            Tampering::Hash(at) => {
                entries[at].hash = hash("x");
                vec![place(at)]
            }
            Tampering::Previous(at) => {
                entries[at].record.previous = hash("x");
                vec![place(at)]
            }
            Tampering::Mac(at) => {
                entries[at].mac = key.code(&hash("x"));
                vec![place(at)]
            }
            Tampering::Rehashed(at) => {
                entries[at].record.result = "x".into();
                entries[at].hash = hash(&canonical(&entries[at].record));
                vec![place(at)]
            }
            Tampering::Removed(at) => {
                entries.remove(at);
                vec![place(at)]
            }
            Tampering::Swapped(a, b) => {
                entries.swap(a, b);
                vec![place(a.min(b)), place(a.max(b))]
            }
            Tampering::Copied(from, to) => {
                let copy = entries[from].clone();
                entries.insert(to, copy);
                vec![place(from)]
            }
            Tampering::Inserted(at) => {
                let mut forged = entries[at].clone();
                forged.record.caller = "nobody".into();
                forged.hash = hash(&canonical(&forged.record));
                entries.insert(at, forged);
                vec![place(at)]
            }
        };
        let named = named(&entries, with_key.then_some(&key), anchor);
        prop_assert!(
            culprits.iter().any(|culprit| named.contains(culprit)),
            "{culprits:?} was not named among {named:?}"
        );
    }
}
