//! What is made from the command tree: completions, manual pages, schemas, the tree itself.

pub mod completion;
pub mod docs;
pub mod man;
pub mod reference;
pub mod schema;
