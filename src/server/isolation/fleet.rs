//! The fleet as the registry knows it, with what products are handed out.

use futures_util::StreamExt as _;
use futures_util::stream;

use crate::contract::Slug;
use crate::isolation::fleet;
use crate::isolation::inventory::Inventory;
use crate::link::postgres::PostgresEndpoint;
use crate::provision::Cluster;
use crate::server::registry::TenantFilter;
use crate::server::service::Tenancy;

/// Tenants that are read at once.
const PAGE: u32 = 200;
/// Connections that are read at the same time.
const AT_ONCE: usize = 4;

/// Reads the inventory.
pub(super) async fn inventory(tenancy: &Tenancy) -> Result<Inventory, String> {
    let mut inventory = Inventory {
        source: "this Tenant Manager's registry".into(),
        complete: true,
        ..Inventory::default()
    };
    let mut after: Option<Slug> = None;
    loop {
        let page = tenancy
            .registry
            .tenants(&TenantFilter::default(), after.as_ref(), PAGE)
            .await
            .map_err(|error| format!("the registry cannot be read: {error}"))?;
        let Some(last) = page.last() else { break };
        after = Some(last.slug.clone());
        let records: Vec<_> = page
            .iter()
            .map(|tenant| tenant.record(&tenancy.catalogue, &tenancy.clusters))
            .collect();
        inventory.records.extend(records.iter().map(fleet::record));
        let mut answers = stream::iter(records.iter().flat_map(fleet::associations))
            .map(|asked| async move {
                let answer = tenancy.handed_out(asked.tenant, asked.service).await;
                (asked, answer)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((asked, answer)) = answers.next().await {
            let config = answer.unwrap_or_else(|refusal| {
                let gap = format!("{}/{}: {}", asked.name, asked.service, refusal.message);
                inventory.gaps.push(gap);
                None
            });
            fleet::add(&mut inventory, &asked, config.as_ref());
        }
    }
    fleet::sort(&mut inventory.stores);
    Ok(inventory)
}

/// Returns the login that provisions a cluster, at the address that products are handed: that is
/// what is to be proved.
pub(super) fn as_handed_out(cluster: &Cluster) -> PostgresEndpoint {
    PostgresEndpoint {
        host: cluster.public_host.clone(),
        port: cluster.public_port,
        ..cluster.admin.clone()
    }
}
