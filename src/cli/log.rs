//! The log on standard error.

use tracing_subscriber::EnvFilter;

use super::failure::{Failure, Kind};
use super::globals::LogFormat;
use super::invocation::Invocation;

/// Starts the log when `-v` or `LERIANCTL_LOG` asks for it.
pub fn start(run: &Invocation) -> Result<(), Failure> {
    let filter = match (
        run.globals.verbose,
        run.environment.variable("LERIANCTL_LOG"),
    ) {
        (0, None) => return Ok(()),
        (0, Some(text)) => text.to_owned(),
        (1, _) => "lerianctl=debug".to_owned(),
        (_, _) => "debug,hyper=info,h2=info,rustls=info".to_owned(),
    };
    start_with(&filter, run.globals.log_format, run.console.color_err)
}

/// Starts the log with a filter; a second start changes nothing.
pub fn start_with(filter: &str, format: LogFormat, color: bool) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::new(
            Kind::Usage,
            "config.invalid_value",
            "the log filter (LERIANCTL_LOG) cannot be understood",
        )
        .cause(error)
        .hint("use a level such as `info`, or targets such as `lerianctl=debug`")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let _ = match format {
        LogFormat::Text => builder.with_ansi(color).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}

/// Starts the log of a server: `info` unless asked for something else.
pub fn start_server(run: &Invocation) -> Result<(), Failure> {
    if run.globals.verbose == 0 && run.environment.variable("LERIANCTL_LOG").is_none() {
        let filter = if run.console.quiet { "warn" } else { "info" };
        return start_with(filter, run.globals.log_format, run.console.color_err);
    }
    Ok(())
}

/// Starts the log of a development stack: warnings unless asked for something else.
pub fn start_development(run: &Invocation) -> Result<(), Failure> {
    if run.globals.verbose == 0 && run.environment.variable("LERIANCTL_LOG").is_none() {
        return start_with("warn", run.globals.log_format, run.console.color_err);
    }
    Ok(())
}
