//! The stories of a server once more, with the registry on PostgreSQL: `Server` looks at the name
//! of the test's thread, which is the path of the test.

#[path = "../server_contract.rs"]
mod server_contract;
#[path = "../server_events.rs"]
mod server_events;
#[path = "../server_keys.rs"]
mod server_keys;
#[path = "../server_operations.rs"]
mod server_operations;
#[path = "../server_plans.rs"]
mod server_plans;
#[path = "../server_removal.rs"]
mod server_removal;
#[path = "../server_rotation.rs"]
mod server_rotation;
