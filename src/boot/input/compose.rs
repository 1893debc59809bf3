//! Compose files: `environment` as a map or a list, `env_file`, and references to the shell.

use super::interpolate::fill;
use super::yaml::{Node, documents};
use super::{Beside, Found, InputError, dotenv};
use crate::boot::variables::{Oddity, Variables};

/// Where a value comes from that nothing here sets.
const SHELL: &str = "the shell that runs compose";

/// Reads the environments of a compose file's services.
pub fn compose(text: &str, beside: Beside<'_>) -> Result<Vec<Found>, InputError> {
    let documents = documents(text)?;
    let root = documents
        .iter()
        .find(|document| document.get("services").is_some_and(Node::is_map))
        .ok_or_else(|| InputError::new("has no `services`, so it is no compose file"))?;
    let project = match beside(".env")? {
        Some(text) => dotenv(&text)?,
        None => Variables::default(),
    };
    let mut out = Vec::new();
    for (name, service) in root.get("services").map(Node::pairs).unwrap_or_default() {
        if !service.is_map() {
            continue;
        }
        let mut variables = Variables::default();
        for (file, required) in env_files(service) {
            let file = expand(&file, &project);
            match beside(&file)? {
                Some(text) => variables.extend(dotenv(&text)?),
                None if required => {
                    return Err(InputError::new(format!(
                        "names `{}` as env_file of service `{name}`, and there is no such file",
                        crate::boot::variables::shown(&file)
                    )));
                }
                None => {}
            }
        }
        if let Some(environment) = service.get("environment") {
            inline(name, environment, &project, &mut variables);
        }
        let image = service
            .text_at(&["image"])
            .map(|image| expand(image, &project));
        let container = service.text_at(&["container_name"]).map(str::to_owned);
        out.push(Found {
            component: name.to_owned(),
            names: image
                .into_iter()
                .map(|image| image.rsplit('/').next().unwrap_or_default().to_owned())
                .chain(container)
                .chain([name.to_owned()])
                .collect(),
            variables,
            product: None,
        });
    }
    Ok(out)
}

fn expand(text: &str, project: &Variables) -> String {
    fill(text, true, &|name| project.raw(name).map(str::to_owned)).text
}

/// Returns the files of a service, and whether each must exist.
fn env_files(service: &Node) -> Vec<(String, bool)> {
    let one = |node: &Node| match node {
        Node::Scalar(path) => Some((path.clone(), true)),
        node => {
            let path = node.text_at(&["path"])?;
            Some((
                path.to_owned(),
                node.text_at(&["required"]) != Some("false"),
            ))
        }
    };
    match service.get("env_file") {
        Some(Node::List(list)) => list.iter().filter_map(one).collect(),
        Some(node) => one(node).into_iter().collect(),
        None => Vec::new(),
    }
}

fn inline(service: &str, environment: &Node, project: &Variables, variables: &mut Variables) {
    let place = format!("services.{service}.environment");
    let mut seen = std::collections::BTreeSet::new();
    let mut set = |name: &str, value: Option<&str>| {
        if name.is_empty() {
            return;
        }
        if !seen.insert(name.to_owned()) && matches!(environment, Node::List(_)) {
            variables.oddities.push(Oddity::Repeated {
                name: name.to_owned(),
                place: place.clone(),
            });
        }
        let Some(value) = value else {
            // A name alone takes its value from the shell, or from `.env`.
            match project.raw(name) {
                Some(value) => variables.set(name, value, ".env"),
                None => variables.set_elsewhere(name, SHELL, &place),
            }
            return;
        };
        let filled = fill(value, true, &|name| project.raw(name).map(str::to_owned));
        if filled.is_reference {
            variables.set_elsewhere(name, SHELL, &place);
            return;
        }
        for reference in filled.unresolved {
            let name = name.to_owned();
            variables
                .oddities
                .push(Oddity::Unresolved { name, reference });
        }
        variables.set(name, &filled.text, &place);
    };
    match environment {
        Node::List(list) => {
            for line in list.iter().filter_map(Node::text) {
                match line.split_once('=') {
                    Some((name, value)) => set(name.trim(), Some(value)),
                    None => set(line.trim(), None),
                }
            }
        }
        node => {
            for (name, value) in node.pairs() {
                match value {
                    Node::Scalar(text) => set(name, Some(text)),
                    Node::Null => set(name, None),
                    _ => {}
                }
            }
        }
    }
}
