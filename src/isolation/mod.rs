//! Proof of isolation: whether one tenant can reach another's data.
//!
//! A [`Check`](model::Check) is one claim with its manual; [`catalogue`] has all of them. [`run`]
//! looks at a fleet that an [`Inventory`](inventory::Inventory) describes: [`config`] compares what
//! tenants are handed, [`products`] what the products are told, [`audit`] asks the catalogues of
//! every cluster and database, [`live`] tries with the tenants' own logins, [`redis`] and
//! [`rabbitmq`] ask the servers of keys, events and messages, and [`control`] plants breaches in a transaction that is rolled
//! back, to see whether they are found. The outcome is an [`Isolation`](report::Isolation); [`attest`]
//! signs it, [`diff`] compares two of them, and [`remedy`] mends what needs no person.
//!
//! No check writes to a tenant's data: sessions are read-only, or what they try is rolled back. The one
//! thing that is put there, when it is asked for, is a [`canary`].

pub mod attest;
pub mod audit;
pub mod canary;
pub mod catalogue;
pub mod config;
pub mod control;
pub mod derange;
pub mod diff;
pub mod files;
pub mod fleet;
pub mod http;
pub mod inventory;
pub mod kafka;
pub mod live;
pub mod model;
pub mod mongodb;
pub mod objects;
pub mod part;
pub mod products;
pub mod rabbitmq;
pub mod redis;
pub mod remedy;
pub mod render;
pub mod report;
pub mod run;
pub mod sittings;
pub mod verdict;
mod words;
