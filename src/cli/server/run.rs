//! Runs the Tenant Manager in the foreground, for `server start` and `dev up`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;
use crate::output::{Format, document};
use crate::server::{ServerError, ServerSettings, serve};

/// How the world learns that everything answers.
#[derive(Debug, Default)]
pub struct Announce {
    /// File to write then.
    pub ready_file: Option<PathBuf>,
    /// Further addresses: label and text.
    pub extra: Vec<(&'static str, String)>,
}

/// Binds, serves, says when it is ready, and returns when a signal has stopped it.
pub fn serve_until_told(
    run: &Invocation,
    listen: SocketAddr,
    settings: ServerSettings,
    announce: Announce,
) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let listener = bind(listen).await?;
        on_hangup(settings.tls.as_ref().map(|tls| Arc::clone(&tls.changed)));
        Box::pin(serve_here(
            run,
            listener,
            settings,
            announce,
            told_to_stop(),
        ))
        .await
    })
}

/// Returns a runtime with a thread per processor.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Kind::Internal, "internal", "no runtime could be started").cause(error)
        })
}

/// Binds the listener.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(listen).await.map_err(|error| {
        Failure::new(
            Kind::Unavailable,
            "server.listen",
            format!("{listen} cannot be listened on"),
        )
        .cause(error)
        .hint("choose another address with `--listen`; port 0 picks a free one")
    })
}

/// Serves on `listener` until `stop` resolves.
pub async fn serve_here(
    run: &Invocation,
    listener: TcpListener,
    settings: ServerSettings,
    announce: Announce,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Failure> {
    let address = listener
        .local_addr()
        .map_err(|error| Failure::from(ServerError::from(error)))?;
    let scheme = if settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let url = format!("{scheme}://{address}");
    let ready = Arc::clone(&settings.ready);
    let server = serve(listener, settings, stop);
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return ended.map_err(Failure::from),
        () = ready.notified() => say_ready(run, &url, &announce)?,
    }
    server.await.map_err(Failure::from)
}

/// Takes HUP as a wish to look at changed certificates; without it, HUP would end the server.
fn on_hangup(changed: Option<Arc<Notify>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Some(changed) = &changed {
                changed.notify_one();
            } else {
                tracing::info!("HUP: nothing to read again without TLS");
            }
        }
    });
}

/// Resolves on TERM and on Ctrl-C.
pub async fn told_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Says where everything is, and `ready`; writes the ready file.
pub fn say_ready(run: &Invocation, url: &str, announce: &Announce) -> Result<(), Failure> {
    let mut body = Map::new();
    body.insert("server".into(), json!(url));
    body.insert("pid".into(), json!(std::process::id()));
    for (label, text) in &announce.extra {
        body.insert((*label).into(), json!(text));
    }
    let ready = document::wrap("Ready", Value::Object(body));
    if let Some(path) = &announce.ready_file {
        crate::config::store::write_private(path, &format!("{ready}\n")).map_err(|error| {
            Failure::new(
                Kind::Usage,
                "output.unwritable",
                format!("`{}` cannot be written", path.display()),
            )
            .cause(error)
        })?;
    }
    if run.console.format == Format::Table {
        let mut view = crate::output::View::new(run.console.width, run.console.color_out);
        let mut fields = vec![("server", url.to_owned())];
        fields.extend(
            announce
                .extra
                .iter()
                .map(|(label, text)| (*label, text.clone())),
        );
        view.fields(&fields).plain("ready").line();
        run.console.out(&view.into_text());
    } else {
        run.console.out(&format!("{ready}\n"));
    }
    Ok(())
}
