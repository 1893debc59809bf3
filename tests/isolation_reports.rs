//! Signed reports, `verify-report`, `diff` and `fix` as an operator runs them.

use super::isolation_command::{CHECK, room};
use super::isolation_fleet::Fleet;

// The key pair of RFC 8410, section 10.3, and the public key of RFC 8032, test 1.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
    -----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n";
const STRANGER: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    -----END PUBLIC KEY-----\n";

#[tokio::test]
async fn reports_are_signed_verified_and_compared() {
    let fleet = Fleet::by_hand(true).await;
    let room = room(&fleet);
    room.write("key.pem", PRIVATE);
    room.write("key.pub", PUBLIC);
    room.write("stranger.pub", STRANGER);

    // A key that cannot sign is told before anything is checked or written.
    let with = |key: &'static str, rest: &[&'static str]| {
        [&CHECK[..], &["--sign-key-file", key], rest].concat()
    };
    let wrong = room
        .run(with("key.pub", &["--report", "json=a.json"]))
        .exits(2);
    assert!(wrong.stderr.contains("isolation.signing_key"), "{wrong}");
    assert!(!room.home().join("a.json").exists());
    let _ = room.run(with("key.pem", &[])).exits(2);

    let reports = ["--report", "json=a.json", "--report", "html=a.html"];
    let _ = room.run(with("key.pem", &reports)).success();
    for file in ["a.json", "a.html"] {
        let verified = room
            .run([
                "isolation",
                "verify-report",
                file,
                "--key-file",
                "stranger.pub",
                "--key-file",
                "key.pub",
            ])
            .success();
        assert!(verified.stdout.starts_with("VERIFIED: "), "{verified}");
        assert!(
            verified.stdout.contains("holds, 0 findings, 3 tenants"),
            "{verified}"
        );
        let stranger = room
            .run([
                "isolation",
                "verify-report",
                file,
                "--key-file",
                "stranger.pub",
            ])
            .exits(3);
        assert!(stranger.stdout.starts_with("NOT VERIFIED: "), "{stranger}");
        // One changed letter is found, and so is an attestation of another file.
        let mut bytes = std::fs::read(room.home().join(file)).unwrap();
        bytes[20] ^= 1;
        room.write("changed", &bytes);
        let attestation = format!("{file}.intoto.json");
        let changed = room
            .run([
                "isolation",
                "verify-report",
                "changed",
                "--key-file",
                "key.pub",
                "--attestation",
                &attestation,
                "-o",
                "json",
            ])
            .exits(3)
            .json();
        assert_eq!(changed["verified"], false);
        assert!(
            changed["reason"].as_str().unwrap().contains("was signed"),
            "{changed}"
        );
    }
    let no_attestation = room
        .run([
            "isolation",
            "verify-report",
            "a.json",
            "--key-file",
            "key.pub",
            "--attestation",
            "a.html",
        ])
        .exits(2);
    assert!(
        no_attestation.stderr.contains("isolation.attestation"),
        "{no_attestation}"
    );

    // What a later run says otherwise.
    let session = fleet.session("postgres").await;
    session
        .batch_execute("GRANT CONNECT ON DATABASE borealis TO aurora_app")
        .await
        .unwrap();
    let _ = room
        .run([&CHECK[..], &["--report", "json=b.json"]].concat())
        .exits(3);
    let same = room.run(["isolation", "diff", "b.json"]).success();
    assert!(
        same.stdout
            .starts_with("0 new, 0 changed, 0 fixed, 0 unseen, 3 unchanged"),
        "{same}"
    );
    let worse = room.run(["isolation", "diff", "a.json", "b.json"]).exits(3);
    assert!(
        worse.stdout.starts_with("3 new, 0 changed, 0 fixed"),
        "{worse}"
    );
    assert!(worse.stdout.contains("aurora -> borealis"), "{worse}");
    let better = room
        .run(["isolation", "diff", "b.json", "a.json", "-o", "json"])
        .success()
        .json();
    assert_eq!(better["fixed"].as_array().unwrap().len(), 3, "{better}");
    // A run that did not look does not count as a repair.
    let _ = room
        .run(
            [
                &CHECK[..],
                &["--static", "--check", "PG-001", "--report", "json=c.json"],
            ]
            .concat(),
        )
        .success();
    let blind = room
        .run(["isolation", "diff", "b.json", "c.json", "-o", "json"])
        .exits(3)
        .json();
    assert_eq!(blind["unseen"].as_array().unwrap().len(), 3, "{blind}");
    assert_eq!(blind["fixed"].as_array().unwrap().len(), 0, "{blind}");
    session
        .batch_execute("REVOKE CONNECT ON DATABASE borealis FROM aurora_app")
        .await
        .unwrap();
    session.close().await;
}

