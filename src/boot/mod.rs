//! What Lerian's products do at boot with an environment: which variables each reads, how, which
//! rules stop it, and which settings let it start in a state that nobody wants. Pure: takes texts.
//!
//! [`input`] turns files into [`Variables`], [`assess`] applies one product's rules to them,
//! [`compare`] looks at several products together, [`budget`] counts their connections, and
//! [`render`] writes a block that the rules accept.

pub mod assess;
pub mod budget;
pub mod catalogue;
pub mod compare;
pub mod input;
pub mod product;
pub mod render;
pub mod rules;
pub mod variables;

pub use assess::{Assessment, Tenancy, Verdict};
pub use product::Product;
pub use rules::{Effect, Finding, Severity};
pub use variables::Variables;
