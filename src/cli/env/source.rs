//! Where environments come from: files, a process, standard input.

use std::path::{Path, PathBuf};

use super::check::CheckArgs;
use crate::boot::input::{self, Found, InputError, LARGEST};
use crate::boot::{Product, Variables};
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;

/// An environment, its product, and where it comes from.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) source: String,
    pub(super) product: Product,
    pub(super) variables: Variables,
}

/// What was found in one input.
struct Input {
    /// For a person.
    source: String,
    found: Vec<Found>,
    /// Several environments, of which some may be of other programs.
    several: bool,
}

/// Reads every input and tells the products.
pub(super) fn read(run: &Invocation, args: &CheckArgs) -> Result<Vec<Environment>, Failure> {
    let inputs = inputs(run, args)?;
    let total: usize = inputs.iter().map(|input| input.found.len()).sum();
    let singles = inputs.iter().filter(|input| !input.several).count();
    let mut paired = match args.product.as_slice() {
        [] | [_] => Vec::new(),
        many if many.len() == singles && total == singles => many.to_vec(),
        many => {
            return Err(Failure::new(
                Kind::Usage,
                "env.products",
                format!("there are {} products for {total} environments", many.len()),
            )
            .hint("give `--product` once for all of them, or once for each in their order"));
        }
    }
    .into_iter();
    let one = (args.product.len() == 1).then(|| args.product[0]);
    let mut out = Vec::new();
    let mut strangers = Vec::new();
    for input in inputs {
        for found in input.found {
            let source = match found.component.as_str() {
                "" => input.source.clone(),
                component => format!("{} {component}", input.source),
            };
            let told = found.tell();
            let product = match (paired.next(), one) {
                (Some(product), _) => Some(product),
                (None, Some(one)) if !input.several => Some(one),
                (None, Some(one)) => told.filter(|told| same(*told, one)).map(|_| one),
                (None, None) => told,
            };
            match product {
                Some(product) => out.push(Environment {
                    source,
                    product,
                    variables: found.variables,
                }),
                None => strangers.push(source),
            }
        }
    }
    if out.is_empty() {
        return Err(nobody(&strangers));
    }
    Ok(out)
}

/// The version may be chosen; what else a container is may not.
fn same(told: Product, wanted: Product) -> bool {
    let family = |product| match product {
        Product::Ledger4 => Product::Ledger,
        Product::FetcherWorker => Product::FetcherManager,
        other => other,
    };
    told == wanted
        || family(told) == family(wanted) && matches!(told, Product::Ledger | Product::Ledger4)
}

fn nobody(strangers: &[String]) -> Failure {
    let names = Product::ALL.map(Product::as_str).join(", ");
    let message = match strangers {
        [] => "there is no environment to check".to_owned(),
        [one] => format!("the product cannot be told from {one}"),
        many => format!("no product can be told from {}", many.join(", ")),
    };
    Failure::new(Kind::Usage, "env.no_product", message)
        .hint(format!("say which it is with `--product`: {names}"))
}

fn inputs(run: &Invocation, args: &CheckArgs) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for file in run.globals.env_file.iter().chain(&args.file) {
        let bytes = run.read_input(file, LARGEST, "the environment")?;
        let variables = input::lines(&bytes).map_err(|error| malformed(file, &error))?;
        let name = file.display().to_string();
        inputs.push(single(shown(file), variables, &[name]));
    }
    for pid in &args.pid {
        let variables = process(*pid)?;
        inputs.push(single(format!("process {pid}"), variables, &[]));
    }
    let one = args.product.first().copied();
    for file in &args.helm {
        let text = text(run, file, "the values")?;
        let found = input::helm(&text, one).map_err(|error| malformed(file, &error))?;
        inputs.push(several(file, found, args)?);
    }
    for file in &args.compose {
        let text = text(run, file, "the compose file")?;
        let folder = file.parent().filter(|_| file.as_os_str() != "-");
        let folder = folder.map(Path::to_owned).unwrap_or_default();
        let beside = |name: &str| beside(&folder, name);
        let found = input::compose(&text, &beside).map_err(|error| malformed(file, &error))?;
        inputs.push(several(file, found, args)?);
    }
    for file in &args.k8s {
        let text = text(run, file, "the manifests")?;
        let found = input::kubernetes(&text).map_err(|error| malformed(file, &error))?;
        inputs.push(several(file, found, args)?);
    }
    if inputs.is_empty() {
        // In a product's own container that is the product's environment.
        let mut variables = Variables::default();
        for (name, value) in run.environment.text_variables() {
            variables.set(&name, &value, "");
        }
        inputs.push(single("this environment".to_owned(), variables, &[]));
    }
    Ok(inputs)
}

