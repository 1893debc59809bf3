//! What products are told follows what is handed out, whatever the order of changes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::contract::wire::{ConnectionSettings, IsolationMode};
use crate::server::registry::model::now;
use crate::server::registry::{Association, StoredOwner};

#[derive(Debug, Clone, Copy)]
enum Act {
    Tenant(bool),
    Service(usize, bool),
    Contract,
}

const SERVICES: [&str; 3] = ["ledger", "tracer", "unready"];

fn tenant() -> Tenant {
    let at = now();
    let association = |ready| Association {
        isolation_mode: IsolationMode::Database,
        state: AssociationState::Live,
        ready,
        version: 1,
        settings: ConnectionSettings::default(),
        databases: BTreeMap::new(),
        created_at: at,
        updated_at: at,
    };
    Tenant {
        id: crate::contract::TenantId::generate(),
        slug: "aurora".parse().unwrap(),
        name: "Aurora".into(),
        environment: "production".parse().unwrap(),
        isolation_mode: IsolationMode::Database,
        status: TenantStatus::Active,
        metadata: BTreeMap::new(),
        owner: StoredOwner::default(),
        associations: SERVICES
            .map(|name| (name.parse().unwrap(), association(name != "unready")))
            .into(),
        created_at: at,
        updated_at: at,
        revision: 1,
    }
}

fn act(tenant: Tenant, act: Act) -> Outcome {
    let current = Current {
        tenant: Some(tenant),
        unfinished: Vec::new(),
    };
    let service = |at: usize| SERVICES[at].parse().unwrap();
    match act {
        Act::Tenant(true) => suspend_tenant(current),
        Act::Tenant(false) => reactivate_tenant(current, false),
        Act::Contract => reactivate_tenant(current, true),
        Act::Service(at, true) => suspend_service(current, &service(at)),
        Act::Service(at, false) => reactivate_service(current, &service(at)),
    }
    .unwrap()
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(
        prop_oneof![
            any::<bool>().prop_map(Act::Tenant),
            (0..SERVICES.len(), any::<bool>()).prop_map(|(at, on)| Act::Service(at, on)),
            Just(Act::Contract),
        ],
        0..24,
    )
}

proptest! {
    /// What products were told last is what the connections endpoint says.
    #[test]
    fn events_follow_what_is_handed_out(acts in acts()) {
        let mut tenant = tenant();
        let mut told: BTreeMap<String, bool> = SERVICES
            .map(|name| (name.to_owned(), name != "unready"))
            .into();
        let mut tenant_told = true;
        for one in acts {
            let before = tenant.clone();
            match act(tenant, one) {
                Outcome::Unchanged(unchanged) => tenant = unchanged.tenant,
                Outcome::Changed(draft) => {
                    for event in &draft.commit.events {
                        let message: serde_json::Value =
                            serde_json::from_str(&event.body).unwrap();
                        let on = match event.event_type {
                            EventType::ServiceSuspended | EventType::TenantSuspended => false,
                            EventType::ServiceReactivated | EventType::TenantActivated => true,
                            other => panic!("{other:?}"),
                        };
                        match message["payload"]["service_name"].as_str() {
                            Some(service) => {
                                let was = told.insert(service.to_owned(), on);
                                prop_assert_eq!(was, Some(!on), "told twice");
                            }
                            None => tenant_told = on,
                        }
                    }
                    tenant = draft.commit.tenant;
                }
            }
            for name in SERVICES {
                let service: ServiceName = name.parse().unwrap();
                let active = tenant.pair(&service) == Pair::Active;
                prop_assert_eq!(told[name], active, "{} after {:?}", name, one);
                // The state of its making is nobody's business here.
                prop_assert_eq!(
                    tenant.associations[&service].ready,
                    before.associations[&service].ready
                );
            }
            prop_assert_eq!(tenant_told, tenant.status == TenantStatus::Active);
        }
    }
}
