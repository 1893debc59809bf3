//! `lerianctl event tail`.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap_complete::engine::ArgValueCandidates;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cli::cache::target::no_redis;
use crate::cli::complete;
use crate::cli::failure::{Failure, Kind};
use crate::cli::globals::duration;
use crate::cli::invocation::Invocation;
use crate::contract::ids::TenantRef;
use crate::contract::{Environment, ServiceName};
use crate::events::effect::TYPES;
use crate::events::{Filter, Item, Malformed, Received, Subscription};
use crate::output::document::wrap;
use crate::output::{Format, Report, Rows, Tone, View};

/// Listen to events as products do
///
/// Nothing is kept for a listener that is away: what was published before, or while the
/// connection was broken, is not shown, and each such gap is told. Messages that products drop
/// are shown with the reason.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl event tail --environment production\n  lerianctl event tail --tenant acme --explain\n  lerianctl event tail --type tenant.credentials.rotated --limit 1 --for 30s -o jsonl"
)]
pub struct TailArgs {
    /// Environment whose channel to listen to; the configured one when not given
    #[arg(long, value_name = "NAME")]
    environment: Option<Environment>,

    /// Listen to every channel, as products with lib-commons before 4.6.2 do
    #[arg(long, conflicts_with = "environment")]
    every_channel: bool,

    /// Only events of this tenant, by slug or id; may be repeated
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: Vec<TenantRef>,

    /// Only events of this type; may be repeated
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(TYPES.map(|known| known.as_str())), hide_possible_values = true)]
    types: Vec<String>,

    /// Only what this service hears: events for it, and for whole tenants; may be repeated
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::services))]
    service: Vec<ServiceName>,

    /// Say for each event what products do with it
    #[arg(long)]
    explain: bool,

    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// End after this time, such as `30s` or `5m`
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    time: Option<Duration>,
}

/// Listens. Returns a report when the output is one document, and nothing when it was a stream.
pub fn tail(run: &Invocation, args: &TailArgs) -> Result<Option<EventListReport>, Failure> {
    let streams = matches!(
        run.console.format,
        Format::Table | Format::Jsonl | Format::Name
    );
    if !streams && args.limit.is_none() && args.time.is_none() {
        return Err(Failure::new(
            Kind::Usage,
            "event.unbounded",
            "this form of output is one document, and listening has no end",
        )
        .hint("use `-o jsonl`, or say when to end with `--limit` or `--for`"));
    }
    let Some(settings) = run.config()?.event_redis()? else {
        return Err(no_redis());
    };
    let endpoint = settings.endpoint(run.secrets())?;
    let subscription = subscription(run, args)?;
    let filter = Filter {
        tenants: args.tenant.clone(),
        types: args.types.clone(),
        services: args.service.clone(),
    };
    let until = args.time.map(|time| Instant::now() + time);
    let mut sink = Sink {
        run,
        explain: args.explain,
        limit: args.limit.unwrap_or(u64::MAX),
        streams,
        place: endpoint.describe(),
        report: EventListReport::default(),
    };
    run.block_on(crate::events::tail(
        &endpoint,
        &subscription,
        &filter,
        until,
        |item| sink.take(&item),
    ))?;
    if !streams {
        return Ok(Some(sink.report));
    }
    if run.console.format == Format::Jsonl {
        let EventListReport {
            count,
            malformed,
            gaps,
            ..
        } = sink.report;
        let body = json!({
            "items": count + malformed + gaps, "ok": true,
            "events": count, "malformed": malformed, "gaps": gaps,
        });
        run.console.out(&format!("{}\n", wrap("Summary", body)));
    }
    Ok(None)
}

fn subscription(run: &Invocation, args: &TailArgs) -> Result<Subscription, Failure> {
    if args.every_channel {
        return Ok(Subscription::OldPattern);
    }
    let configured = run.config()?.environment()?.map(|found| found.value);
    match args.environment.clone().or(configured) {
        Some(environment) => Ok(Subscription::Environment(environment)),
        None => Err(Failure::new(
            Kind::Usage,
            "event.no_environment",
            "it is not known which environment's events to listen to",
        )
        .hint_command(
            "say it",
            format!("{} --environment production", run.command_line),
        )),
    }
}

/// Takes what happens and shows it.
struct Sink<'a> {
    run: &'a Invocation,
    explain: bool,
    limit: u64,
    streams: bool,
    place: String,
    report: EventListReport,
}