#[tokio::test]
async fn fix_mends_what_it_may_and_leaves_the_rest_to_a_person() {
    let fleet = Fleet::by_hand(true).await;
    let room = room(&fleet);
    let session = fleet.session("postgres").await;
    session
        .batch_execute(
            "GRANT CONNECT ON DATABASE borealis TO aurora_app; \
             GRANT CONNECT, TEMPORARY ON DATABASE celeste TO PUBLIC; \
             ALTER ROLE aurora_app CREATEDB; \
             ALTER DATABASE borealis OWNER TO aurora_app;",
        )
        .await
        .unwrap();
    let fix = |rest: &[&'static str]| {
        let check = CHECK.iter().skip(2).copied();
        let mut words = vec!["isolation", "fix"];
        words.extend(check);
        words.extend(rest);
        words
    };
    // Nothing is changed by looking, by a refusal, or by writing a script.
    let looked = room.run(fix(&["--dry-run"])).success();
    assert!(looked.stdout.contains("Would mend "), "{looked}");
    assert!(
        looked
            .stdout
            .contains("REVOKE ALL ON DATABASE celeste FROM PUBLIC;"),
        "{looked}"
    );
    assert!(looked.stdout.contains("by hand"), "{looked}");
    let _ = room.run(fix(&[])).exits(10);
    let _ = room
        .run(fix(&["--yes", "--expect-plan", "sha256:0"]))
        .exits(6);
    let script = room.run(fix(&["--remedy", "sql"])).success();
    let again = room.run(fix(&["--dry-run"])).success();
    assert_eq!(looked.stdout, again.stdout);
    // The script does for psql what `fix` does itself, twice as well as once.
    room.write("fix.sql", &script.stdout);
    assert!(
        script.stdout.contains("--   ALTER DATABASE borealis OWNER"),
        "{script}"
    );

    let mended = room.run(fix(&["--yes", "-o", "json"])).exits(3).json();
    let done = mended["repairs"].as_array().unwrap();
    assert!(
        done.iter().all(|repair| repair["error"].is_null()),
        "{mended}"
    );
    let left: Vec<&str> = mended["after"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["object"].as_str().unwrap())
        .collect();
    assert!(
        !left.is_empty() && left.iter().all(|object| object.contains("borealis")),
        "{left:?}"
    );
    let admin = &fleet.admin;
    for _ in 0..2 {
        let status = std::process::Command::new("psql")
            .args(["-X", "-q", "-f"])
            .arg(room.home().join("fix.sql"))
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", admin.port.to_string())
            .env("PGUSER", &admin.user)
            .env("PGPASSWORD", admin.password.as_ref().unwrap().expose())
            .env("PGDATABASE", "postgres")
            .output()
            .unwrap();
        assert!(
            status.status.success() && status.stderr.is_empty(),
            "{status:?}"
        );
    }
    session
        .batch_execute("ALTER DATABASE borealis OWNER TO CURRENT_USER")
        .await
        .unwrap();
    let text = room.run(fix(&["--yes"])).exits(0);
    assert!(text.stdout.contains("ISOLATION HOLDS"), "{text}");
    let _ = room.run(CHECK).success();
    session.close().await;
}
