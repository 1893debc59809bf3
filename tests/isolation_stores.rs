//! Kafka and object stores through the command line: what is declared and listed is judged, with the
//! right tenants named.

use serde_json::Value;

use crate::support::Sandbox;

/// Printed by `kafka-acls.sh --list` of Kafka 3.9.1, for rules that were made with it.
const ACLS: &str = "\
Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=borealis., patternType=PREFIXED)`: 
 \t(principal=User:CN=borealis,OU=a, host=*, operation=ALL, permissionType=ALLOW) 

Current ACLs for resource `ResourcePattern(resourceType=TRANSACTIONAL_ID, name=aurora-, patternType=PREFIXED)`: 
 \t(principal=User:ledger_aurora, host=10.0.0.1, operation=WRITE, permissionType=ALLOW) 

Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=*, patternType=LITERAL)`: 
 \t(principal=User:*, host=*, operation=DESCRIBE, permissionType=ALLOW) 

Current ACLs for resource `ResourcePattern(resourceType=GROUP, name=borealis(1), x, patternType=LITERAL)`: 
 \t(principal=User:CN=borealis,OU=a, host=*, operation=READ, permissionType=ALLOW) 

Current ACLs for resource `ResourcePattern(resourceType=TOPIC, name=aurora., patternType=PREFIXED)`: 
 \t(principal=User:ledger_aurora, host=*, operation=READ, permissionType=ALLOW)
\t(principal=User:ledger_aurora, host=*, operation=DESCRIBE, permissionType=ALLOW) 

";
const KAFKA: &str = "complete = true
[[kafka]]
tenant = 'aurora'
brokers = ['kafka.example:9093']
username = 'ledger_aurora'
[[kafka]]
tenant = 'borealis'
brokers = ['kafka.example:9093']
username = 'CN=borealis,OU=a'
";
const OBJECTS: &str = "complete = true
[[object-store]]
tenant = 'aurora'
bucket = 'reports'
prefix = 'aurora/'
policy-file = 'aurora.json'
[[object-store]]
tenant = 'borealis'
bucket = 'reports'
prefix = 'borealis/'
";
const CHECK: [&str; 4] = ["isolation", "check", "--inventory", "tenants.toml"];

fn findings(report: &Value) -> Vec<String> {
    let list = report["findings"].as_array().unwrap().iter();
    list.map(|finding| {
        let names = |name: &str| {
            let names = finding[name].as_array().unwrap().iter();
            names
                .map(|one| one.as_str().unwrap())
                .collect::<Vec<_>>()
                .join(",")
        };
        format!(
            "{} {} -> {}",
            finding["check"].as_str().unwrap(),
            names("from"),
            names("to")
        )
    })
    .collect()
}

#[test]
fn access_lists_of_kafka_are_judged() {
    let room = Sandbox::new();
    room.write("tenants.toml", KAFKA);
    room.write("acls.txt", ACLS);
    // Without a PostgreSQL no breach can be planted in one, so only these are asked for.
    let only = ["--check", "OS-03", "--check", "OS-04"];
    let given = [&CHECK[..], &only, &["--kafka-acls-file", "acls.txt"]].concat();
    let json = [&given[..], &["-o", "json"]].concat();
    let report = room.run(&json).success().json();
    assert_eq!(findings(&report), [""; 0], "{report:#}");
    assert_eq!(report["verdict"], "holds");

    let wide = ACLS.replace("name=aurora., patternType", "name=b, patternType");
    room.write("acls.txt", &wide);
    let report = room.run(&json).exits(3).json();
    assert_eq!(
        findings(&report),
        ["OS-03 aurora -> borealis"],
        "{report:#}"
    );
    let command = report["findings"][0]["remedy"][0].as_str().unwrap();
    assert!(
        command.contains("--remove --allow-principal User:ledger_aurora")
            && command.contains("--topic b --resource-pattern-type prefixed"),
        "{command}"
    );

    // What cannot be read is no list, and no list is no proof.
    room.write(
        "acls.txt",
        ACLS.replace("permissionType=ALLOW", "permissionType"),
    );
    let text = room.run(&given).exits(2);
    assert!(
        text.stderr.contains("isolation.kafka_acls") && text.stderr.contains("line 2"),
        "{text}"
    );
    let without = [&CHECK[..], &only, &["-o", "json"]].concat();
    let report = room.run(&without).json();
    let checks = report["checks"].as_array().unwrap();
    assert!(
        checks.iter().all(|check| check["verdict"] == "skipped"),
        "{report:#}"
    );

    // One login for both is found without a list.
    room.write(
        "tenants.toml",
        KAFKA.replace("CN=borealis,OU=a", "ledger_aurora"),
    );
    let report = room.run(&without).exits(3).json();
    assert_eq!(
        findings(&report),
        ["OS-03 aurora,borealis -> aurora,borealis"]
    );
}

#[test]
fn places_in_object_stores_are_judged() {
    let room = Sandbox::new();
    room.write("tenants.toml", OBJECTS);
    let policy = |resource: &str| {
        serde_json::json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": "s3:*", "Resource": resource } ] })
        .to_string()
    };
    room.write("aurora.json", policy("arn:aws:s3:::reports/aurora/*"));
    let json = [&CHECK[..], &["--check", "OS-01", "-o", "json"]].concat();
    let report = room.run(&json).success().json();
    assert_eq!(findings(&report), [""; 0], "{report:#}");
    room.write("aurora.json", policy("arn:aws:s3:::reports/*"));
    let report = room.run(&json).exits(3).json();
    assert_eq!(
        findings(&report),
        ["OS-01 aurora -> borealis"],
        "{report:#}"
    );
    room.write("tenants.toml", OBJECTS.replace("'aurora/'", "'b'"));
    room.write("aurora.json", policy("arn:aws:s3:::other/*"));
    let report = room.run(&json).exits(3).json();
    assert_eq!(
        findings(&report),
        ["OS-01 aurora -> borealis"],
        "{report:#}"
    );
    for text in ["", "[]", "{\"Version\": \"2012-10-17\"}"] {
        room.write("aurora.json", text);
        let said = room.run(&json).exits(2);
        assert!(said.stderr.contains("aurora.json"), "{said}");
    }
}
