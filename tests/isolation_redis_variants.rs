//! Redis: other ways to plant the same leaks. Each is found by exactly the checks that should, with
//! the right tenants named.

use std::collections::BTreeSet;

use lerianctl::isolation::report::ControlState;

use crate::isolation_fleet::refuted;
use crate::isolation_redis::{call, check, fill};
use crate::support::Redis;

/// A leak, planted in another way.
#[derive(Clone, Copy)]
struct Variant {
    /// Commands, with `;;` between them.
    plant: &'static str,
    undo: &'static str,
    found_by: &'static [&'static str],
    from: &'static [&'static str],
    to: &'static [&'static str],
}

const fn variant(
    plant: &'static str,
    undo: &'static str,
    found_by: &'static [&'static str],
    from: &'static [&'static str],
    to: &'static [&'static str],
) -> Variant {
    Variant {
        plant,
        undo,
        found_by,
        from,
        to,
    }
}

const NOBODY: &[&str] = &[];
const EVERYONE: &[&str] = &["*"];
const AURORA: &[&str] = &["aurora"];
const BOREALIS: &[&str] = &["borealis"];
/// Those besides aurora.
const OTHERS: &[&str] = &["borealis", "gone"];

/// Puts the users of `fill` back.
const LEDGER: &str = "ACL SETUSER ledger reset on >secret ~tenant:* ~lock:{transactions}:backup-consumer-cycle resetchannels &tenant-events:* +@all -@dangerous -@admin -publish -spublish";
const AURORA_APP: &str = "ACL SETUSER aurora_app reset on >secret ~tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:* +@read +@write -@dangerous";
const BOREALIS_APP: &str = "ACL SETUSER borealis_app reset on >secret ~tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:* ~tenant:85b18fdd-152f-4c1f-9d3d-0b7a61c2e4a9:* +@read +@write -@dangerous";
const GONE_APP: &str = "ACL DELUSER app";

/// Anybody may enter.
const OPEN: &[Variant] = &[
    variant(
        "ACL SETUSER aurora_app nopass",
        AURORA_APP,
        &["RD-01"],
        EVERYONE,
        AURORA,
    ),
    variant(
        "ACL SETUSER ledger nopass",
        LEDGER,
        &["RD-01"],
        EVERYONE,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER app on nopass ~tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:* +get",
        GONE_APP,
        &["RD-01"],
        EVERYONE,
        BOREALIS,
    ),
];

