//! Deployment files name what exists: flags, variables, paths, secrets.

use std::collections::BTreeSet;
use std::path::Path;

use lerianctl::config::variables;
use serde_json::Value;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifests(path: &str) -> Vec<Value> {
    read(path)
        .split("\n---\n")
        .map(|text| yaml_serde::from_str(text).unwrap_or_else(|error| panic!("{path}: {error}")))
        .collect()
}

fn of<'a>(all: &'a [Value], kind: &str) -> &'a Value {
    all.iter()
        .find(|manifest| manifest["kind"] == kind)
        .unwrap_or_else(|| panic!("there is no {kind}"))
}

/// Fails unless the program takes the arguments as they are.
fn accepted(arguments: &[String]) {
    let words = std::iter::once("lerianctl".to_owned()).chain(arguments.iter().cloned());
    if let Err(error) = lerianctl::cli::command().try_get_matches_from(words) {
        panic!("{arguments:?}: {error}");
    }
}

fn known(name: &str) {
    let server = variables::SERVER_VARIABLES;
    assert!(
        variables::find(name).is_some() || server.iter().any(|it| it.name == name),
        "no variable is called {name}"
    );
}

#[test]
fn the_systemd_units_start_the_program_with_flags_that_exist() {
    let unit = started_by("lerianctl.service");
    assert!(unit.contains("DynamicUser=yes"));
    let unit = started_by("lerianctl-isolation.service");
    // Where the figures go must be writable, and systemd must not find a timer without a unit.
    assert!(unit.contains("ReadWritePaths=/var/lib/prometheus/node-exporter\n"));
    assert!(read("deploy/systemd/lerianctl-isolation.timer").contains("\nOnCalendar="));

    for line in read("deploy/systemd/lerianctl.env.example").lines() {
        if let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            known(name);
        }
    }
}

/// Holds a unit against the program, and returns its text.
fn started_by(unit: &str) -> String {
    let unit = read(&format!("deploy/systemd/{unit}")).replace("\\\n", " ");
    let setting = |name: &str| -> Vec<&str> {
        unit.lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .collect()
    };
    let start = setting("ExecStart");
    let words = shlex::split(start[0]).unwrap();
    assert_eq!(words[0], "/usr/bin/lerianctl");
    accepted(&words[1..]);
    let credentials: BTreeSet<&str> = setting("LoadCredential")
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    let used: BTreeSet<&str> = words
        .iter()
        .filter_map(|word| word.strip_prefix("${CREDENTIALS_DIRECTORY}/"))
        .collect();
    assert_eq!(credentials, used);
    for hardened in ["ProtectSystem=strict", "NoNewPrivileges=yes"] {
        assert!(unit.contains(hardened), "{hardened}");
    }
    let sections: Vec<&str> = unit.lines().filter(|line| line.starts_with('[')).collect();
    assert!(sections.starts_with(&["[Unit]", "[Service]"]));
    unit
}

#[test]
fn the_container_copies_what_exists_and_starts_what_is_there() {
    let file = read("deploy/container/Containerfile");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut arguments = Vec::new();
    for line in file.lines() {
        let Some((word, rest)) = line.split_once(' ') else {
            continue;
        };
        match word {
            "COPY" if !rest.starts_with("--from") => {
                let mut sources: Vec<&str> = rest.split_whitespace().collect();
                sources.pop();
                for source in sources {
                    assert!(
                        root.join(source).exists(),
                        "{source} is not there to be copied"
                    );
                }
            }
            "CMD" => arguments = serde_json::from_str::<Vec<String>>(rest).unwrap(),
            _ => {}
        }
    }
    accepted(&arguments);
    let manifest = read("Cargo.toml");
    let rust = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'))
        .unwrap();
    assert!(
        file.contains(&format!("rust:{rust}-")),
        "another Rust than {rust}"
    );
    assert!(manifest.contains("lto = \"fat\"") && file.contains("--release"));
    assert!(file.contains("target/release/lerianctl") && file.contains("USER nonroot"));
}

#[test]
fn the_kubernetes_manifests_fit_together_and_the_program() {
    let all = manifests("deploy/kubernetes/tenant-manager.yaml");
    let secrets = manifests("deploy/kubernetes/secrets.example.yaml");
    let deployment = of(&all, "Deployment");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    accepted(&arguments);
    assert!(
        arguments
            .iter()
            .any(|argument| argument.starts_with("--registry-url-file=")),
        "two replicas need a registry on PostgreSQL"
    );
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);

    // Every file that an argument names lies in a volume, and is a key of its Secret.
    let secret = |name: &Value| {
        secrets
            .iter()
            .find(|secret| secret["metadata"]["name"] == *name)
            .unwrap_or_else(|| panic!("there is no Secret {name}"))
    };
    for argument in &arguments {
        let Some((_, path)) = argument.split_once("-file=") else {
            continue;
        };
        let (folder, file) = path.rsplit_once('/').unwrap();
        let mounts = container["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["mountPath"] == folder);
        let mount = mount.unwrap_or_else(|| panic!("nothing is mounted at {folder}"));
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == mount["name"]);
        let holds = &secret(&volume.unwrap()["secret"]["secretName"])["stringData"];
        assert!(holds.get(file).is_some(), "{file} is in no Secret");
    }

    let config = of(&all, "ConfigMap");
    assert_eq!(
        container["envFrom"][0]["configMapRef"]["name"],
        config["metadata"]["name"]
    );
    for name in config["data"].as_object().unwrap().keys() {
        known(name);
    }
    for variable in container["env"].as_array().unwrap() {
        known(variable["name"].as_str().unwrap());
        let from = &variable["valueFrom"]["secretKeyRef"];
        let key = from["key"].as_str().unwrap();
        assert!(
            secret(&from["name"])["stringData"].get(key).is_some(),
            "{key}"
        );
    }
    let shared = serde_json::json!("lerian-multi-tenant");
    for name in secret(&shared)["stringData"].as_object().unwrap().keys() {
        known(name);
    }

    // Probes, Service, budget and policy reach the same port and pods.
    let port = &container["ports"][0];
    for (probe, path) in [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], port["name"]);
        assert_eq!(container[probe]["httpGet"]["scheme"], "HTTPS");
    }
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let service = of(&all, "Service");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    let chosen = [
        &service["spec"]["selector"],
        &of(&all, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &of(&all, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        &deployment["spec"]["selector"]["matchLabels"],
    ];
    for selector in chosen {
        for (name, value) in selector.as_object().unwrap() {
            assert_eq!(labels.get(name), Some(value), "{name}");
        }
    }
    let policy = of(&all, "NetworkPolicy");
    let open = &policy["spec"]["ingress"][0]["ports"][0]["port"];
    assert_eq!(open, &port["containerPort"]);
    let url = config["data"]["MULTI_TENANT_URL"].as_str().unwrap();
    let service = (
        &service["metadata"]["name"],
        &service["spec"]["ports"][0]["port"],
    );
    let (name, number) = (service.0.as_str().unwrap(), service.1.as_u64().unwrap());
    assert_eq!(url, format!("https://{name}:{number}"));
}