fn single(source: String, variables: Variables, names: &[String]) -> Input {
    Input {
        source,
        found: vec![Found {
            component: String::new(),
            names: names.to_vec(),
            variables,
            product: None,
        }],
        several: false,
    }
}

fn several(file: &Path, mut found: Vec<Found>, args: &CheckArgs) -> Result<Input, Failure> {
    if let Some(wanted) = &args.component {
        let names: Vec<String> = found.iter().map(|found| found.component.clone()).collect();
        found.retain(|found| found.component == *wanted);
        if found.is_empty() {
            return Err(Failure::new(
                Kind::NotFound,
                "env.no_component",
                format!("there is no `{wanted}` in `{}`", shown(file)),
            )
            .hint(format!("there are {}", names.join(", "))));
        }
    }
    Ok(Input {
        source: shown(file),
        // What was chosen by name is what `--product` says it is.
        several: args.component.is_none() && found.len() != 1,
        found,
    })
}

fn shown(file: &Path) -> String {
    if file.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

fn text(run: &Invocation, file: &Path, what: &str) -> Result<String, Failure> {
    let bytes = run.read_input(file, LARGEST, what)?;
    String::from_utf8(bytes).map_err(|_| {
        Failure::new(
            Kind::Usage,
            "input.not_text",
            format!("{what} in `{}` is not UTF-8 text", shown(file)),
        )
    })
}

fn malformed(file: &Path, error: &InputError) -> Failure {
    Failure::new(
        Kind::Usage,
        "input.structure",
        format!("`{}` {error}", shown(file)),
    )
}

/// Reads a file that a compose file names.
fn beside(folder: &Path, name: &str) -> Result<Option<String>, InputError> {
    use std::io::Read as _;
    let path: PathBuf = folder.join(name);
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(_) => {
            return Err(InputError::new(format!(
                "names `{name}`, which cannot be read"
            )));
        }
    };
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| InputError::new(format!("names `{name}`, which cannot be read")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(InputError::new(format!(
            "names `{name}`, which has more than {LARGEST} bytes"
        )));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(InputError::new(format!(
            "names `{name}`, which is not UTF-8 text"
        ))),
    }
}

fn process(pid: u32) -> Result<Variables, Failure> {
    use std::io::Read as _;
    let path = format!("/proc/{pid}/environ");
    let mut bytes = Vec::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(LARGEST).read_to_end(&mut bytes))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound if Path::new("/proc/self").exists() => Failure::new(
                Kind::NotFound,
                "input.no_process",
                format!("there is no process {pid}"),
            )
            .hint("in a container it has another number: run lerianctl in there, usually with `--pid 1`"),
            _ => Failure::new(
                Kind::Usage,
                "input.unreadable",
                format!("the environment of process {pid} cannot be read from `{path}`"),
            )
            .cause(error)
            .hint("only its own user and root may; `kubectl exec POD -- env | lerianctl env check -` needs neither"),
        })?;
    if bytes.is_empty() {
        return Err(Failure::new(
            Kind::NotFound,
            "input.no_process",
            format!("process {pid} has no environment: it is a kernel thread, or is gone"),
        ));
    }
    Ok(input::environ(&bytes))
}