/// A user reaches keys of others.
const KEYS: &[Variant] = &[
    // By a selector instead of by its own rules.
    variant(
        "ACL SETUSER aurora_app '(~tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:* +get)'",
        AURORA_APP,
        &["RD-02"],
        AURORA,
        BOREALIS,
    ),
    variant(
        "ACL SETUSER aurora_app '(%R~tenant:* +@read -@dangerous)'",
        AURORA_APP,
        &["RD-02"],
        AURORA,
        OTHERS,
    ),
    // To write without reading.
    variant(
        "ACL SETUSER aurora_app %W~tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:*",
        AURORA_APP,
        &["RD-02"],
        AURORA,
        BOREALIS,
    ),
    // The other spelling of the id, wildcards of other kinds, an escaped character.
    variant(
        "ACL SETUSER aurora_app ~tenant:85b18fdd-152f-4c1f-9d3d-0b7a61c2e4a9:fee_packages:*",
        AURORA_APP,
        &["RD-02"],
        AURORA,
        BOREALIS,
    ),
    variant(
        "ACL SETUSER aurora_app ~tenant:[0-9a]5b18fdd*",
        AURORA_APP,
        &["RD-02"],
        AURORA,
        BOREALIS,
    ),
    variant(
        "ACL SETUSER aurora_app ~tenant:????????152f*",
        AURORA_APP,
        &["RD-02"],
        AURORA,
        BOREALIS,
    ),
    variant(
        "ACL SETUSER aurora_app ~*balance*",
        AURORA_APP,
        &["RD-02"],
        AURORA,
        OTHERS,
    ),
    variant(
        "ACL SETUSER aurora_app ~ten\\\\ant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:*",
        AURORA_APP,
        &["RD-02"],
        AURORA,
        BOREALIS,
    ),
    // One command is enough, of whatever type of value.
    variant(
        "ACL SETUSER app on >secret ~* -@all +lrange",
        GONE_APP,
        &["RD-02"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER app on >secret ~* -@all +xrange",
        GONE_APP,
        &["RD-02"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER app on >secret ~* -@all +dump",
        GONE_APP,
        &["RD-02"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER app on >secret ~* -@all +mget",
        GONE_APP,
        &["RD-02"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER app on >secret ~* -@all +smembers",
        GONE_APP,
        &["RD-02"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER app on >secret ~* -@all +rename",
        GONE_APP,
        &["RD-02"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER app on >secret ~* -@all +expire",
        GONE_APP,
        &["RD-02"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER aurora_app '(~tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:* -@all +hget)'",
        AURORA_APP,
        &["RD-02"],
        AURORA,
        BOREALIS,
    ),
    variant(
        "ACL SETUSER aurora_app '(~tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:* -@all +getrange)'",
        AURORA_APP,
        &["RD-02"],
        AURORA,
        BOREALIS,
    ),
    // Everything, in other words; whose user it is only the patterns tell.
    variant(
        "ACL SETUSER ledger allkeys",
        LEDGER,
        &["RD-02"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER ledger ~?*",
        LEDGER,
        &["RD-02"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER app on >secret ~tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:* ~tenant:85b18fdd* +get",
        GONE_APP,
        &["RD-02"],
        AURORA,
        BOREALIS,
    ),
];

/// A user may tell products what did not happen.
const EVENTS: &[Variant] = &[
    variant(
        "ACL SETUSER ledger +@pubsub",
        LEDGER,
        &["RD-03"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER ledger '(+publish &tenant-events:staging:)'",
        LEDGER,
        &["RD-03"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER aurora_app &tenant-events:stag*  +publish",
        AURORA_APP,
        &["RD-03"],
        AURORA,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER borealis_app allchannels +@all -@dangerous -@admin -@scripting",
        BOREALIS_APP,
        &["RD-03"],
        BOREALIS,
        EVERYONE,
    ),
];

/// Keys that belong to nobody, or to somebody who is gone.
const NAMES: &[Variant] = &[
    variant(
        "HSET sessions maria 1",
        "DEL sessions",
        &["RD-04"],
        EVERYONE,
        EVERYONE,
    ),
    variant(
        "RPUSH queue:outgoing 1",
        "DEL queue:outgoing",
        &["RD-04"],
        EVERYONE,
        EVERYONE,
    ),
    variant(
        "XADD stream:entries * a 1",
        "DEL stream:entries",
        &["RD-04"],
        EVERYONE,
        EVERYONE,
    ),
    variant(
        "SET Tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:fee_packages:{o:l} 1",
        "DEL Tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:fee_packages:{o:l}",
        &["RD-04"],
        EVERYONE,
        EVERYONE,
    ),
    variant(
        "SET tenant::fee_packages:{o:l} 1",
        "DEL tenant::fee_packages:{o:l}",
        &["RD-04"],
        EVERYONE,
        EVERYONE,
    ),
    variant(
        "SET {tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21}:fee_packages:x 1",
        "DEL {tenant:7b0e1c5a9f3d4b62a1c8e4d7f0936b21}:fee_packages:x",
        &["RD-04"],
        EVERYONE,
        EVERYONE,
    ),
    variant(
        "SET 7b0e1c5a9f3d4b62a1c8e4d7f0936b21:fee_packages:{o:l} 1",
        "DEL 7b0e1c5a9f3d4b62a1c8e4d7f0936b21:fee_packages:{o:l}",
        &["RD-04"],
        EVERYONE,
        EVERYONE,
    ),
    variant(
        "SET tenant:undefined:fee_packages:{o:l} 1",
        "DEL tenant:undefined:fee_packages:{o:l}",
        &["RD-05"],
        NOBODY,
        &["undefined"],
    ),
    variant(
        "SET tenant:e60dcf0b-65eb-4a2f-8c11-f27d9b3a5e70:fee_packages:{o:l} 1",
        "DEL tenant:e60dcf0b-65eb-4a2f-8c11-f27d9b3a5e70:fee_packages:{o:l}",
        &["RD-05"],
        NOBODY,
        &["gone"],
    ),
    variant(
        "SET matcher:discovery:schema:v2:e60dcf0b65eb4a2f8c11f27d9b3a5e70:conn 1",
        "DEL matcher:discovery:schema:v2:e60dcf0b65eb4a2f8c11f27d9b3a5e70:conn",
        &["RD-05"],
        NOBODY,
        &["gone"],
    ),
    variant(
        "SET tenant-connections:e60dcf0b65eb4a2f8c11f27d9b3a5e70:ledger sealed",
        "DEL tenant-connections:e60dcf0b65eb4a2f8c11f27d9b3a5e70:ledger",
        &["RD-05"],
        NOBODY,
        &["gone"],
    ),
    variant(
        "SADD tenant:e60dcf0b65eb4a2f8c11f27d9b3a5e70:balance:{transactions}:o 1",
        "DEL tenant:e60dcf0b65eb4a2f8c11f27d9b3a5e70:balance:{transactions}:o",
        &["RD-05"],
        NOBODY,
        &["gone"],
    ),
];

const CONNECTIONS: &str = "SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger sealed";

/// Passwords that can be read, and copies that lead elsewhere.
const VALUES: &[Variant] = &[
    variant(
        r#"SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger '{"postgresql":{"Password" : "hunter2"}}'"#,
        CONNECTIONS,
        &["RD-09"],
        NOBODY,
        AURORA,
    ),
    variant(
        r#"SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger '{"uri":"mongodb://a:hunter2@h/a"}'"#,
        CONNECTIONS,
        &["RD-09"],
        NOBODY,
        AURORA,
    ),
    // A document within a document.
    variant(
        r#"SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger '{"config":"{\"password\":\"hunter2\"}"}'"#,
        CONNECTIONS,
        &["RD-09"],
        NOBODY,
        AURORA,
    ),
    variant(
        r#"SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger '{"dsn":"host=h user=a password=hunter2 dbname=a"}'"#,
        CONNECTIONS,
        &["RD-09"],
        NOBODY,
        AURORA,
    ),
    variant(
        r#"SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger '{"passwd":"hunter2"}'"#,
        CONNECTIONS,
        &["RD-09"],
        NOBODY,
        AURORA,
    ),
    variant(
        r#"SET tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:m2m:bank:o:credentials '{"client_secret":"hunter2"}'"#,
        "DEL tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:m2m:bank:o:credentials",
        &["RD-09"],
        NOBODY,
        BOREALIS,
    ),
    // Fields of a hash.
    variant(
        "HSET tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:m2m:bank:o:credentials clientId a clientSecret hunter2",
        "DEL tenant:85b18fdd152f4c1f9d3d0b7a61c2e4a9:m2m:bank:o:credentials",
        &["RD-09"],
        NOBODY,
        BOREALIS,
    ),
    variant(
        r#"SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger '[{"host":"127.0.0.1.","port":1,"database":"borealis","username":"aurora_app"}]'"#,
        CONNECTIONS,
        &["CF-17"],
        AURORA,
        BOREALIS,
    ),
    variant(
        r#"SET tenant-connections:7b0e1c5a9f3d4b62a1c8e4d7f0936b21:ledger '{"a":{"host":"10.9.8.7","port":1,"database":"aurora","username":"aurora_app"}}'"#,
        CONNECTIONS,
        &["CF-17"],
        NOBODY,
        AURORA,
    ),
];

/// Commands of an administrator.
const COMMANDS: &[Variant] = &[
    variant(
        "ACL SETUSER ledger +config|set",
        LEDGER,
        &["RD-11"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER ledger +acl|setuser",
        LEDGER,
        &["RD-11"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER ledger +slaveof",
        LEDGER,
        &["RD-11"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER ledger +psync",
        LEDGER,
        &["RD-11"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER ledger +sync",
        LEDGER,
        &["RD-11"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER ledger +slowlog|get",
        LEDGER,
        &["RD-11"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER ledger +swapdb",
        LEDGER,
        &["RD-11"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER ledger +module|load",
        LEDGER,
        &["RD-11"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER ledger +client|kill",
        LEDGER,
        &["RD-11"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER ledger +failover",
        LEDGER,
        &["RD-11"],
        NOBODY,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER borealis_app '(+monitor)'",
        BOREALIS_APP,
        &["RD-11"],
        BOREALIS,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER borealis_app +@admin",
        BOREALIS_APP,
        &["RD-11"],
        BOREALIS,
        EVERYONE,
    ),
    variant(
        "ACL SETUSER borealis_app +@dangerous",
        BOREALIS_APP,
        &["RD-11"],
        BOREALIS,
        EVERYONE,
    ),
];

/// The server itself.
const SERVER: &[Variant] = &[
    variant(
        "CONFIG SET bind '* -::*'",
        "CONFIG SET bind 127.0.0.1",
        &["RD-13"],
        EVERYONE,
        EVERYONE,
    ),
    variant(
        "CONFIG SET maxmemory-policy volatile-ttl",
        "CONFIG SET maxmemory-policy noeviction",
        &["RD-14"],
        EVERYONE,
        EVERYONE,
    ),
    variant(
        "CONFIG SET maxmemory-policy allkeys-random",
        "CONFIG SET maxmemory-policy noeviction",
        &["RD-14"],
        EVERYONE,
        EVERYONE,
    ),
];

#[tokio::test]
async fn each_variant_is_found_by_exactly_the_checks_that_should() {
    let server = Redis::private();
    let endpoint = server.endpoint();
    let password = endpoint.password.as_ref().unwrap().expose();
    let mut session = fill(&endpoint).await;
    let variants = [OPEN, KEYS, EVENTS, NAMES, VALUES, COMMANDS, SERVER].concat();
    let mut wrong = Vec::new();
    for one in &variants {
        for line in one.plant.split(";;") {
            call(&mut session, line).await;
        }
        let report = check(&endpoint).await;
        let said = refuted(&report);
        let found: BTreeSet<&str> = report.findings.iter().map(|f| f.check.as_str()).collect();
        let wanted: BTreeSet<&str> = one.found_by.iter().copied().collect();
        if found != wanted {
            wrong.push(format!("{}: wanted {wanted:?}, found {said:#?}", one.plant));
        }
        for finding in &report.findings {
            if finding.from != one.from || finding.to != one.to {
                wrong.push(format!("{}: names others: {said:#?}", one.plant));
            }
        }
        if report.control.state != ControlState::Detected {
            wrong.push(format!("{}: {:?}", one.plant, report.control));
        }
        let json = serde_json::to_string(&report).unwrap();
        for secret in ["hunter2", "maria", password] {
            assert!(!json.contains(secret), "{}: a secret shows", one.plant);
        }
        for line in one.undo.split(";;") {
            call(&mut session, line).await;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(refuted(&check(&endpoint).await), [""; 0]);
    assert!(variants.len() > 60);
}
