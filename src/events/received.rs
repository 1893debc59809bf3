//! A message as it came: read as products read it, with what they will make of it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::effect::{self, Deviation, Effect};
use crate::contract::ids::{Environment, ServiceName, TenantId, TenantRef, is_claimable_tenant_id};

/// Characters of a malformed message that are kept.
const EXCERPT: usize = 200;

/// A message that products can read.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    /// When it came.
    pub received_at: Timestamp,
    /// Channel that it came on.
    pub channel: String,
    /// Id; products log it only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub event_id: String,
    /// Wire name of its type.
    pub event_type: String,
    /// When it was made, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// Tenant id as written.
    pub tenant_id: String,
    /// Slug, informational.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tenant_slug: String,
    /// Environment as it says; products never compare it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub environment: String,
    /// Service that it is for; absent for the whole tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// What products do with it; absent for a type that they do not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Products that do something else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deviations: Vec<Deviation>,
    /// What is wrong with it although it can be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A message that products drop, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Malformed {
    /// When it came.
    pub received_at: Timestamp,
    /// Channel that it came on.
    pub channel: String,
    /// Why products drop it.
    pub reason: String,
    /// Its beginning, with control characters escaped.
    pub excerpt: String,
}

/// Which events to show. Every list that is empty lets all through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Tenants, by id in any spelling or by slug.
    pub tenants: Vec<TenantRef>,
    /// Wire names of types.
    pub types: Vec<String>,
    /// Services; events for whole tenants are for every service.
    pub services: Vec<ServiceName>,
}

impl Filter {
    /// Returns true when `event` is to be shown.
    pub fn accepts(&self, event: &Received) -> bool {
        let tenant = |wanted: &TenantRef| match wanted {
            TenantRef::Id(id) => TenantId::canonical(&event.tenant_id).as_ref() == Some(id),
            TenantRef::Slug(slug) => {
                event.tenant_slug == slug.as_str() || event.tenant_id == slug.as_str()
            }
        };
        let service = |wanted: &ServiceName| match &event.service {
            Some(service) => service == wanted.as_str(),
            None => true,
        };
        (self.tenants.is_empty() || self.tenants.iter().any(tenant))
            && (self.types.is_empty() || self.types.contains(&event.event_type))
            && (self.services.is_empty() || self.services.iter().any(service))
    }
}

/// Reads a message by the rules of the products' library: what that drops is malformed.
pub fn read(
    channel: &str,
    message: &[u8],
    received_at: Timestamp,
) -> Result<Box<Received>, Malformed> {
    let malformed = |reason: String| Malformed {
        received_at,
        channel: escaped(channel),
        reason: escaped(&reason),
        excerpt: excerpt(message),
    };
    let fields: Map<String, Value> = serde_json::from_slice(message)
        .map_err(|error| malformed(format!("not a JSON object: {error}")))?;
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(malformed(format!("`{name}` is not a string"))),
    };
    let required = |name: &str| match text(name)? {
        text if text.is_empty() => Err(malformed(format!("`{name}` is missing or empty"))),
        text => Ok(text),
    };
    let timestamp = match fields.get("timestamp") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(
            text.parse::<Timestamp>()
                .map_err(|_| malformed("`timestamp` is not a time in RFC 3339".into()))?,
        ),
        Some(_) => return Err(malformed("`timestamp` is not a string".into())),
    };
    let payload = match fields.get("payload") {
        None | Some(Value::Null) => None,
        Some(payload) => Some(payload.clone()),
    };
    let mut event = Box::new(Received {
        received_at,
        channel: escaped(channel),
        event_id: text("event_id")?,
        event_type: required("event_type")?,
        timestamp,
        tenant_id: required("tenant_id")?,
        tenant_slug: text("tenant_slug")?,
        environment: text("environment")?,
        service: payload
            .as_ref()
            .and_then(|payload| payload.get("service_name")?.as_str())
            .filter(|service| !service.is_empty())
            .map(str::to_owned),
        payload,
        effect: None,
        deviations: Vec::new(),
        warnings: Vec::new(),
    });
    explain(&mut event);
    Ok(event)
}

