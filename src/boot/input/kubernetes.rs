//! Kubernetes manifests, rendered: the containers of workloads with what they refer to.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::yaml::{Node, documents};
use super::{Found, InputError};
use crate::boot::catalogue::catalogue;
use crate::boot::product::Product;
use crate::boot::variables::{Oddity, Variables};

/// Reads the environments of the containers in a text of manifests. Without a workload, the
/// ConfigMaps and Secrets in it are one environment.
pub fn kubernetes(text: &str) -> Result<Vec<Found>, InputError> {
    let mut objects = Vec::new();
    for document in documents(text)? {
        collect(document, &mut objects);
    }
    if objects.is_empty() {
        return Err(InputError::new("has no Kubernetes object with a `kind`"));
    }
    let maps = Maps::of(&objects);
    let mut out = Vec::new();
    for object in &objects {
        let Some(pod) = pod_of(object) else { continue };
        let workload = object.text_at(&["metadata", "name"]).unwrap_or("pod");
        for container in pod.get("containers").map(Node::items).unwrap_or_default() {
            let name = container.text_at(&["name"]).unwrap_or_default();
            let image = container.text_at(&["image"]).unwrap_or_default();
            let image = image.rsplit('/').next().unwrap_or_default();
            out.push(Found {
                component: if name.is_empty() || name == workload {
                    workload.to_owned()
                } else {
                    format!("{workload}/{name}")
                },
                names: [image, name, workload].map(str::to_owned).to_vec(),
                variables: maps.environment(container),
                product: None,
            });
        }
    }
    if out.is_empty() {
        let mut variables = Variables::default();
        let mut names = Vec::new();
        for ((_, name), data) in &maps.0 {
            names.push(name.clone());
            for (key, value) in data {
                variables.set(key, value, name);
            }
        }
        if variables.is_empty() {
            return Err(InputError::new("has no workload, ConfigMap or Secret"));
        }
        out.push(Found {
            component: String::new(),
            names,
            variables,
            product: None,
        });
    }
    Ok(out)
}

fn collect(document: Node, objects: &mut Vec<Node>) {
    let list = document
        .text_at(&["kind"])
        .is_some_and(|kind| kind.ends_with("List"));
    if list {
        if let Some(Node::List(items)) = document.get("items") {
            objects.extend(items.iter().filter(|item| item.is_map()).cloned());
        }
    } else if document.text_at(&["kind"]).is_some() {
        objects.push(document);
    }
}

fn pod_of(object: &Node) -> Option<&Node> {
    match object.text_at(&["kind"])? {
        "Pod" => object.at(&["spec"]),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "Rollout" => {
            object.at(&["spec", "template", "spec"])
        }
        "CronJob" => object.at(&["spec", "jobTemplate", "spec", "template", "spec"]),
        _ => None,
    }
}

/// Data by kind (`ConfigMap`, `Secret`) and name.
struct Maps(BTreeMap<(&'static str, String), Vec<(String, String)>>);

impl Maps {
    fn of(objects: &[Node]) -> Self {
        let mut maps: BTreeMap<(&'static str, String), Vec<(String, String)>> = BTreeMap::new();
        for object in objects {
            let kind = match object.text_at(&["kind"]) {
                Some("ConfigMap") => "ConfigMap",
                Some("Secret") => "Secret",
                _ => continue,
            };
            let name = object.text_at(&["metadata", "name"]).unwrap_or_default();
            let data = maps.entry((kind, name.to_owned())).or_default();
            for (key, value) in object.get("data").map(Node::pairs).unwrap_or_default() {
                let text = scalar(value);
                if kind == "Secret" {
                    let packed: String = text.split_ascii_whitespace().collect();
                    let plain = STANDARD.decode(packed).unwrap_or_default();
                    data.push((key.to_owned(), String::from_utf8_lossy(&plain).into_owned()));
                } else {
                    data.push((key.to_owned(), text));
                }
            }
            for (key, value) in object
                .get("stringData")
                .map(Node::pairs)
                .unwrap_or_default()
            {
                data.push((key.to_owned(), scalar(value)));
            }
        }
        Self(maps)
    }

    fn get(&self, kind: &'static str, name: &str) -> Option<&Vec<(String, String)>> {
        self.0.get(&(kind, name.to_owned()))
    }

    fn environment(&self, container: &Node) -> Variables {
        let mut variables = Variables::default();
        for source in container
            .get("envFrom")
            .map(Node::items)
            .unwrap_or_default()
        {
            let prefix = source.text_at(&["prefix"]).unwrap_or_default();
            for (kind, key) in [("ConfigMap", "configMapRef"), ("Secret", "secretRef")] {
                let Some(name) = source.text_at(&[key, "name"]) else {
                    continue;
                };
                match self.get(kind, name) {
                    Some(data) => {
                        for (key, value) in data {
                            variables.set(
                                &format!("{prefix}{key}"),
                                value,
                                &format!("{kind} {name}"),
                            );
                        }
                    }
                    None => absent(kind, name, &mut variables),
                }
            }
        }
        for entry in container.get("env").map(Node::items).unwrap_or_default() {
            let Some(name) = entry.text_at(&["name"]) else {
                continue;
            };
            let place = format!(
                "env of {}",
                container.text_at(&["name"]).unwrap_or("container")
            );
            match entry.get("valueFrom") {
                None => {
                    let value = entry.get("value").map(scalar).unwrap_or_default();
                    variables.set(name, &value, &place);
                }
                Some(from) => self.refer(name, from, &place, &mut variables),
            }
        }
        variables
    }

    fn refer(&self, name: &str, from: &Node, place: &str, variables: &mut Variables) {
        for (kind, key) in [("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")] {
            let Some(map) = from.text_at(&[key, "name"]) else {
                continue;
            };
            let wanted = from.text_at(&[key, "key"]).unwrap_or_default();
            let value = self
                .get(kind, map)
                .and_then(|data| data.iter().rev().find(|(key, _)| key == wanted));
            match value {
                Some((_, value)) => variables.set(name, value, &format!("{kind} {map}")),
                None => variables.set_elsewhere(name, &format!("{kind} {map}"), place),
            }
            return;
        }
        variables.set_elsewhere(name, "the pod", place);
    }
}

/// A Secret that is not in the text has the secrets, as far as can be known.
fn absent(kind: &'static str, name: &str, variables: &mut Variables) {
    if kind == "Secret" {
        let source = format!("Secret {name}");
        for product in Product::ALL {
            for secret in catalogue().names(product) {
                if catalogue().is_secret(secret) && variables.get(secret).is_none() {
                    variables.set_elsewhere(secret, &source, "");
                }
            }
        }
    } else {
        variables.oddities.push(Oddity::Absent {
            what: format!("ConfigMap {name}"),
        });
    }
}

fn scalar(node: &Node) -> String {
    node.text().unwrap_or_default().to_owned()
}