impl Sink<'_> {
    fn take(&mut self, item: &Item) -> ControlFlow<()> {
        let console = &self.run.console;
        let value = match item {
            Item::Listening { to, gap: None } => {
                console.status(format!("listening to {to} on {}", self.place));
                return ControlFlow::Continue(());
            }
            Item::Listening { to, gap: Some(gap) } => {
                let seconds = gap.as_secs_f64();
                console.warn(format!(
                    "listening to {to} again; events of {seconds:.1} s are lost"
                ));
                self.report.gaps += 1;
                json!({ "item": "gap", "lostSeconds": seconds })
            }
            Item::Lost { reason } => {
                console.warn(format!("events are being lost: {reason}"));
                return ControlFlow::Continue(());
            }
            Item::Event(event) => {
                self.report.count += 1;
                tagged("event", event)
            }
            Item::Malformed(malformed) => {
                self.report.malformed += 1;
                tagged("malformed", malformed)
            }
        };
        let open = match console.format {
            Format::Table => console.stream(&self.human(item)),
            Format::Jsonl => console.stream(&format!("{value}\n")),
            Format::Name => match item {
                Item::Event(event) => console.stream(&format!("{}\n", one_line(&event.event_id))),
                _ => true,
            },
            Format::Json | Format::Yaml | Format::Csv => true,
        };
        if !self.streams {
            if let Item::Event(event) = item {
                self.report.rows.push(row(event));
            }
            self.report.items.push(value);
        }
        // A reader that is gone wants no more.
        if open && self.report.count < self.limit {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn human(&self, item: &Item) -> String {
        let console = &self.run.console;
        let mut out = View::new(console.width, console.color_out);
        match item {
            Item::Event(event) => view(event, self.explain, &mut out),
            Item::Malformed(malformed) => view_malformed(malformed, &mut out),
            Item::Listening { .. } | Item::Lost { .. } => {}
        }
        out.into_text()
    }
}

fn tagged(item: &str, body: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(body).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.insert("item".into(), item.into());
    }
    value
}

fn one_line(text: &str) -> String {
    crate::output::view::one_line(text)
}

fn view(event: &Received, explain: bool, out: &mut View) {
    let tenant = match event.tenant_slug.as_str() {
        "" => event.tenant_id.as_str(),
        slug => slug,
    };
    out.paint(Tone::Dim, format!("{:.0}", event.received_at))
        .plain("  ")
        .paint(Tone::Strong, format!("{:<30}", one_line(&event.event_type)))
        .plain("  ")
        .plain(one_line(tenant))
        .plain("  ")
        .plain(one_line(
            event.service.as_deref().unwrap_or("(every service)"),
        ))
        .line();
    for warning in &event.warnings {
        out.plain("  ")
            .paint(Tone::Warn, "warning:")
            .plain(" ")
            .plain(one_line(warning))
            .line();
    }
    let Some(effect) = event.effect.filter(|_| explain) else {
        return;
    };
    out.plain("  products: ").plain(effect.action).line();
    if effect.asks_tenant_manager {
        out.plain("  then they ask the Tenant Manager, once per pod")
            .line();
    }
    if let Some(caveat) = effect.caveat {
        out.plain("  note: ").plain(caveat).line();
    }
    for deviation in &event.deviations {
        out.plain("  ")
            .plain(deviation.service)
            .plain(": ")
            .plain(deviation.instead)
            .line();
    }
}

fn view_malformed(malformed: &Malformed, out: &mut View) {
    out.paint(Tone::Dim, format!("{:.0}", malformed.received_at))
        .plain("  ")
        .paint(Tone::Bad, format!("{:<30}", "malformed, products drop it"))
        .plain("  ")
        .plain(&malformed.reason)
        .line()
        .plain("  ")
        .paint(Tone::Dim, &malformed.excerpt)
        .line();
}

/// Events that were heard.
#[derive(Debug, Default, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventListReport {
    /// What was heard, in order: `item` is `event`, `malformed` or `gap`.
    items: Vec<Value>,
    /// Events.
    #[serde(rename = "events")]
    count: u64,
    /// Messages that products drop.
    malformed: u64,
    /// Times that the connection was broken; events may be lost each time.
    gaps: u64,
    #[serde(skip)]
    rows: Vec<Vec<String>>,
}

fn row(event: &Received) -> Vec<String> {
    let time = event.timestamp.map(|time| time.to_string());
    vec![
        event.event_id.clone(),
        event.event_type.clone(),
        event.tenant_id.clone(),
        event.tenant_slug.clone(),
        event.service.clone().unwrap_or_default(),
        event.environment.clone(),
        time.unwrap_or_default(),
        event.received_at.to_string(),
        event.channel.clone(),
    ]
}

impl Report for EventListReport {
    const KIND: &'static str = "EventList";

    fn human(&self, out: &mut View) -> fmt::Result {
        if let Some(rows) = self.rows() {
            out.table(&rows);
        }
        Ok(())
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows {
            columns: vec!["event", "type", "id", "slug", "service"],
            wide: vec!["environment", "timestamp", "received", "channel"],
            cells: self.rows.clone(),
            items: self.items.clone(),
        })
    }
}
