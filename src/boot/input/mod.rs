//! From texts to variables: dotenv and `env` output, `/proc/N/environ`, compose files, Helm values,
//! Kubernetes manifests. Everything here is text that somebody else wrote: sizes are bounded.

mod compose;
mod dotenv;
mod helm;
mod interpolate;
mod kubernetes;
mod yaml;

pub use compose::compose;
pub use dotenv::{dotenv, environ};
pub use helm::helm;
pub use kubernetes::kubernetes;

use super::product::Product;
use super::variables::Variables;

/// Largest text that is read, in bytes.
pub const LARGEST: u64 = 1024 * 1024;

/// An environment that was found in a text.
#[derive(Debug, Clone)]
pub struct Found {
    /// Name of the service, container or component; empty when the text is one environment.
    pub component: String,
    /// Names from which the product may be told: images, services, containers.
    pub names: Vec<String>,
    /// The variables.
    pub variables: Variables,
    /// The product, when the layout of the text says so.
    pub product: Option<Product>,
}

impl Found {
    /// Tells the product: by layout, by image or name, by variables.
    pub fn tell(&self) -> Option<Product> {
        let named = || {
            self.names
                .iter()
                .find_map(|name| Product::in_name(name, &self.variables))
        };
        self.product
            .or_else(named)
            .or_else(|| Product::of(&self.variables))
    }
}

/// Why a text cannot be read. Never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InputError {
    /// One sentence without its subject, such as `is not YAML`.
    pub message: String,
}

impl InputError {
    /// Returns an error with a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

/// Reads a file that another file names, such as `env_file` of a compose file; `None` when it
/// does not exist.
pub type Beside<'a> = &'a dyn Fn(&str) -> Result<Option<String>, InputError>;

/// Reads a text of variables, or the environment of a process as the kernel gives it.
pub fn lines(bytes: &[u8]) -> Result<Variables, InputError> {
    if bytes.contains(&0) {
        // `cat /proc/N/environ`: every part has a name and an `=`.
        let mut parts = bytes.split(|b| *b == 0).filter(|part| !part.is_empty());
        let assignment = |part: &[u8]| {
            let name = part.split(|b| *b == b'=').next().unwrap_or_default();
            let named = !name.is_empty() && name.len() < part.len();
            named && name.iter().all(u8::is_ascii_graphic)
        };
        if parts.all(assignment) {
            return Ok(environ(bytes));
        }
        return Err(InputError::new("is binary, not a text of variables"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| InputError::new("is not UTF-8 text"))?;
    dotenv(text)
}

#[cfg(test)]
mod tests;
