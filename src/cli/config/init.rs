//! `lerianctl config init`.

use clap::Args;

use super::ConfigChangeReport;
use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::config::edit::{self, KeyPlace, NewContext};
use crate::config::{self, ConfigFile, ConfigText, store};
use crate::contract::Environment;

/// Write a deployment into the config file, which is made when absent
///
/// The API key itself is never written: the file names the place where it is found.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl config init staging --server https://tm.staging.example --api-key-file ~/.secrets/tm\n  lerianctl config init production --server https://tm.example --api-key-command 'vault kv get -field=key secret/tm' --protected"
)]
pub struct InitArgs {
    /// Name of the deployment: letters, digits, `-` and `_`
    #[arg(default_value = "default")]
    name: String,

    /// Variable that holds the API key
    #[arg(long, value_name = "NAME", group = "key")]
    api_key_env: Option<String>,

    /// Program that prints the API key; run without a shell
    #[arg(long, value_name = "COMMAND", group = "key")]
    api_key_command: Option<String>,

    /// Environment of new tenants, such as production
    #[arg(long, value_name = "NAME")]
    environment: Option<Environment>,

    /// Redis with the products' caches and events
    #[arg(long, value_name = "HOST[:PORT]", value_parser = host_and_port)]
    redis: Option<(String, Option<u16>)>,

    /// Ask for the deployment's name before anything above a read
    #[arg(long)]
    protected: bool,

    /// Accept a plain http:// server beyond this machine
    #[arg(long)]
    allow_insecure_http: bool,

    /// Replace a deployment of this name that says something else
    #[arg(long)]
    force: bool,
}

/// Writes a context.
pub fn init(run: &Invocation, args: &InitArgs) -> Result<ConfigChangeReport, Failure> {
    let context = context(run, args)?;
    let path = run.config_path().value;
    let home = run.home();
    let parse = |text: &str| {
        let source = ConfigText {
            path: path.clone(),
            text: text.to_owned(),
            writable: None,
            readable: None,
        };
        ConfigFile::parse(&source, home.as_deref())
    };
    let mut current = false;
    let changed = store::edit(&path, |old| {
        let before = parse(old);
        let wanted = parse(&edit::add_context(old, &args.name, &context, true)?);
        let same = match (
            before.contexts.get(&args.name),
            wanted.contexts.get(&args.name),
        ) {
            (Some(before), Some(wanted)) => before.says_the_same_as(wanted),
            _ => false,
        };
        let new = if same {
            old.to_owned()
        } else {
            edit::add_context(old, &args.name, &context, args.force)?
        };
        let chosen = parse(&new).current.map(|(_, name)| name);
        current = chosen.as_deref() == Some(&args.name);
        Ok(new)
    })
    .map_err(|problem| {
        let exists = problem.code == "config.context_exists";
        let mut failure = Failure::from(problem);
        if exists {
            failure.kind = Kind::Conflict;
        }
        failure
    })?;
    Ok(ConfigChangeReport {
        changed,
        path,
        context: args.name.clone(),
        current,
    })
}

fn context(run: &Invocation, args: &InitArgs) -> Result<NewContext, Failure> {
    let usage = |message: String| Failure::new(Kind::Usage, "config.invalid_value", message);
    // Only what was typed: a variable that happens to be set must not end up in the file.
    let Some(server) = &run.globals.server else {
        return Err(
            usage("a deployment needs the URL of its Tenant Manager".to_owned())
                .hint("give it with `--server URL`"),
        );
    };
    let url = config::parse_server(server)
        .map_err(|rule| usage(format!("the value of `--server` is not valid: {rule}")))?;
    if url.scheme() == "http" && !config::is_loopback(&url) && !args.allow_insecure_http {
        return Err(Failure::new(
            Kind::Usage,
            "config.insecure_http",
            format!("{url} would send the API key unencrypted"),
        )
        .hint("use https://, or accept it with `--allow-insecure-http`"));
    }
    Ok(NewContext {
        server: Some(url.as_str().trim_end_matches('/').to_owned()),
        api_key: key_place(run, args)?,
        environment: args.environment.as_ref().map(ToString::to_string),
        redis: args.redis.clone(),
        protected: args.protected,
        allow_insecure_http: args.allow_insecure_http,
    })
}

fn key_place(run: &Invocation, args: &InitArgs) -> Result<Option<KeyPlace>, Failure> {
    let usage = |message: &str| Failure::new(Kind::Usage, "config.invalid_value", message);
    let file = run.globals.api_key_file.as_ref();
    let given = [
        file.is_some(),
        args.api_key_env.is_some(),
        args.api_key_command.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        return Err(usage("the API key can be found in one place only")
            .hint("give one of `--api-key-file`, `--api-key-env` and `--api-key-command`"));
    }
    if let Some(path) = file {
        if path.as_os_str() == "-" {
            return Err(
                usage("the config file cannot name standard input for the API key")
                    .hint("write the key to a private file first"),
            );
        }
        // Relative to where we are now, not to where the config file is.
        let path = std::path::absolute(path)
            .ok()
            .and_then(|path| path.to_str().map(str::to_owned))
            .ok_or_else(|| usage("the value of `--api-key-file` is not a path in UTF-8"))?;
        return Ok(Some(KeyPlace::File(path)));
    }
    if let Some(name) = &args.api_key_env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(usage(
                "the value of `--api-key-env` is not the name of a variable",
            ));
        }
        return Ok(Some(KeyPlace::Environment(name.clone())));
    }
    let Some(command) = &args.api_key_command else {
        return Ok(None);
    };
    match shlex::split(command).filter(|argv| !argv.is_empty()) {
        Some(words) => Ok(Some(KeyPlace::Command(words))),
        None => Err(usage(
            "the value of `--api-key-command` is not a command: a quote is open, or there is nothing",
        )),
    }
}

fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.rsplit_once(':') {
        // More than one colon without brackets is an IPv6 address.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let port = port.parse().ok().filter(|port| *port > 0);
            (
                host,
                Some(port.ok_or("the port is a number from 1 to 65535")?),
            )
        }
        _ => (text, None),
    };
    let host = host.trim_matches(['[', ']']);
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '?');
    if host.is_empty() || host.contains(odd) {
        return Err("it must be a host name or an address, and maybe a port".to_owned());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_with_and_without_ports() {
        let read = |text| host_and_port(text).ok();
        assert_eq!(read("redis"), Some(("redis".into(), None)));
        assert_eq!(read("redis:6380"), Some(("redis".into(), Some(6380))));
        assert_eq!(read("::1"), Some(("::1".into(), None)));
        assert_eq!(read("[::1]:6380"), Some(("::1".into(), Some(6380))));
        for text in ["", ":1", "redis:0", "redis:x", "redis://x", "a b", "u@h"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