/// Adds what products will make of the event.
fn explain(event: &mut Received) {
    let mut warn = |text: String| event.warnings.push(text);
    let known = effect::known(&event.event_type);
    match known {
        None => warn("products do not know this type: they log it and do nothing".into()),
        Some(known) if effect::is_service_scoped(known) && event.service.is_none() => {
            warn("without `payload.service_name` every product skips it".into());
        }
        Some(_) => {}
    }
    match TenantId::canonical(&event.tenant_id) {
        Some(id) if id.as_str() != event.tenant_id => warn(format!(
            "the tenant id is not spelled `{id}`: products with lib-commons before 6.3 compare ids byte for byte and match nothing"
        )),
        None if !is_claimable_tenant_id(&event.tenant_id) => {
            warn(
                "products with lib-commons 6.3 or later drop it: the tenant id is not valid".into(),
            );
        }
        _ => {}
    }
    let heard_in = event
        .channel
        .strip_prefix("tenant-events:")
        .and_then(|rest| rest.strip_suffix(':'));
    match heard_in {
        None => warn(
            "only products with the old pattern `tenant-events:*` hear this channel: the environment and a colon must end its name".into(),
        ),
        Some(environment) if !Environment::WITH_EVENTS.contains(&environment) => {
            warn("products listen to staging and production only".into());
        }
        Some(environment) if !event.environment.is_empty() && event.environment != environment => {
            warn(format!("it says environment `{}`, which products do not compare: they act on it", escaped(&event.environment)));
        }
        Some(_) => {}
    }
    event.effect = known.map(effect::effect);
    event.deviations = known.map(effect::deviations).unwrap_or_default();
    if let Some(service) = &event.service {
        event
            .deviations
            .retain(|deviation| deviation.service == service || deviation.service == "flowker");
    }
}

/// Returns the beginning of a message, in one line that cannot steer a terminal.
fn excerpt(message: &[u8]) -> String {
    let end = message.len().min(EXCERPT * 4);
    let text = escaped(&String::from_utf8_lossy(&message[..end]));
    let mut shown: String = text.chars().take(EXCERPT).collect();
    if shown.len() < text.len() || end < message.len() {
        shown.push('…');
    }
    shown
}

fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escape = c.is_control();
            let plain = (!escape).then_some(c);
            plain
                .into_iter()
                .chain(escape.then(|| c.escape_default()).into_iter().flatten())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &str = "tenant-events:production:";
    const ID: &str = "7b0e1c5a9f3d4b62a1c8e4d7f0936b21";

    fn event(message: &Value) -> Received {
        let message = message.to_string();
        *read(CHANNEL, message.as_bytes(), Timestamp::UNIX_EPOCH).unwrap()
    }

    fn reason(message: &str) -> String {
        let read = read(CHANNEL, message.as_bytes(), Timestamp::UNIX_EPOCH);
        read.map(|event| format!("{event:?}")).unwrap_err().reason
    }

    #[test]
    fn a_good_event_is_explained_and_without_a_warning() {
        let event = event(&serde_json::json!({
            "event_id": "1", "event_type": "tenant.credentials.rotated",
            "timestamp": "2026-06-20T14:03:11Z", "tenant_id": ID, "tenant_slug": "banco-aurora",
            "environment": "production",
            "payload": { "service_name": "tracer", "credential_type": "postgresql" }
        }));
        assert_eq!(event.service.as_deref(), Some("tracer"));
        assert_eq!(event.warnings, [""; 0]);
        assert!(event.effect.unwrap().asks_tenant_manager);
        assert_eq!(event.deviations.len(), 1);
        assert_eq!(event.deviations[0].service, "tracer");
    }

    #[test]
    fn what_products_drop_is_malformed_with_the_reason() {
        for (message, expected) in [
            ("", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("{\"event_type\":\"x\"", "not a JSON object"),
            ("{}", "`event_type` is missing"),
            (
                r#"{"event_type":"","tenant_id":"a"}"#,
                "`event_type` is missing or empty",
            ),
            (
                r#"{"event_type":"tenant.created"}"#,
                "`tenant_id` is missing",
            ),
            (
                r#"{"event_type":7,"tenant_id":"a"}"#,
                "`event_type` is not a string",
            ),
            (
                r#"{"event_type":"x","tenant_id":"a","timestamp":""}"#,
                "`timestamp` is not a time",
            ),
            (
                r#"{"event_type":"x","tenant_id":"a","timestamp":7}"#,
                "`timestamp` is not a string",
            ),
        ] {
            let reason = reason(message);
            assert!(reason.contains(expected), "{message}: {reason}");
        }
    }

    #[test]
    fn a_malformed_message_cannot_steer_a_terminal_and_is_bounded() {
        let message = format!("\u{1b}[2J\u{9b}31m{}", "x".repeat(1 << 20));
        let malformed = read("a\u{7}", message.as_bytes(), Timestamp::UNIX_EPOCH).unwrap_err();
        let all = format!(
            "{}{}{}",
            malformed.channel, malformed.reason, malformed.excerpt
        );
        assert!(!all.chars().any(char::is_control), "{all}");
        assert!(all.chars().count() < 600);
    }

    #[test]
    fn silent_failures_are_warned_about() {
        let warned = |message: Value, channel: &str| {
            let message = message.to_string();
            let event = read(channel, message.as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
            event.warnings.join("\n")
        };
        let message =
            |kind: &str, id: &str| serde_json::json!({"event_type": kind, "tenant_id": id});
        assert!(warned(message("tenant.renamed", ID), CHANNEL).contains("do not know this type"));
        assert!(warned(message("tenant.cache.invalidate", ID), CHANNEL).contains("skips it"));
        let dashed = "7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21";
        assert!(warned(message("tenant.created", dashed), CHANNEL).contains("byte for byte"));
        assert!(warned(message("tenant.created", "a b"), CHANNEL).contains("not valid"));
        let channel = "tenant-events:production";
        assert!(warned(message("tenant.created", ID), channel).contains("old pattern"));
        let channel = "tenant-events:development:";
        assert!(warned(message("tenant.created", ID), channel).contains("staging and production"));
        let mut other = message("tenant.created", ID);
        other["environment"] = "staging".into();
        assert!(warned(other, CHANNEL).contains("they act on it"));
        assert_eq!(warned(message("tenant.created", ID), CHANNEL), "");
    }

    #[test]
    fn filters_know_every_spelling_and_what_a_service_hears() {
        let event = event(&serde_json::json!({
            "event_type": "tenant.service.suspended", "tenant_slug": "aurora",
            "tenant_id": "7b0e1c5a-9f3d-4b62-a1c8-e4d7f0936b21",
            "payload": {"service_name": "ledger"}
        }));
        let accepts = |tenants: &[&str], types: &[&str], services: &[&str]| {
            Filter {
                tenants: tenants.iter().map(|t| t.parse().unwrap()).collect(),
                types: types.iter().map(ToString::to_string).collect(),
                services: services.iter().map(|s| s.parse().unwrap()).collect(),
            }
            .accepts(&event)
        };
        assert!(accepts(&[], &[], &[]));
        assert!(accepts(
            &[ID],
            &["tenant.service.suspended"],
            &["tracer", "ledger"]
        ));
        assert!(accepts(&["other", "aurora"], &[], &[]));
        assert!(!accepts(&["other"], &[], &[]));
        assert!(!accepts(&[], &["tenant.created"], &[]));
        assert!(!accepts(&[], &[], &["tracer"]));
    }

    #[test]
    fn every_type_has_an_effect_and_is_known_by_its_name() {
        let names: std::collections::HashSet<_> =
            effect::TYPES.iter().map(|event| event.as_str()).collect();
        assert_eq!(names.len(), effect::TYPES.len());
        for event in effect::TYPES {
            let wire = serde_json::to_value(event).unwrap();
            assert_eq!(effect::known(wire.as_str().unwrap()), Some(event));
            assert!(!effect::effect(event).action.is_empty());
        }
        assert_eq!(effect::known("tenant.unknown"), None);
    }
}
